"""`multijoint check`."""

import sys
from pathlib import Path
from typing import Any

from multijoint.cli.commands import command, dataset_dir, log_paths, number, out_path, path
from multijoint.cli.presenting import print_written, record


@command(
    path("manifests", "MANIFEST", "as for training", nargs="+"),
    dataset_dir(),
    number("--num-folds", "K", "of the training (default: leave one subject out)"),
    out_path("FOLDER", "write check.csv, findings.csv and check.html there"),
    log_paths(),
    example="multijoint check ankle/manifest.yaml shoulder/manifest.yaml --out check",
)
def check(manifests: list[Path], out: Path | None, **arguments: Any) -> None:
    """Look data sets over before training: files, grids, labels, duplicates, outliers, a picture a case."""
    from custom_components.errors import InputError
    from custom_components.system.colours import paint
    from custom_components.system.terminal import count

    from multijoint.checks import check_manifests, format_cases, format_finding, prepare_folder, write_check

    if out is not None:
        prepare_folder(out)
    result = check_manifests(manifests, **arguments)
    if result.cases:
        _print(format_cases(result.cases))
    for finding in result.findings:
        level = paint(finding.level, finding.level, stream=sys.stdout)
        _print(format_finding(finding).replace(finding.level, level, 1))
    counts = {f"{level}s": result.count(level) for level in ("error", "warning", "note")}
    record(cases=len(result.cases), **counts, findings=[vars(finding) for finding in result.findings])
    print_written(write_check(out, result) if out is not None else [])
    levels = ", ".join(count(number, name.removesuffix("s")) for name, number in counts.items())
    summary = f"{count(len(result.cases), 'case')}: {levels}"
    if counts["errors"]:
        raise InputError(f"data sets must have no errors to train on, got {summary}; correct what is listed above")
    print(summary)


def _print(text: str) -> None:
    """Print with escapes for characters that the terminal cannot show; file names may hold bytes that are not text."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding))
