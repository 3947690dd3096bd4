"""The results of a check as tables and as one HTML page."""

from __future__ import annotations

import base64
import io
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from custom_components.domains import COLORS
from custom_components.errors import InputError, show_path
from custom_components.system.files import make_folder, write_atomically, write_csv
from custom_components.system.pages import render_page
from custom_components.system.terminal import align_columns, count
from PIL import Image

from multijoint.checks.checked_case import CheckedCase
from multijoint.checks.checking import CheckResult
from multijoint.checks.findings import LEVELS, Finding

_STATUSES = (*LEVELS, "ok")
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
    row: dict[str, Any] = {
        "domain": case.domain,
        "case": case.name,
        "subject": case.subject,
        "status": _status(own),
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
    rows = [_shown(case, result.findings) for case in result.cases]
    return render_page(
        Path(__file__).with_name("page") / "check.html.j2",
        colors=COLORS,
        title=f"Check of {count(len(rows), 'case')}",
        cases=rows,
        counts=[(number, count(number, level).split()[1]) for level in LEVELS for number in [result.count(level)]],
        general=[finding for finding in result.findings if not finding.case],
        selects=_selects(rows),
    )


def _shown(case: CheckedCase, findings: Iterable[Finding]) -> dict[str, Any]:
    own = _findings_of(case, findings)
    status = _status(own)
    words = [case.name, case.domain, case.subject, status, *case.bones]
    words += [text for finding in own for text in (finding.level, finding.rule, finding.message)]
    return {
        "case": case,
        "picture": _picture(case.picture) if case.picture else None,
        "spacing": _short_row(case)[3],
        "findings": own,
        "status": status,
        "rank": _STATUSES.index(status),
        "words": " ".join(words).lower(),
    }


def _picture(jpeg: bytes) -> dict[str, Any]:
    width, height = Image.open(io.BytesIO(jpeg)).size
    uri = f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"
    return {"uri": uri, "width": width, "height": height, "title": ""}


def _selects(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Filters of the table; an option has its value, text and number of cases."""
    statuses = Counter(row["status"] for row in rows)
    domains = Counter(row["case"].domain for row in rows)
    rules = Counter(rule for row in rows for rule in {finding.rule for finding in row["findings"]})
    return [
        {"name": name, "title": name.capitalize(), "options": [(value, value, number) for value, number in options]}
        for name, options in (
            ("status", [(status, statuses[status]) for status in _STATUSES if statuses[status]]),
            ("domain", sorted(domains.items())),
            ("finding", rules.most_common()),
        )
    ]


def _status(findings: Sequence[Finding]) -> str:
    return next((level for level in LEVELS if level in {finding.level for finding in findings}), "ok")


def _findings_of(case: CheckedCase, findings: Iterable[Finding]) -> list[Finding]:
    return [finding for finding in findings if (finding.domain, finding.case) == (case.domain, case.name)]
