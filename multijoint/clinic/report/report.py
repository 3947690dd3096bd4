"""One page that tells a clinic what became of its scans, and how the network was trained: a single file, offline."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import custom_components
from custom_components.errors import InputError, show_path
from custom_components.system.files import write_atomically

from multijoint.clinic.report.cards import draw_card
from multijoint.clinic.report.cases import ReportedCase, Sources, examine_result
from multijoint.clinic.report.cohort import draw_cohort, worst_first
from multijoint.clinic.report.html import escape, fill_page
from multijoint.clinic.report.overview import draw_overview
from multijoint.clinic.report.results import Result, find_references, find_scans, read_bone_table, read_results
from multijoint.clinic.report.run import RunRecord, is_run, read_run
from multijoint.clinic.report.training import draw_training

__all__ = ["write_report"]

_SEEN = {
    "training": "the model was trained on this case, so this is no test of it",
    "validation": "the model was chosen by its Dice on this case, among others, so this is no fair test of it",
    "testing": "the model has not seen this case",
}


def write_report(
    folder: Path,
    *,
    output: Path | None = None,
    scans: Sequence[Path] = (),
    references: Path | None = None,
    run: Path | None = None,
) -> Path:
    """Write a report of a folder of segmentations, of a training's folder, or of both.

    A case that cannot be read is a row with its cause; it costs the report nothing else. The page holds names of cases
    but no folders, asks nothing from the network and is written whole or not at all.

    Args:
        folder: what `multijoint segment` wrote, with `quality.csv` and `bones.csv` if they are there; or a run.
        output: the HTML file; `report.html` in the folder, if None.
        scans: files and folders of the scans, as `segment` was given them; those in the folder's `scans/` are found.
        references: manifest, or folder of label maps by case, to score against.
        run: folder of the training that made the model.

    Returns:
        The file.

    Raises:
        InputError: there is nothing to report on, or what was given fits no case.
    """
    if not folder.is_dir():
        raise InputError(f"folder to report on must exist, got {show_path(folder)}; give what segment wrote to")
    results = read_results(folder)
    run = run or (folder if is_run(folder) else None)
    if not results and run is None:
        raise InputError(
            f"folder {show_path(folder)} must hold results of multijoint segment or a training's run, got neither; "
            "segment scans into it first"
        )
    record = None if run is None else read_run(run)
    sources = Sources(
        scans=find_scans(folder, scans),
        references=find_references(references),
        quality=read_bone_table(folder / "quality.csv"),
        bones=read_bone_table(folder / "bones.csv"),
    )
    _check_given(results, sources, scans=bool(scans), references=references is not None)
    cases = worst_first([_seen(case, record) for case in _examine(results, sources)])
    output = folder / "report.html" if output is None else output
    write_atomically(output, _page(cases, record, sources).encode(errors="replace"))
    return output


def _check_given(results: Sequence[Result], sources: Sources, *, scans: bool, references: bool) -> None:
    drawn = [result for result in results if result.label_map is not None]
    if scans and not any(result.case in sources.scans for result in drawn):
        raise InputError("scans must have the names of the cases, got none that fits; give those that were segmented")
    if references and not any(sources.reference(result) for result in drawn):
        raise InputError(
            "references must have the names of the cases, got none that fits; "
            "name them <case>.nii.gz or give a manifest"
        )


def _examine(results: Sequence[Result], sources: Sources) -> list[ReportedCase]:
    from tqdm import tqdm

    shown = tqdm(results, desc="cases", unit="case", delay=2, leave=False, disable=not sys.stderr.isatty())
    return [examine_result(result, sources) for result in shown]


def _seen(case: ReportedCase, run: RunRecord | None) -> ReportedCase:
    """Whether the model has seen a case: scores of those it was trained on are no test."""
    model = case.result.record.get("model_sha256")
    if run is None or not model or model != run.model_sha256:
        return case
    side = run.side_of(case.result.domain, case.result.case)
    if not side:
        return case
    return replace(case, notes=(*case.notes, _SEEN[side]), side=side)


def _page(cases: Sequence[ReportedCase], run: RunRecord | None, sources: Sources) -> str:
    parts, links = [], []
    if cases:
        links += [("overview", "Overview"), ("cases", "Table of cases"), ("cards", "Pictures")]
        cards = "\n".join(draw_card(number, case) for number, case in enumerate(cases))
        parts.append(
            f'<section><h2 id="overview">Overview</h2>{draw_overview(cases, _notes(cases, run, sources))}</section>'
            f'<section><h2 id="cases">Cases</h2>{draw_cohort(cases)}</section>'
            f'<section><h2>Pictures and bones</h2><div id="cards">\n{cards}\n</div></section>'
        )
    if run is not None:
        links.append(("training", "Training"))
        parts.append(f'<section><h2 id="training">Training</h2>{draw_training(run)}</section>')
    items = "".join(f'<li><a href="#{anchor}">{text}</a></li>' for anchor, text in links)
    kinds = [f"{len(cases)} {'case' if len(cases) == 1 else 'cases'}"] if cases else []
    kinds += ["a training"] if run is not None else []
    values = {
        "title": f"Report of {' and '.join(kinds)}",
        "version": escape(custom_components.__version__),
        "date": time.strftime("%Y-%m-%d"),
        "navigation": f'<nav aria-label="Parts of the report"><ul>{items}</ul></nav>',
        "content": "\n".join(parts),
    }
    return fill_page(values)


def _notes(cases: Sequence[ReportedCase], run: RunRecord | None, sources: Sources) -> list[str]:
    notes = []
    if not sources.quality:
        notes.append("There is no quality.csv here: no confidence, and of the flags only those that label maps show.")
    models = {case.result.record.get("model_sha256") for case in cases} - {None}
    if run is not None and run.model_sha256 and models:
        same = models == {run.model_sha256}
        notes.append(
            "All were segmented with the model of the training below."
            if same
            else "Not all were segmented with the model of the training below."
        )
    return notes
