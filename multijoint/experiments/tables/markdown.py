"""Markdown tables: scores with the best in bold, comparisons, columns that line up in plain text too."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from multijoint.experiments.jobs.methods import title_of
from multijoint.experiments.tables.summaries import UNITS

LEVEL = 0.05
"""A smaller p is bold."""

SPREAD = {"within": "within the spread of seeds", "beyond": "", "": ""}
"""`seed_spread` of `comparisons.compare_exams` -> what a table says of the difference."""

_HEADERS = {"dice": "Dice % ↑", "assd": "ASSD mm ↓", "mssd": "MSSD mm ↓"}


def draw_grid(lines: Sequence[Sequence[str]], *, num_text_columns: int = 1) -> str:
    """Lay out lines of cells, the header first, as a Markdown table whose columns also line up in plain text.

    The first `num_text_columns` columns are text, the others numbers, aligned right.

    Example:
        >>> print(draw_grid([["Method", "Dice"], ["base", "92.2"]]))
        | Method | Dice |
        | :----- | ---: |
        | base   | 92.2 |
    """
    cells = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    widths = [max(3, *map(len, column)) for column in zip(*cells, strict=True)]
    styles = [f"{'<' if column < num_text_columns else '>'}{width}" for column, width in enumerate(widths)]
    rule = [f"{':':-{how}}" for how in styles]
    padded = [[f"{cell:{how}}" for cell, how in zip(line, styles, strict=True)] for line in cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in [padded[0], rule, *padded[1:]])


def draw_scores(summary: pd.DataFrame) -> str:
    """Scores of each method, columns grouped as in the paper.

    The best mean of Dice and distances is bold, at the printed precision and with all ties. Only methods with all exams
    and seeds of the group compete; for distances, only those with the fewest missed bones.

    Args:
        summary: rows of `summaries.summarise_exams` of one stage, with the heading of their columns in `group`.
    """
    groups = {name: _score_columns(rows.set_index("method")) for name, rows in summary.groupby("group", sort=False)}
    return _draw_groups(groups, summary["method"].unique())


def draw_stages(summary: pd.DataFrame) -> str:
    """Dice of each method and data set before and after post-processing, from `summaries.summarise_exams`."""
    cells = summary.assign(cell=list(map(_mean_and_sd, summary["dice_mean_percent"], summary["dice_sd_percent"])))
    groups = {
        domain: {stage: rows[rows["stage"] == stage].set_index("method")["cell"] for stage in ("before", "after")}
        for domain, rows in cells.groupby("domain", sort=False)
    }
    return _draw_groups(groups, summary["method"].unique())


def draw_slice_comparison(comparison: pd.DataFrame) -> str:
    """The paper's second table, one method a line, from `comparisons.compare_slices`; p below `LEVEL` are bold."""
    lines = [["Method", "2D Dice %", "n slices", "KS p"]]
    for row in comparison.itertuples():
        dice = _mean_and_sd(row.dice_mean_percent, row.dice_sd_percent)
        lines.append([title_of(row.method), dice, str(row.num_slices), _bold(format_p(row.ks_p), row.ks_p < LEVEL)])
    return draw_grid(lines)


def draw_exam_comparison(comparison: pd.DataFrame) -> str:
    """Paired comparisons, one data set and method a line, from `comparisons.compare_exams` for one score.

    Corrected p below `LEVEL` are bold. The spread over seeds, what lies within it and the number of bones left out have
    a column if any is not empty.
    """
    columns = {
        "Data set": comparison["domain"].where(comparison["domain"] != comparison["domain"].shift(), ""),
        "Method": comparison["method"].map(title_of),
        "exams": comparison["num_exams"].map(str),
        "subjects": comparison["num_subjects"].map(str),
        **exam_columns(comparison),
    }
    if comparison["bones_left_out"].any():
        columns["bones left out"] = comparison["bones_left_out"].map(str)
    return draw_grid([list(columns), *zip(*columns.values(), strict=True)], num_text_columns=2)


def exam_columns(comparison: pd.DataFrame) -> dict[str, list[str]]:
    """Columns of `comparisons.compare_exams` that tell differences, header -> cells; those of seeds if not empty."""
    columns = {
        "difference": [format_number(value, "+.2f") for value in comparison["mean_difference"]],
        "95 % interval": [
            "-" if math.isnan(low) else f"{low:+.2f} to {high:+.2f}"
            for low, high in zip(comparison["ci_low"], comparison["ci_high"], strict=True)
        ],
        "Wilcoxon p": [format_p(p) for p in comparison["wilcoxon_p"]],
        "Holm p": [_bold(format_p(p), p < LEVEL) for p in comparison["holm_p"]],
    }
    if "rank_biserial" in comparison:
        columns["effect"] = [format_number(value, "+.2f") for value in comparison["rank_biserial"]]
    if comparison["seed_sd"].notna().any():
        columns["sd of seeds"] = [format_number(value, ".2f") for value in comparison["seed_sd"]]
    if (comparison["seed_spread"] == "within").any():
        columns["seeds"] = [SPREAD[value] for value in comparison["seed_spread"]]
    return columns


