"""Concerns about a foreign bundle, each with a level and a cause, and the report that lists them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import custom_components
from custom_components.errors import printable

LEVELS = ("unsafe", "warning", "note")
"""Worst first. An unsafe part may run code, leave its folder or exhaust the machine, or is not the kind it claims."""

ALWAYS_REFUSED = ("archive", "bomb")
"""Kinds of unsafe concerns that no trust lifts, because unpacking or reading the part would do harm."""

FOREIGN_CODE = "code that is not this release's"

_MOST_CONCERNS = 200
_MOST_CHARACTERS = 200


@dataclass(frozen=True, order=True)
class Concern:
    """A concern about one file of a bundle.

    Args:
        level: one of `LEVELS`.
        kind: subject of the check, such as "archive", "checksum", "target", "expression", "code" or "pickle".
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
        object.__setattr__(self, "path", shorten(self.path))
        object.__setattr__(self, "message", shorten(self.message, limit=4 * _MOST_CHARACTERS))

    def __str__(self) -> str:
        return f"{self.level:<8} {self.kind:<11} {self.path}: {self.message}"


@dataclass
class Report:
    """All concerns about one bundle, and its description of itself.

    Args:
        bundle: name of the folder or archive.
        summary: name, version, the release that packaged it if that is another number, domains, number of weights and
            licences, as the bundle states them.
    """

    bundle: str
    summary: dict[str, Any] = field(default_factory=dict)
    _found: set[Concern] = field(default_factory=set)
    _left_out: bool = False

    def add(self, level: str, kind: str, path: str, message: str) -> None:
        """Note a concern; of the millions that a hostile bundle may raise, the first 200 of a kind are kept."""
        concern = Concern(level, kind, path, message)
        if sum((each.level, each.kind) == (level, kind) for each in self._found) < _MOST_CONCERNS:
            self._found.add(concern)
        else:
            self._left_out = True

    def extend(self, concerns: Iterable[Concern]) -> None:
        """Note several concerns."""
        for concern in islice(concerns, 2 * _MOST_CONCERNS):
            self.add(concern.level, concern.kind, concern.path, concern.message)

    @property
    def concerns(self) -> tuple[Concern, ...]:
        """Worst first, then by path; the same bundle gives the same order."""
        # Of one file, a missing checksum comes last: it is seldom the cause.
        return tuple(
            sorted(self._found, key=lambda each: (LEVELS.index(each.level), each.path, each.kind == "checksum", each))
        )

    @property
    def unsafe(self) -> tuple[Concern, ...]:
        """The concerns for which the bundle is refused unless the user trusts it."""
        return tuple(concern for concern in self.concerns if concern.level == "unsafe")

    def refusal(self, *, most: int, remedy: str, trust: bool = False) -> str:
        """Reason to refuse the bundle in one line, "" for none: its first causes, or that another release made it.

        Args:
            most: number of causes to name.
            remedy: ends the line.
            trust: the user trusts the bundle, so only kinds in `ALWAYS_REFUSED` count.
        """
        causes = [each for each in self.unsafe if not trust or each.kind in ALWAYS_REFUSED]
        if not causes:
            return ""
        own = custom_components.__version__
        version = self.summary.get("release", self.summary.get("version", ""))
        known_to_another = (each.kind in ("expression", "target") or each.message == FOREIGN_CODE for each in causes)
        if version not in ("", own) and all(known_to_another):
            return (
                f"bundle {self.bundle} must be packaged by release {own}, got one of {version}, whose code and "
                f"configurations are not known here; if you know its maker, segment with --trust, or package its model "
                "again: multijoint package multijoint_mr_bone_segmentation --checkpoint FOLDER --out dist"
            )
        named = "; ".join(f"{each.path}: {each.message}" for each in causes[:most])
        more = f" and {len(causes) - most} more" if len(causes) > most else ""
        return f"bundle {self.bundle} must be safe, got {named}{more}; {remedy}"

    def to_json(self) -> str:
        """The report as indented JSON."""
        found = [vars(concern) for concern in self.concerns]
        content = {"bundle": self.bundle, "safe": not self.unsafe, "summary": self.summary, "findings": found}
        return json.dumps(content, indent=2, allow_nan=False) + "\n"

    def to_text(self) -> str:
        """The report for a reader: description of the bundle, one line per concern, verdict."""
        lines = [f"{key}: {value}" for key, value in self.summary.items()] + [str(each) for each in self.concerns]
        if self._left_out:
            lines.append(f"... and more than {_MOST_CONCERNS} of one kind")
        counts = [f"{sum(each.level == level for each in self.concerns)} {level}" for level in LEVELS]
        lines.append(f"{self.bundle}: {'UNSAFE' if self.unsafe else 'no danger found'} ({', '.join(counts)})")
        return "\n".join(lines) + "\n"


def shorten(text: object, *, limit: int = _MOST_CHARACTERS) -> str:
    r"""Foreign text for one line of a terminal: other characters are escaped, long text is cut.

    Example:
        >>> shorten("a" + chr(27) + "[2J" + chr(10) + "b")
        'a\\x1b[2J\\nb'
    """
    value = str(text)
    return printable(value[:limit] + ("..." if len(value) > limit else ""))
