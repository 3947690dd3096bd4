"""Write the paper's tables from the saved rows of an experiment, as CSV and Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from custom_components.errors import InputError
from custom_components.metrics.surface_distances import BORDERS
from custom_components.system.files import write_atomically

from multijoint.experiments.jobs.methods import title_of
from multijoint.experiments.rows import main_rows, read_rows, write_table
from multijoint.experiments.tables.comparisons import COMPARED, FEWEST_SEEDS, compare_exams, compare_slices
from multijoint.experiments.tables.markdown import (
    LEVEL,
    SPREAD,
    draw_exam_comparison,
    draw_scores,
    draw_slice_comparison,
    draw_stages,
    format_p,
)
from multijoint.experiments.tables.shift_table import compare_shifts, draw_shifts
from multijoint.experiments.tables.summaries import find_gaps, read_main_rows, summarise_exams
from multijoint.experiments.tables.trial_table import compare_members, draw_members

_DEFAULT = "proposed"
_NAMING = [
    "Level errors: bones of the reference that overlap most with another predicted bone (background left out), over "
    "all seeds, and their share of the bones of the reference. As one: Dice of all bones as one, whatever their names."
]


def write_tables(folder: str | Path, *, against: str = _DEFAULT) -> list[Path]:
    """Write the paper's tables into an experiment's folder, from its rows alone.

    - `table1.csv`, `table1.md`: Dice, naming of the bones, ASSD and MSSD over exams, a method and data set, before and
      after post-processing; `table1_bones.csv`, `table1_bones.md`: the same for each bone.
    - `table2.csv`: 2D Dice and the paper's Kolmogorov-Smirnov test; `table2_exams.csv`: paired comparisons of exams;
      `table2.md`: both.
    - `table3.csv`, `table3.md`, if there is a `shifted.csv`: scores and paired comparisons on shifted copies.
    - `table4.csv`, `table4.md`, if there is a `trials.csv`: networks of the folds and their ensemble on further exams.

    Only jobs that trained on all subjects count. Methods stand in the order of `cases.csv`. The surface convention and
    the devices are noted if there is a `jobs.csv`. Returns the files; those of an earlier call are replaced.

    Args:
        folder: folder of the experiment.
        against: method that the others are compared with. Without rows of "proposed", the last method.

    Raises:
        InputError: the rows are missing or unusable, or none is of `against`.

    Source:
        Boutillon et al., MICCAI 2021, Tables 1 and 2. The comparison of exams is ours.
    """
    folder = Path(folder)
    cases = read_main_rows(folder, "cases")
    slices = read_main_rows(folder, "slices", like=cases)
    methods = list(cases["method"].unique())
    if set(methods) != set(slices["method"]):
        odd = sorted(set(methods) ^ set(slices["method"]))[0]
        raise InputError(
            f"cases.csv and slices.csv of {folder} must have the same methods, got {odd} in one of them; "
            "run its jobs again"
        )
    fallback = against == _DEFAULT and against not in methods
    if fallback:
        against = methods[-1]
    elif against not in methods:
        raise InputError(f"method to compare with must be one of {', '.join(methods)}, got {against}; name one of them")
    origin = _note_origin(folder, cases)
    exams, bones = summarise_exams(cases), summarise_exams(cases, by_bone=True)
    on_slices = compare_slices(slices, against=against)
    on_exams = {score: compare_exams(cases, against=against, score=score) for score in COMPARED}
    table2 = _draw_table2(on_slices, on_exams, title_of(against))
    if fallback:
        note = f"No rows of {_DEFAULT}: the others are compared with {title_of(against)}, the last method."
        table2.append(_notes([note]))
    paths = [
        write_table(folder / "table1.csv", exams),
        _write_markdown(folder / "table1.md", [*_draw_table1(exams), _notes(origin)]),
        write_table(folder / "table1_bones.csv", bones),
        _write_markdown(folder / "table1_bones.md", [*_draw_bones(bones), _notes(origin)]),
        write_table(folder / "table2.csv", on_slices.assign(against=against)),
        write_table(folder / "table2_exams.csv", pd.concat(on_exams.values()).assign(against=against)),
        _write_markdown(folder / "table2.md", [*table2, _notes(origin)]),
    ]
    if (folder / "shifted.csv").is_file():
        shifted = read_main_rows(folder, "shifted", like=cases)
        on_shifts = compare_shifts(cases, shifted, against=against)
        table3 = [*_draw_table3(on_shifts, title_of(against)), _notes(origin)]
        paths += [
            write_table(folder / "table3.csv", on_shifts.assign(against=against)),
            _write_markdown(folder / "table3.md", table3),
        ]
    if (folder / "trials.csv").is_file():
        members = compare_members(read_rows(folder, "trials"))
        paths += [
            write_table(folder / "table4.csv", members),
            _write_markdown(folder / "table4.md", [*_draw_table4(members), _notes(origin)]),
        ]
    return paths


def _draw_table1(exams: pd.DataFrame) -> list[str]:
    after = exams[exams["stage"] == "after"]
    return [
        "# Table 1. Scores of exams in 3D",
        draw_scores(after.assign(group=after["domain"])),
        _notes(["Mean ± standard deviation over exams, each averaged over its bones.", *_note_scores(after)]),
        "## Dice % before and after post-processing",
        draw_stages(exams),
    ]


def _draw_bones(bones: pd.DataFrame) -> list[str]:
    after = bones[bones["stage"] == "after"]
    groups = after["domain"] + ": " + after["label"]
    return [
        "# Table 1 by bone. Scores in 3D",
        *(draw_scores(rows.assign(group=group)) for group, rows in after.groupby(groups, sort=False)),
        _notes(["Mean ± standard deviation over exams.", *_note_scores(after)]),
    ]


def _draw_table2(on_slices: pd.DataFrame, on_exams: dict[str, pd.DataFrame], title: str) -> list[str]:
    parts = [
        f"# Table 2. Methods compared with {title}",
        "## On slices, as in the paper",
        draw_slice_comparison(on_slices),
        _notes(
            [
                "2D Dice: mean ± standard deviation over slices of the mean over the bones that a slice has in the "
                "prediction or the reference. Slices without any are left out; data sets, folds and seeds are pooled.",
                f"KS p: two-sample Kolmogorov-Smirnov test against {title}; bold below {LEVEL}.",
                "This p overstates the evidence. The slices of an exam resemble each other (they cluster by patient), "
                "and every slice is scored with both methods (they pair up). The test ignores both: its n counts the "
                "slices, times seeds, instead of patients. It also asks whether two distributions differ in any way, "
                "not which method is better.",
            ]
        ),
    ]
    if on_exams["dice"].empty:
        return [*parts, "There is one method only, so nothing to compare on exams."]
    return [
        *parts,
        "## On exams, paired by subject",
        f"Dice in points, {title} minus method:",
        draw_exam_comparison(on_exams["dice"]),
        f"ASSD in mm, method minus {title}:",
        draw_exam_comparison(on_exams["assd_mm"]),
        _notes(_note_exams(on_exams, title)),
    ]


def _draw_table3(on_shifts: pd.DataFrame, title: str) -> list[str]:
    notes = [
        "Dice: mean over exams, each averaged over its bones and then over seeds; an exam of all shifts is one copy. "
        "Worst tenth: 10th percentile. A bone that a shift moved out of the field of view is not counted.",
        *_NAMING,
        f"Difference: exam Dice in points, {title} minus method, averaged over the copies and exams of a subject; "
        "interval and p as in table 2.",
    ]
    compared = on_shifts[on_shifts["mean_difference"].notna()]
    seeds = [note_seeds(compared)] if len(compared) else []
    return [
        f"# Table 3. Shifted copies of the exams, compared with {title}",
        *draw_shifts(on_shifts),
        _notes(notes + seeds),
    ]


def _draw_table4(members: pd.DataFrame) -> list[str]:
    notes = [
        "Each network of a cross-validation, and the mean of their probabilities, on exams of people that none of them "
        "has seen. Dice: mean over exams, each averaged over its bones and then over seeds. Worst tenth: 10th "
        "percentile.",
        "Difference: exam Dice in points, ensemble minus network; interval and p as in table 2.",
    ]
    compared = members[members["mean_difference"].notna()]
    seeds = [note_seeds(compared)] if len(compared) else []
    return ["# Table 4. Ensembles of folds and their members", *draw_members(members), _notes(notes + seeds)]


def _note_scores(after: pd.DataFrame) -> list[str]:
    num_seeds = after["num_seeds"].max()
    several = [
        f"{num_seeds} seeds: an exam is averaged over its seeds first; missed and false are counted over all of them; "
        "sd of seeds: standard deviation of the seeds' means (Dice / ASSD / MSSD)."
    ]
    return [
        "After post-processing, on the scan's own grid. Bold: best at the printed precision (highest Dice, lowest "
        "distances) of the methods with all exams and seeds.",
        "missed: bones of the reference without a prediction; false: bones predicted but not in the reference. Both "
        "count as Dice 0 and have no distances. A method that misses bones averages its distances over fewer, so only "
        "those with the fewest missed bones of a group of columns compete for bold in ASSD and MSSD.",
        "Worst tenth: 10th percentile over exams.",
        *(_NAMING if after["level_errors"].notna().any() else []),
        *(several if num_seeds > 1 else []),
    ]


def _note_exams(on_exams: dict[str, pd.DataFrame], title: str) -> list[str]:
    notes = [
        f"Positive differences and effects are in favour of {title}. Only exams tested with both methods count, "
        "averaged over bones, then seeds, then the exams of a subject; all numbers are about subjects.",
        "95 % interval: percentile bootstrap of the mean difference, 10,000 resamples of the subjects within each data "
        "set; with few subjects it is somewhat too narrow.",
        "Wilcoxon p: two-sided signed-rank test; Holm p: corrected for the methods compared on the same data set and "
        f"score, bold below {LEVEL}. Effect: matched-pairs rank-biserial correlation, from -1 to 1, zero differences "
        "left out.",
        "ASSD: over the bones found by both methods, since a missed bone has no distance; Table 1 counts the missed.",
    ]
    for domain, rows in on_exams["dice"].groupby("domain", sort=False):
        subjects = rows["num_subjects"].min()
        smallest = min(1.0, 2.0 ** (1 - subjects))
        if smallest * len(rows) >= LEVEL:
            notes.append(
                f"{domain}: {subjects} pairs can give no Wilcoxon p below 2^(1-{subjects}) = {format_p(smallest)}, and "
                f"no Holm p below {format_p(min(1.0, smallest * len(rows)))} (methods compared: {len(rows)})."
            )
    if any(rows["seed_sd"].notna().any() for rows in on_exams.values()):
        notes.append("sd of seeds: standard deviation over seeds of the mean difference.")
    return [*notes, note_seeds(pd.concat(on_exams.values()))]


def note_seeds(comparison: pd.DataFrame) -> str:
    """What the number of seeds of `comparisons.compare_exams` lets a reader say about its differences."""
    fewest = comparison["num_seeds"].min()
    if fewest < FEWEST_SEEDS:
        return (
            f"Seeds: {fewest}, fewer than {FEWEST_SEEDS}: a difference cannot be told from the spread of seeds, "
            "however small its p."
        )
    return (
        f"{SPREAD['within']}: the difference is at most 2 standard errors of the seeds' mean differences (sd of seeds "
        "/ root of their number), so that it may be a matter of the seeds."
    )


def _note_origin(folder: Path, cases: pd.DataFrame) -> list[str]:
    notes = [f"Seeds: {', '.join(map(str, sorted(cases['seed'].unique())))}."]
    gaps = find_gaps(cases)
    if gaps:
        notes.insert(0, f"Incomplete: these numbers are about fewer exams than the others. {'; '.join(gaps)}.")
    if not (folder / "jobs.csv").is_file():
        return [*notes, "Surface convention of the distances and devices: not recorded (no jobs.csv)."]
    jobs = main_rows(read_rows(folder, "jobs"))
    jobs = jobs[jobs["method"].isin(cases["method"])]
    # A job that failed has neither.
    devices, borders = (sorted(set(jobs[column]) - {"", "nan"}) for column in ("device", "border"))
    notes += [f"Surface convention, border={border}: {BORDERS.get(border, 'unknown')}." for border in borders]
    if len(borders) > 1:
        notes.append("The distances mix surface conventions and must not be compared.")
    return [*notes, f"Devices: {', '.join(devices) or 'not recorded'}."]


def _notes(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _write_markdown(path: Path, parts: Sequence[str]) -> Path:
    write_atomically(path, ("\n\n".join(parts) + "\n").encode())
    return path
