"""Models that come with this package, each a folder of weights, model card, licence and scores."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

from custom_components.errors import InputError, suggest
from custom_components.metrics.score_tables import ALL_BONES
from custom_components.system.files import read_csv

SCORES = "scores.csv"
"""Scores of a cross-validation, in the columns of `summary.csv`; each of its networks scores only unseen people."""

_FOLDER = Path(__file__).parent / "weights"
_LICENCE = "SPDX-License-Identifier: "


@dataclass(frozen=True)
class ShippedModel:
    """A model that comes with this package.

    Args:
        folder: with `model.pt`, its card `README.md`, `LICENSE`, `scores.csv` of a cross-validation, and `summary.csv`
            of the people that these very weights have not seen.
    """

    folder: Path

    @property
    def name(self) -> str:
        """What `multijoint segment --model` and `multijoint.load` call it."""
        return self.folder.name

    @property
    def checkpoint(self) -> Path:
        """File of the weights, as a training writes it."""
        return self.folder / "model.pt"

    @property
    def card(self) -> Path:
        """The model card."""
        return self.folder / "README.md"

    @property
    def megabytes(self) -> float:
        """Size of the weights in 10^6 bytes."""
        return self.checkpoint.stat().st_size / 1e6

    @property
    def licence(self) -> str:
        """SPDX identifier of the weights' licence."""
        first = (self.folder / "LICENSE").read_text(encoding="utf-8").partition("\n")[0]
        return first.removeprefix(_LICENCE)

    @property
    def bones(self) -> dict[str, list[str]]:
        """Bones of each domain."""
        labels = {domain: [row["label"] for row in rows] for domain, rows in self._scores().items()}
        return {domain: [label for label in own if label != ALL_BONES] for domain, own in labels.items()}

    @property
    def dice(self) -> dict[str, float]:
        """Mean Dice of each domain in the cross-validation, 0..1."""
        pooled = [row for rows in self._scores().values() for row in rows if row["label"] == ALL_BONES]
        return {row["domain"]: float(row["dice_mean"]) for row in pooled}

    def _scores(self) -> dict[str, list[dict[str, str]]]:
        """Rows of each domain."""
        found: dict[str, list[dict[str, str]]] = {}
        for row in read_csv(self.folder / SCORES):
            found.setdefault(row["domain"], []).append(row)
        return found


def shipped_models() -> list[ShippedModel]:
    """All models of this package, by name.

    Example:
        >>> [model.name for model in shipped_models()]
        ['hippocampus_and_phantom_joints']
    """
    return [ShippedModel(path.parent) for path in sorted(_FOLDER.glob("*/model.pt"))]


def find_shipped(name: str) -> ShippedModel:
    """The model of this name.

    Raises:
        InputError: there is none.

    Example:
        >>> find_shipped("hippocampus_and_phantom_joint")
        Traceback (most recent call last):
        ...
        custom_components.errors.InputError: model must be one that `multijoint models` lists, got \
hippocampus_and_phantom_joint; did you mean hippocampus_and_phantom_joints?
    """
    known = {model.name: model for model in shipped_models()}
    if name not in known:
        raise InputError(f"model must be one that `multijoint models` lists, got {name}; {suggest(name, known)}")
    return known[name]


def resembles_shipped(name: str) -> bool:
    """Whether a text is, or nearly is, the name of a shipped model.

    Example:
        >>> [resembles_shipped(name) for name in ("hippocampus_and_phantom_joint", "runs/x/model.pt")]
        [True, False]
    """
    return bool(difflib.get_close_matches(name, [model.name for model in shipped_models()]))
