"""Quality measures of each bone of a result, and the rules by which they raise flags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from custom_components.domains import Domain
from custom_components.errors import InputError
from custom_components.label_maps import find_bones, memory_axes
from custom_components.postprocessing.components import component_sizes
from custom_components.quality.calibration import DomainQuality

FLAGS = (
    "missing",
    "several-components",
    "volume-outside-training",
    "changed-by-postprocessing",
    "cut-by-field-of-view",
    "low-confidence",
)

UNLIKE_DOMAIN = "unlike-domain"
"""Flag of all bones of a scan that does not look like its domain; see `inference.domain_fit`."""

_MOST_SIZES = 20  # a record lists the sizes of this many largest components
_DIGITS = 6


@dataclass(frozen=True)
class FlagRules:
    """Thresholds for flagging a bone. They apply to saved records, so changing them needs no new segmentation.

    Args:
        least_confidence: a bone is `low-confidence` below it; without calibration, expected Dice is compared.
        most_changed: a bone is `changed-by-postprocessing` if a larger share of its voxels, 0..1, was added or removed.
        volume_margin: a bone is `volume-outside-training` if it is smaller than the smallest reference, or larger than
            the largest, by more than this share of the reference's volume.
        speck: components smaller than this share of the bone before post-processing do not count.

    Raises:
        InputError: a value is outside 0..1, or the margin is negative.
    """

    least_confidence: float = 0.8
    most_changed: float = 0.1
    volume_margin: float = 0.25
    speck: float = 0.01

    def __post_init__(self) -> None:
        for field in fields(self):
            value, most = getattr(self, field.name), np.inf if field.name == "volume_margin" else 1
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
                rule = "a number from 0" if most > 1 else "a number from 0 to 1"
                raise InputError(f"{field.name} must be {rule}, got {value!r}; correct the rule")

    @classmethod
    def from_texts(cls, texts: Sequence[str]) -> FlagRules:
        """Rules from texts such as `least_confidence=0.7`.

        Raises:
            InputError: a text of another form, or an unknown rule.

        Example:
            >>> FlagRules.from_texts(["speck=0.05"]).speck
            0.05
        """
        known, given = [field.name for field in fields(cls)], {}
        for text in texts:
            name, _, value = text.partition("=")
            try:
                given[name] = float(value)
            except ValueError:
                name = ""
            if name not in known:
                raise InputError(f"flag rule must be NAME=NUMBER with one of {', '.join(known)}, got {text!r}")
        return cls(**given)


def measure_quality(
    labels: np.ndarray,
    *,
    domain: Domain,
    voxel_ml: float,
    before: np.ndarray | None = None,
    expected_dice: Sequence[float] | None = None,
    connectivity: int = 1,
    known: DomainQuality | None = None,
) -> list[dict[str, Any]]:
    """Measure each bone of a label map, in plain types for its record.

    Args:
        labels: label values, shape (X, Y, Z).
        domain: names and label values of the bones.
        voxel_ml: volume of a voxel in ml.
        before: class indices before post-processing, of the same shape.
        expected_dice: expected Dice of each class, background included; see `expected_dice.ExpectedDice`.
        connectivity: connectivity of components, as for `components.largest_component`.
        known: quality of the model in this domain.

    Returns:
        One dictionary per bone: `label`, `bone`, `volume_ml`, `expected_dice`, `confidence`, `component_voxels` (the 20
        largest sizes before post-processing), `voxels_before`, `changed` (voxels that post-processing added or removed,
        as a share of the bone's voxels before or after), `cut` (whether the bone reaches the outermost voxels of the
        volume), `training_volume_ml` (smallest, largest). Unknown values are None.
    """
    bones = {bone.index: bone for bone in find_bones(labels, num_classes=256)}
    sizes: list[list[int]] | None = None
    if before is not None:
        sizes = component_sizes(before, num_classes=domain.num_classes, connectivity=connectivity)
        lost, won = _count_changes(before, labels, domain)
    result: list[dict[str, Any]] = []
    for index, (label, name) in enumerate(domain.labels.items(), start=1):
        bone = bones.get(label)
        num_voxels = 0 if bone is None else bone.num_voxels
        expected = None if not expected_dice else round(float(expected_dice[index]), _DIGITS)
        calibrated = None if expected is None or known is None or known.calibration is None else known.calibration
        row: dict[str, Any] = {
            "label": label,
            "bone": name,
            "volume_ml": round(num_voxels * voxel_ml, _DIGITS),
            "expected_dice": expected,
            "confidence": None if calibrated is None or expected is None else calibrated(expected if bone else 0.0),
            "component_voxels": None,
            "voxels_before": None,
            "changed": None,
            "cut": bone is not None
            and any(side.start == 0 or side.stop == size for side, size in zip(bone.box, labels.shape, strict=True)),
            "training_volume_ml": None if known is None else known.volumes_ml.get(name),
        }
        if sizes is not None:
            num_before, added = sum(sizes[index - 1]), int(won[label])
            changed = int(lost[index]) + added
            row |= {
                "component_voxels": sizes[index - 1][:_MOST_SIZES],
                "voxels_before": num_before,
                "changed": round(changed / max(num_before + added, 1), _DIGITS),
            }
        result.append(row)
    return result


def count_components(bone: Mapping[str, Any], rules: FlagRules) -> int | None:
    """Number of components of a bone before post-processing, without specks; None if unknown.

    Example:
        >>> bone = {"component_voxels": [900, 95, 5], "voxels_before": 1000}
        >>> count_components(bone, FlagRules())
        2
    """
    if bone["component_voxels"] is None:
        return None
    least = rules.speck * bone["voxels_before"]
    return sum(size >= least for size in bone["component_voxels"])


def find_flags(bone: Mapping[str, Any], rules: FlagRules) -> list[str]:
    """Flags of a bone from `measure_quality`, in the order of `FLAGS`.

    Example:
        >>> bone = {"volume_ml": 0.0, "expected_dice": 0.0, "confidence": None, "component_voxels": None,
        ...         "changed": None, "cut": False, "training_volume_ml": [3.0, 9.0]}
        >>> find_flags(bone, FlagRules())
        ['missing', 'low-confidence']
    """
    volume, volumes = bone["volume_ml"], bone["training_volume_ml"]
    sure = bone["expected_dice"] if bone["confidence"] is None else bone["confidence"]
    outside = volumes is not None and not (
        volumes[0] * (1 - rules.volume_margin) <= volume <= volumes[1] * (1 + rules.volume_margin)
    )
    holds = (
        volume == 0,
        (count_components(bone, rules) or 0) > 1,
        outside and volume > 0,
        (bone["changed"] or 0) > rules.most_changed,
        bone["cut"],
        sure is not None and sure < rules.least_confidence,
    )
    return [flag for flag, held in zip(FLAGS, holds, strict=True) if held]


def _count_changes(before: np.ndarray, labels: np.ndarray, domain: Domain) -> tuple[np.ndarray, np.ndarray]:
    """Count the voxels that each class lost and each label value gained, plane by plane to save memory."""
    lost, won = np.zeros((2, 256), np.intp)
    axis = memory_axes(labels)[0]
    for old, new in zip(np.moveaxis(before, axis, 0), np.moveaxis(labels, axis, 0), strict=True):
        changed = old != domain.encode(new, source="the result")
        lost += np.bincount(old[changed], minlength=256)
        won += np.bincount(new[changed], minlength=256)
    return lost, won
