"""`multijoint check`."""

import sys
from pathlib import Path
from typing import Any

from multijoint.cli.commands import command, dataset_dir, log_paths, number, path
from multijoint.cli.presenting import print_written, record


@command(
    path("manifests", "MANIFEST", "as for training", nargs="+"),
    dataset_dir(),
    number("--num-folds", "K", "of the training (default: leave one subject out)"),
    path("--out", "FOLDER", "write check.csv, findings.csv and check.html there"),
    log_paths(),
    example="multijoint check ankle/manifest.yaml shoulder/manifest.yaml --out check",
)
def check(manifests: list[Path], out: Path | None, **arguments: Any) -> None:
    """Look data sets over before training: files, grids, labels, duplicates, outliers, a picture a case."""
    from custom_components.errors import InputError

    from multijoint.checks import check_manifests, format_cases, format_finding, prepare_folder, write_check

    if out is not None:
        prepare_folder(out)
    result = check_manifests(manifests, **arguments)
    if result.cases:
        _print(format_cases(result.cases))
    for finding in result.findings:
        _print(format_finding(finding))
    counts = {f"{level}s": result.count(level) for level in ("error", "warning", "note")}
    record(cases=len(result.cases), **counts, findings=[vars(finding) for finding in result.findings])
    print_written(write_check(out, result) if out is not None else [])
    shown = [
        f"{count} {name if count != 1 else name[:-1]}" for name, count in {"cases": len(result.cases), **counts}.items()
    ]
    summary = f"{shown[0]}: {', '.join(shown[1:])}"
    if counts["errors"]:
        raise InputError(f"data sets must have no errors to train on, got {summary}; correct what is listed above")
    print(summary)


def _print(text: str) -> None:
    """Print with escapes for characters that the terminal cannot show; file names may hold bytes that are not text."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding))
