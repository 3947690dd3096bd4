"""`multijoint check`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from multijoint.cli.commands import Commands, add_dataset_dir, add_log_paths
from multijoint.cli.presenting import record

__all__ = ["add_command"]


def add_command(commands: Commands) -> None:
    """Add the command and its arguments."""
    parser = commands.add(
        "check",
        _check,
        help="look data sets over before training: files, grids, labels, duplicates, outliers, a picture a case",
        example="multijoint check ankle/manifest.yaml shoulder/manifest.yaml --out check",
    )
    parser.add_argument("manifests", nargs="+", type=Path, metavar="MANIFEST", help="as for training")
    add_dataset_dir(parser)
    parser.add_argument("--num-folds", type=int, metavar="K", help="of the training (default: leave one subject out)")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="write check.csv, findings.csv and check.html there")
    add_log_paths(parser)


def _check(options: argparse.Namespace) -> None:
    from custom_components.errors import InputError

    from multijoint.checks import check_manifests, format_cases, format_finding, prepare_folder, write_check

    if options.out is not None:
        prepare_folder(options.out)
    result = check_manifests(options.manifests, dataset_dir=options.dataset_dir, num_folds=options.num_folds)
    if result.cases:
        _print(format_cases(result.cases))
    for finding in result.findings:
        _print(format_finding(finding))
    written = write_check(options.out, result) if options.out is not None else []
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


def _print(text: str) -> None:
    """Print with escapes for characters that the terminal cannot show; file names may hold bytes that are not text."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding))
