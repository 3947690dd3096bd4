"""Calls of the command line that several tests make."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import pytest

from multijoint.cli import main

__all__ = ["error_line", "read_report", "scan_of", "segment"]


def scan_of(manifests: dict[str, str], domain: str) -> Path:
    return Path(manifests[domain]).parent / "images" / f"{domain}_000.nii.gz"


def segment(
    trained: Path, out: Path, *scans: object, domain: str = "ankle", more: Sequence[str] = (), **replaced: Path
) -> int:
    checkpoint = replaced.get("checkpoint", trained / "model.pt")
    arguments = ["--checkpoint", str(checkpoint), "--domain", domain, "--output", str(out), "--device", "cpu"]
    return main(["segment", *map(str, scans), *arguments, *more])


def error_line(capsys: pytest.CaptureFixture[str]) -> str:
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("error: "), lines
    assert not any("Traceback" in line for line in lines)
    return lines[-1]


def read_report(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "segment_report.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["file", "status", "cause", "seconds", "output", "flags"]
    return {row["file"]: row for row in rows}
