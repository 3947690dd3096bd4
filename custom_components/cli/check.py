"""`multijoint check`: what is wrong with a data set, before anybody trains on it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from custom_components.checks import check_manifests, format_exams, format_finding, write_check
from custom_components.errors import InputError

__all__ = ["check"]


def check(
    manifests: Sequence[Path], *, dataset_dir: Path | None = None, num_folds: int | None = None, out: Path | None = None
) -> None:
    """Print the cases and what was found; write tables and a page of pictures if `out` is given.

    Raises:
        InputError: there are errors, after everything has been printed and written.
    """
    result = check_manifests(manifests, dataset_dir=dataset_dir, num_folds=num_folds)
    if result.exams:
        print(format_exams(result.exams))
    for finding in result.findings:
        print(format_finding(finding))
    for path in write_check(out, result) if out is not None else ():
        print(path)
    errors, warnings, notes = (result.count(level) for level in ("error", "warning", "note"))
    summary = f"{len(result.exams)} cases: {errors} errors, {warnings} warnings, {notes} notes"
    if errors:
        raise InputError(f"data sets must have no errors to train on, got {summary}; correct what is listed above")
    print(summary)
