"""The report: one HTML file about segmented scans and the training of their model, for use offline."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from urllib.parse import quote

from custom_components.domains import COLORS
from custom_components.errors import InputError, show_path
from custom_components.system.files import write_atomically
from custom_components.system.pages import render_page
from custom_components.system.terminal import count

from multijoint.clinic.report.cases import ReportedCase, Sources, examine_result
from multijoint.clinic.report.cohort import tabulate_cases, worst_first
from multijoint.clinic.report.glossary import explain_flag, explain_flags
from multijoint.clinic.report.overview import look_over, tabulate_bones
from multijoint.clinic.report.results import Result, find_references, find_scans, read_bone_table, read_results
from multijoint.clinic.report.run import RunRecord, is_run, read_run
from multijoint.clinic.report.tables import GRAVE
from multijoint.clinic.report.training import describe_training
from multijoint.cluster.forks import map_forked

_SEEN = {
    "training": "the model was trained on this case, so this is no test of it",
    "validation": "the model was chosen by its Dice on this case, among others, so this is no fair test of it",
    "testing": "the model has not seen this case",
}


def write_report(
    folder: str | Path,
    *,
    output: str | Path | None = None,
    scans: Sequence[str | Path] = (),
    references: str | Path | Sequence[str | Path] = (),
    run: str | Path | None = None,
) -> Path:
    """Write a report of a folder of segmentations, of a training's folder, or of both; returns its path.

    A case that cannot be read is a row with its cause; it costs the report nothing else. The page holds names of cases
    but no folders, asks nothing from the network and is written whole or not at all.

    Args:
        folder: output of `multijoint segment`, with `quality.csv` and `bones.csv` if they are there; or a run.
        output: the HTML file; `report.html` in the folder, if None.
        scans: files and folders of the scans, as `segment` was given them; those in the folder's `scans/` are found.
        references: manifests, and folders of label maps by case, to score against.
        run: folder of the training that made the model.

    Raises:
        InputError: there is nothing to report on, or no given scan or reference fits a case.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"folder to report on must exist, got {show_path(folder)}; give what segment wrote to")
    results = read_results(folder)
    run = run or (folder if is_run(folder) else None)
    if not results and run is None:
        rule = f"folder {show_path(folder)} must hold results of multijoint segment or a training's run, got neither"
        raise InputError(f"{rule}; segment scans into it first")
    references = [references] if isinstance(references, str | Path) else references
    record = None if run is None else read_run(Path(run))
    sources = Sources(
        scans=find_scans(folder, [Path(scan) for scan in scans]),
        references=find_references([Path(each) for each in references]),
        quality=read_bone_table(folder / "quality.csv"),
        bones=read_bone_table(folder / "bones.csv"),
    )
    _check_given(results, sources, scans=bool(scans), references=bool(references))
    cases = list(map_forked(partial(examine_result, sources=sources), results, what="cases"))
    cases = worst_first([_seen(case, record) for case in cases])
    output = folder / "report.html" if output is None else Path(output)
    write_atomically(output, _page(cases, record, sources).encode(errors="replace"))
    return output


def _check_given(results: Sequence[Result], sources: Sources, *, scans: bool, references: bool) -> None:
    drawn = [result for result in results if result.label_map is not None]
    if scans and not any(result.case in sources.scans for result in drawn):
        raise InputError("scans must have the names of the cases, got none that fits; give those that were segmented")
    if references and not any(sources.reference(result) for result in drawn):
        rule = "references must have the names of the cases, got none that fits"
        raise InputError(f"{rule}; name them <case>.nii.gz or give a manifest")


def _seen(case: ReportedCase, run: RunRecord | None) -> ReportedCase:
    """Whether the model has seen a case: scores of those it was trained on are no test."""
    model = case.result.record.get("model_sha256")
    if run is None or not model or model != run.model_sha256:
        return case
    side = run.side_of(case.result.domain, case.result.case)
    return replace(case, notes=(*case.notes, _SEEN[side]), side=side) if side else case


def _page(cases: Sequence[ReportedCase], run: RunRecord | None, sources: Sources) -> str:
    kinds = [count(len(cases), "case")] if cases else []
    kinds += ["a training"] if run is not None else []
    return render_page(
        Path(__file__).with_name("page") / "report.html.j2",
        colors=COLORS,
        title=f"Report of {' and '.join(kinds)}",
        grave=GRAVE,
        explain_flag=explain_flag,
        glossary=explain_flags([flag for flag, _ in case.all_flags] for case in cases),
        quote_shell=shlex.quote,
        quote_url=partial(quote, safe="", errors="replace"),
        cases=cases,
        notes=_notes(cases, run, sources),
        overview=look_over(cases),
        cohort=tabulate_cases(cases),
        bone_tables=[tabulate_bones(case) for case in cases],
        run=None if run is None else describe_training(run),
    )


def _notes(cases: Sequence[ReportedCase], run: RunRecord | None, sources: Sources) -> list[str]:
    notes = []
    if not sources.quality:
        notes.append("There is no quality.csv here: no confidence, and of the flags only those that label maps show.")
    models = {case.result.record.get("model_sha256") for case in cases} - {None}
    if run is not None and run.model_sha256 and models:
        all_or_not = "All were" if models == {run.model_sha256} else "Not all were"
        notes.append(f"{all_or_not} segmented with the model of the training below.")
    return notes
