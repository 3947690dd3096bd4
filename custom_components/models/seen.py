"""Whom a model has seen: the people that it, and each model that it started from, was trained or validated on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

SEEN = "seen"
"""Key of `TrainedModel.training` where another model was the start: `Seen.to_dict` of that model."""

Person = tuple[str, str]
"""Names of a domain and of a subject in it."""


@dataclass(frozen=True)
class Seen:
    """People that a model was trained on, and people on whom its best epoch was chosen.

    Args:
        training, validation: domain and subject of each.
        complete: false if one of the models behind it does not name its people, as a packaged one.
    """

    training: frozenset[Person] = frozenset()
    validation: frozenset[Person] = frozenset()
    complete: bool = True

    @property
    def everybody(self) -> frozenset[Person]:
        """All of both sides."""
        return self.training | self.validation

    def __or__(self, other: Seen) -> Seen:
        return Seen(
            self.training | other.training, self.validation | other.validation, self.complete and other.complete
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain types, in a fixed order."""
        sides = {"training": self.training, "validation": self.validation}
        rows = {
            side: [{"domain": domain, "subject": subject} for domain, subject in sorted(people)]
            for side, people in sides.items()
        }
        return {**rows, "complete": self.complete}


def seen_by(training: Mapping[str, Any]) -> Seen:
    """Whom the model with this record (`TrainedModel.training`) has seen, by its own split and by `SEEN`.

    Example:
        >>> split = {"training": [{"domain": "ankle", "case": "a1", "subject": "Ann"}], "validation": []}
        >>> earlier = Seen(validation=frozenset({("ankle", "Bob")})).to_dict()
        >>> sorted(seen_by({"split": split, "seen": earlier}).everybody)
        [('ankle', 'Ann'), ('ankle', 'Bob')]
        >>> seen_by({}).complete  # a packaged model names nobody
        False
    """
    split, earlier = training.get("split"), training.get(SEEN, {})
    own = Seen(complete=False) if split is None else _of_rows(split)
    return own | _of_rows(earlier)


def _of_rows(record: Mapping[str, Any]) -> Seen:
    training, validation = (_people(record.get(side, ())) for side in ("training", "validation"))
    return Seen(training, validation, record.get("complete", True))


def _people(rows: Iterable[Mapping[str, Any]]) -> frozenset[Person]:
    return frozenset((row["domain"], row["subject"]) for row in rows)
