"""Accuracy of int8: Dice on subjects unseen in training, in float32 and in int8."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from custom_components.data.cases import Case
from custom_components.data.manifests import Manifest
from custom_components.domains import Domain
from custom_components.errors import InputError, show_path
from custom_components.io.records import label_map_path
from custom_components.io.volumes import read_label, read_volume
from custom_components.metrics.bone_scores import dice_coefficient
from custom_components.models.seen import seen_by
from custom_components.models.trained_model import TrainedModel

from multijoint.running import run_workflow

_COMPARED = ("float32", "int8")
MOST_FALL = 0.001
"""Of the mean Dice of a bone: 0.1 points."""


@dataclass(frozen=True)
class BoneDice:
    """Mean Dice of a bone over held-out cases, 0..1.

    Args:
        cases: how many cases, those apart that have no such bone in reference, float32 and int8.
        float32, int8: Dice of the network in this precision.
    """

    domain: str
    label: str
    cases: int
    float32: float
    int8: float

    @property
    def fall(self) -> float:
        """Loss of Dice by int8; negative if int8 is better."""
        return self.float32 - self.int8


def divide_cases(model: TrainedModel, manifest: Manifest) -> tuple[list[Case], list[Case]]:
    """Cases of training subjects to calibrate on, and labelled cases of unseen subjects to test on.

    Raises:
        InputError: the model does not list its subjects, or the manifest has none of one of the two kinds.
    """
    seen, name = seen_by(model.training), manifest.domain.name
    if not seen.complete:
        raise InputError("a model for int8 must say whom it was trained on, got a packaged one; give a run's model.pt")
    training = [case for case in manifest.cases if (name, case.subject) in seen.training]
    held_out = [
        case for case in manifest.cases if case.label is not None and (name, case.subject) not in seen.everybody
    ]
    for cases, whom, remedy in (
        (training, "trained on", "give the manifest that it was trained with"),
        (held_out, "never saw", "train a fold that tests somebody, or add labelled cases"),
    ):
        if not cases:
            raise InputError(f"{manifest.path} must have somebody whom the network {whom}, got nobody; {remedy}")
    return training, held_out


def compare_precisions(bundle: Path, cases: Sequence[Case], *, domain: Domain) -> list[BoneDice]:
    """Segment cases with both networks of a bundle, file to file as a user would, and compare with the references.

    The bundle is a folder with a model's description, weights and int8 files; the cases of `domain` are labelled.

    Returns:
        A row a bone. Where a bone is in neither of reference and prediction, they agree: Dice 1.

    Raises:
        InputError: a case cannot be segmented, or no case has one of the bones.
    """
    scans = [{**case.scan, "name": f"case_{number}"} for number, case in enumerate(cases)]
    dice: dict[str, np.ndarray] = {}
    with tempfile.TemporaryDirectory() as folder:
        for precision in _COMPARED:
            out = Path(folder, precision)
            settings = {"checkpoint": bundle, "domain": domain.name, "precision": precision, "device": "cpu"}
            run_workflow(["inference.yaml"], workflow_type="inference", images=scans, output_dir=out, **settings)
            found = [_dice(case, label_map_path(out, f"case_{number}"), domain) for number, case in enumerate(cases)]
            dice[precision] = np.array(found)
    absent = np.isnan(dice["float32"]) & np.isnan(dice["int8"])
    rows = []
    for index, label in enumerate(domain.labels.values()):
        present = ~absent[:, index]
        if not present.any():
            raise InputError(f"held-out cases of {domain.name} must show every bone, got none with {label}; add one")
        means = [float(np.nan_to_num(dice[name][present, index], nan=1.0).mean()) for name in _COMPARED]
        rows.append(BoneDice(domain.name, label, int(present.sum()), *means))
    return rows


def check_fall(rows: Sequence[BoneDice]) -> None:
    """Refuse int8 if it costs too much.

    Raises:
        InputError: naming each bone whose Dice falls by more than `MOST_FALL`.
    """
    worse = [row for row in rows if row.fall > MOST_FALL]
    if worse:
        found = ", ".join(
            f"{row.domain} {row.label} from {100 * row.float32:.2f} to {100 * row.int8:.2f} (n={row.cases})"
            for row in worse
        )
        raise InputError(
            f"Dice of int8 on held-out cases must fall by at most {100 * MOST_FALL:g} points in each bone, "
            f"got {found}; package without --int8, or train longer"
        )


def _dice(case: Case, prediction: Path, domain: Domain) -> list[float]:
    """Of each bone; NaN where both are empty."""
    if case.label is None:
        raise ValueError(f"case {case.name} must have a label to be tested on")
    image = read_volume(case.image)
    reference = domain.encode(read_label(case.label, like=image).array, source=show_path(case.label))
    classes = domain.encode(read_label(prediction, like=image).array, source=prediction.name)
    return [dice_coefficient(classes == index, reference == index) for index in range(1, domain.num_classes)]
