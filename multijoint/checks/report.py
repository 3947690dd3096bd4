"""The results of a check as tables and as one HTML page."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from custom_components.domains import COLORS
from custom_components.errors import InputError, show_path
from custom_components.system.files import make_folder, write_atomically, write_csv
from custom_components.system.pages import render_page
from custom_components.system.terminal import align_columns

from multijoint.checks.checked_case import CheckedCase
from multijoint.checks.checking import CheckResult
from multijoint.checks.findings import LEVELS, Finding

_PERCENTILES = ("min", "p1", "median", "p99", "max")
_COLUMNS = (
    *("domain", "case", "subject", "status", "findings", "shape", "spacing_mm", "axes", "thick_plane", "image_sha256"),
    *_PERCENTILES,
)


def format_finding(finding: Finding) -> str:
    """One line.

    Example:
        >>> format_finding(Finding("error", "grid", "ankle", "a01", "label map a01.nii must ..."))
        'error   ankle/a01 [grid]: label map a01.nii must ...'
    """
    where = "/".join(filter(None, (finding.domain, finding.case))) or "all"
    return f"{finding.level:<8}" + " ".join(f"{where} [{finding.rule}]: {finding.message}".split())


def format_cases(cases: Sequence[CheckedCase]) -> str:
    """A plain text table, a line a case."""
    rows = [("domain", "case", "shape", "spacing mm", "axes", "bones ml"), *map(_short_row, cases)]
    return "\n".join(align_columns(rows))


def prepare_folder(out: Path) -> None:
    """Make the output folder before hours of reading.

    Raises:
        InputError: it cannot be written to.
    """
    make_folder(out)
    if not os.access(out, os.W_OK):
        raise InputError(f"folder {show_path(out)} must be writable, got one that is not; name another with --out")


def write_check(folder: Path, result: CheckResult) -> list[Path]:
    """Write `check.csv` (a row a case), `findings.csv` and `check.html` (a picture a case); returns their paths."""
    tables = {
        "check.csv": (_COLUMNS, [_row(case, result.findings) for case in result.cases]),
        "findings.csv": ([field.name for field in fields(Finding)], [vars(finding) for finding in result.findings]),
    }
    for name, (columns, rows) in tables.items():
        # the given columns even without any row, then those that only some rows have
        every = dict.fromkeys([*columns, *(key for row in rows for key in row)])
        write_csv(folder / name, list(every), rows, errors="replace")
    write_atomically(folder / "check.html", _page(result).encode(errors="replace"))
    return [folder / name for name in (*tables, "check.html")]


def _row(case: CheckedCase, findings: Iterable[Finding]) -> dict[str, Any]:
    own = _findings_of(case, findings)
    worst = next((level for level in LEVELS if level in {finding.level for finding in own}), "ok")
    row: dict[str, Any] = {
        "domain": case.domain,
        "case": case.name,
        "subject": case.subject,
        "status": worst,
        "findings": "; ".join(f"{finding.rule}: {finding.message}" for finding in own),
        "shape": "x".join(map(str, case.shape)),
        "spacing_mm": "x".join(f"{size:.4g}" for size in case.spacing_mm) if case.shape else "",
        "axes": case.axes,
        "thick_plane": case.thick_plane or "",
        "image_sha256": case.digests.image_file,
    }
    row |= dict(zip(_PERCENTILES, case.percentiles, strict=False))
    for name, bone in case.bones.items():
        row |= {f"{name} ml": f"{bone.volume_ml:.4g}", f"{name} components": bone.num_components}
    return row


def _short_row(case: CheckedCase) -> tuple[str, ...]:
    bones = ", ".join(f"{name} {bone.volume_ml:.3g}" for name, bone in case.bones.items())
    spacing = " x ".join(f"{size:.3g}" for size in case.spacing_mm) if case.shape else "-"
    shape = " x ".join(map(str, case.shape)) or "unreadable"
    return case.domain, case.name, shape, spacing, case.axes or "-", bones or "-"


def _page(result: CheckResult) -> str:
    cases = [
        (case, base64.b64encode(case.picture).decode(), _short_row(case)[3], _findings_of(case, result.findings))
        for case in result.cases
    ]
    return render_page(
        Path(__file__).with_name("page") / "check.html.j2",
        cases=cases,
        counts=", ".join(f"{result.count(level)} {level}s" for level in LEVELS),
        general=[finding for finding in result.findings if not finding.case],
        colors=COLORS,
    )


def _findings_of(case: CheckedCase, findings: Iterable[Finding]) -> list[Finding]:
    return [finding for finding in findings if (finding.domain, finding.case) == (case.domain, case.name)]
