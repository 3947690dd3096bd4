"""What a person who runs a segmentation reads of flags: a line a flagged scan, and a summary of the run."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from custom_components.quality.flags import FLAGS, UNLIKE_DOMAIN
from custom_components.system.terminal import count

_logger = logging.getLogger(__name__)
_MOST_NAMES = 4


def describe_flags(bones: Sequence[Mapping[str, Any]], *, fit: Mapping[str, Any] | None = None) -> str:
    """The flags of a scan for a line, most serious first; empty if there is none.

    Args:
        bones: rows of `quality.tables.quality_rows`, one a bone.
        fit: what its record says of its domain, see `domain_fit.judge_fit`.

    Example:
        >>> describe_flags([{"bone": "talus", "flags": "missing;low-confidence"}, {"bone": "tibia", "flags": ""}])
        'missing (talus), low-confidence (talus)'
        >>> describe_flags([{"bone": "talus", "flags": "missing;low-confidence"}])
        'NO BONE FOUND'
    """
    found = {flag: [row["bone"] for row in bones if flag in row["flags"].split(";")] for flag in FLAGS}
    if bones and len(found["missing"]) == len(bones):
        parts = ["NO BONE FOUND"]
    else:
        parts = [f"{flag} ({_name(names, len(bones))})" for flag, names in found.items() if names]
    if any(UNLIKE_DOMAIN in row["flags"].split(";") for row in bones):
        like = (fit or {}).get("like")
        parts.insert(0, f"does not look like {bones[0]['domain']}" + (f" but like {like}" if like else ""))
    return ", ".join(parts)


def log_flags(file: str, bones: Sequence[Mapping[str, Any]], *, fit: Mapping[str, Any] | None = None) -> None:
    """Log a line about a scan that is flagged; see `describe_flags`."""
    described = describe_flags(bones, fit=fit)
    if described:
        _logger.warning("%s is flagged: %s", file, described)


def log_summary(rows: Sequence[Mapping[str, Any]], *, folder: Path) -> None:
    """Log how many scans of a run are flagged and why, and what to do next; nothing if none is.

    Args:
        rows: those of the run in `segment_report.csv`.
        folder: the run's output.
    """
    flagged = [row["flags"] for row in rows if row["flags"]]
    if flagged:
        numbers = {flag: sum(flag in flags for flags in flagged) for flag in (*FLAGS, UNLIKE_DOMAIN)}
        why = ", ".join(f"{flag} in {number}" for flag, number in numbers.items() if number)
        done = sum(row["status"] in ("written", "skipped") for row in rows)
        next_command = f"multijoint report {shlex.quote(str(folder))}"
        _logger.warning("%d of %s flagged: %s; next: %s", len(flagged), count(done, "scan"), why, next_command)


def _name(bones: Sequence[str], number: int) -> str:
    if len(bones) == number > 1:
        return "every bone"
    more = len(bones) - _MOST_NAMES
    return ", ".join([*bones[:_MOST_NAMES], *([f"{more} more"] if more > 0 else [])])
