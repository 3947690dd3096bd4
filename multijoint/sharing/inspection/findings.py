"""What an inspection of a foreign bundle found: findings with a level and a cause, and the report that lists them."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

__all__ = ["ALWAYS_REFUSED", "LEVELS", "Finding", "Report", "printable"]

LEVELS = ("unsafe", "warning", "note")
"""Worst first. What is unsafe may run code, leave its folder or exhaust the machine, or is not what it says it is."""

ALWAYS_REFUSED = ("archive", "bomb")
"""Kinds of unsafe findings that no trust lifts: what cannot be unpacked or read without harm."""

_MOST_FINDINGS = 200
_MOST_CHARACTERS = 200


@dataclass(frozen=True, order=True)
class Finding:
    """One thing that an inspection found.

    Args:
        level: one of `LEVELS`.
        kind: what was looked at, such as "archive", "checksum", "target", "expression", "code" or "pickle".
        path: of the file in the bundle, "." for the bundle itself.
        message: the cause, one line.
    """

    level: str
    kind: str
    path: str
    message: str

    def __post_init__(self) -> None:
        if self.level not in LEVELS:
            raise ValueError(f"level must be one of {', '.join(LEVELS)}, got {self.level!r}")
        object.__setattr__(self, "path", printable(self.path))
        object.__setattr__(self, "message", printable(self.message, limit=4 * _MOST_CHARACTERS))

    def __str__(self) -> str:
        return f"{self.level:<8} {self.kind:<11} {self.path}: {self.message}"


@dataclass
class Report:
    """All findings about one bundle, and what it says it is.

    Args:
        bundle: name of the folder or archive.
        summary: name, version, domains, number of weights and licences, as the bundle states them.
    """

    bundle: str
    summary: dict[str, Any] = field(default_factory=dict)
    _found: set[Finding] = field(default_factory=set)
    _left_out: bool = False

    def add(self, level: str, kind: str, path: str, message: str) -> None:
        """Note a finding; a hostile bundle may give rise to millions, of which the first 200 of a kind are kept."""
        finding = Finding(level, kind, path, message)
        if sum((each.level, each.kind) == (level, kind) for each in self._found) < _MOST_FINDINGS:
            self._found.add(finding)
        else:
            self._left_out = True

    def extend(self, findings: Iterable[Finding]) -> None:
        """Note several findings."""
        for finding in islice(findings, 2 * _MOST_FINDINGS):
            self.add(finding.level, finding.kind, finding.path, finding.message)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Worst first, then by path; the same bundle gives the same order."""
        return tuple(sorted(self._found, key=_order))

    @property
    def unsafe(self) -> tuple[Finding, ...]:
        """The findings that an untrusted use is refused for."""
        return tuple(finding for finding in self.findings if finding.level == "unsafe")

    def refused(self, *, trust: bool) -> tuple[Finding, ...]:
        """The unsafe findings that stand in the way, with or without the user's trust; see `ALWAYS_REFUSED`."""
        return tuple(each for each in self.unsafe if not trust or each.kind in ALWAYS_REFUSED)

    def to_json(self) -> str:
        """The report as indented JSON."""
        found = [vars(finding) for finding in self.findings]
        content = {"bundle": self.bundle, "safe": not self.unsafe, "summary": self.summary, "findings": found}
        return json.dumps(content, indent=2, allow_nan=False) + "\n"

    def to_text(self) -> str:
        """The report for a reader: what the bundle is, one line a finding, and the verdict."""
        lines = [f"{key}: {value}" for key, value in self.summary.items()] + [str(each) for each in self.findings]
        if self._left_out:
            lines.append(f"... and more than {_MOST_FINDINGS} of one kind")
        counts = [f"{sum(each.level == level for each in self.findings)} {level}" for level in LEVELS]
        lines.append(f"{self.bundle}: {'UNSAFE' if self.unsafe else 'no danger found'} ({', '.join(counts)})")
        return "\n".join(lines) + "\n"


def printable(text: object, *, limit: int = _MOST_CHARACTERS) -> str:
    r"""Text of a stranger that is safe on a terminal and in one line: other characters are escaped, long text is cut.

    Example:
        >>> printable("a" + chr(27) + "[2J" + chr(10) + "b")
        'a\\x1b[2J\\nb'
    """
    value = str(text)
    cut = value[:limit] + ("..." if len(value) > limit else "")
    return "".join(
        character if unicodedata.category(character)[0] not in "CZ" or character == " " else ascii(character)[1:-1]
        for character in cut
    )


def _order(finding: Finding) -> tuple[int, str, bool, Finding]:
    """Of one file what it is comes first: a missing checksum is seldom the cause."""
    return LEVELS.index(finding.level), finding.path, finding.kind == "checksum", finding
