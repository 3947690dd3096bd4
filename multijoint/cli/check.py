"""`multijoint check`: what is wrong with a data set, before anybody trains on it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from custom_components.errors import InputError, show_path

from multijoint.checks import check_manifests, format_cases, format_finding, write_check
from multijoint.cli.presenting import record

__all__ = ["check"]


def check(
    manifests: Sequence[Path], *, dataset_dir: Path | None = None, num_folds: int | None = None, out: Path | None = None
) -> None:
    """Print the cases and what was found; write tables and a page of pictures if `out` is given.

    Raises:
        InputError: there are errors, after everything has been printed and written.
    """
    if out is not None:
        _prepare(out)
    result = check_manifests(manifests, dataset_dir=dataset_dir, num_folds=num_folds)
    if result.cases:
        _print(format_cases(result.cases))
    for finding in result.findings:
        _print(format_finding(finding))
    written = write_check(out, result) if out is not None else []
    for path in written:
        print(path)
    errors, warnings, notes = (result.count(level) for level in ("error", "warning", "note"))
    record(
        cases=len(result.cases),
        errors=errors,
        warnings=warnings,
        notes=notes,
        findings=[vars(finding) for finding in result.findings],
        written=written,
    )
    summary = f"{len(result.cases)} cases: {errors} errors, {warnings} warnings, {notes} notes"
    if errors:
        raise InputError(f"data sets must have no errors to train on, got {summary}; correct what is listed above")
    print(summary)


def _prepare(out: Path) -> None:
    """Find out before an hour of reading that nothing can be written."""
    out.mkdir(parents=True, exist_ok=True)
    if not os.access(out, os.W_OK):
        raise InputError(f"folder {show_path(out)} must be writable, got one that is not; name another with --out")


def _print(text: str) -> None:
    """Print whatever the terminal can show; names of files may hold bytes that are no text."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding))