def name_columns(rows: pd.DataFrame) -> dict[str, dict[str, str]]:
    """Columns beside the mean Dice, header -> index of `rows` -> cell: median and worst tenth, and naming if scored.

    `rows` are those of `summaries.summarise_exams`, with an index.
    """
    pairs = zip(rows["dice_median_percent"], rows["dice_worst_tenth_percent"], strict=True)
    cells = {"median / worst tenth": [_pair(median, tenth) for median, tenth in pairs]}
    if "dice_as_one_mean_percent" in rows and rows["dice_as_one_mean_percent"].notna().any():
        cells["as one % ↑"] = [format_number(value, ".1f") for value in rows["dice_as_one_mean_percent"]]
    if rows["level_errors"].notna().any():
        counts = zip(rows["level_errors"], rows["level_errors_percent"], strict=True)
        cells["level errors ↓"] = [
            format_number(count, ".0f") + ("" if math.isnan(percent) else f" ({percent:.1f} %)")
            for count, percent in counts
        ]
    return {header: dict(zip(rows.index, column, strict=True)) for header, column in cells.items()}


def format_p(p: float) -> str:
    """A p-value as the paper prints it.

    Example:
        >>> [format_p(p) for p in (1.5e-15, 0.0072, 0.04, 1.0, 0.0, math.nan)]
        ['1.5e-15', '7.2e-3', '0.04', '1.00', '<1e-300', '-']
    """
    if math.isnan(p):
        return "-"
    if p < 1e-300:
        return "<1e-300"
    return f"{p:.2f}" if p >= 0.01 else f"{p:.1e}".replace("e-0", "e-")


def _score_columns(rows: pd.DataFrame) -> dict[str, dict[str, str]]:
    columns: dict[str, dict[str, str]] = {}
    complete = rows["num_bones"] == rows["num_bones"].max()
    fewest_missed = complete & (rows["missed"] == rows["missed"][complete].min())
    for score, unit in UNITS.items():
        printed = rows[f"{score}_mean_{unit}"].map(lambda mean: float(f"{mean:.1f}"))
        competing = printed[complete if score == "dice" else fewest_missed]
        best = competing[competing == (competing.max() if score == "dice" else competing.min())].index
        columns[_HEADERS[score]] = {
            method: _bold(_mean_and_sd(row[f"{score}_mean_{unit}"], row[f"{score}_sd_{unit}"]), method in best)
            + (f" ({row['missed']} missed)" if row["missed"] and score != "dice" else "")
            for method, row in rows.iterrows()
        }
        if score == "dice":
            columns |= name_columns(rows)
    if rows["num_seeds"].max() > 1:
        spread = [f"{score}_seed_sd_{unit}" for score, unit in UNITS.items()]
        columns["sd of seeds"] = {
            method: " / ".join(format_number(row[name], ".2f") for name in spread) for method, row in rows.iterrows()
        }
    columns["exams / missed / false"] = {
        method: f"{row['num_exams']} / {row['missed']} / {row['false_finds']}" for method, row in rows.iterrows()
    }
    return columns


def _draw_groups(groups: Mapping[str, Mapping[str, Any]], methods: Sequence[str]) -> str:
    # `groups` holds name -> header -> method -> cell. Markdown has no cells that span columns, so a group's name stands
    # over its first column, and the headers are in the first line of the body.
    names = [name if not position else "" for name, columns in groups.items() for position in range(len(columns))]
    headers = [header for columns in groups.values() for header in columns]
    cells = [cells for columns in groups.values() for cells in columns.values()]
    body = [[title_of(method), *(column.get(method, "-") for column in cells)] for method in methods]
    return draw_grid([["", *names], ["Method", *headers], *body])


def _mean_and_sd(mean: float, sd: float) -> str:
    return "-" if math.isnan(mean) else f"{mean:.1f} ± {format_number(sd, '.1f')}"


def _pair(first: float, second: float) -> str:
    return "-" if math.isnan(first) else f"{first:.1f} / {second:.1f}"


def format_number(value: float, style: str) -> str:
    """A number for a cell, a dash where there is none."""
    return "-" if math.isnan(value) else format(value, style)


def _bold(text: str, strong: bool) -> str:
    return f"**{text}**" if strong else text
