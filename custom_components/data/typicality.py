"""The least typical subjects of a data set, by the statistics of their images and the geometry of their bones."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from custom_components.data.cases import Case
from custom_components.data.manifests import Manifest
from custom_components.domains import Domain
from custom_components.io.geometry import canonical_spacing_mm, to_canonical, voxel_volume_ml
from custom_components.io.volumes import read_label, read_volume

_MAD_TO_SD = 1.4826  # of a normal distribution
_FLOOR = 0.02  # smallest deviation: every feature is a share or a logarithm, and 2 % is no difference
_CLIP = 5.0  # deviations; one odd feature alone does not make a subject the least typical
_CACHED = 1024  # cases, a few hundred bytes each


def distances_from_typical(manifest: Manifest) -> dict[str, float]:
    """How far each labelled subject is from the rest of its data set, in robust standard deviations; larger is farther.

    The features of a case are

    - of the image, divided by its own 99th percentile: mean, standard deviation, the three quartiles, and the root mean
      square of the gradient from voxel to voxel;
    - of the labels, in RAS+ order: centroid of each bone as a share of the field of view, logarithm of its volume, and
      logarithms of the extents in mm of all bones together.

    Each feature becomes its distance from the median over the cases, divided by 1.4826 times the median absolute
    deviation, or by 0.02 if that is larger. These are averaged over the cases of a subject and clipped to -5..5; the
    distance is their root mean square. Features of bones that a subject lacks are left out.

    Returns:
        Subject -> distance, 0 or more, in the order of the manifest.

    Raises:
        InputError: a file cannot be used, see `read_volume`, or has labels that the domain lacks.

    Source:
        The rule is ours.
    """
    cases = [case for case in manifest.cases if case.label is not None]
    features = np.array([_cached(case, manifest.domain) for case in cases])
    with np.errstate(invalid="ignore"):
        medians = _median(features)
        deviations = np.maximum(_MAD_TO_SD * _median(np.abs(features - medians)), _FLOOR)
        scores = (features - medians) / deviations
    distances = {}
    for subject in dict.fromkeys(case.subject for case in cases):
        own = scores[[case.subject == subject for case in cases]]
        known = ~np.isnan(own)
        means = np.where(known, own, 0).sum(axis=0)[known.any(axis=0)] / known.sum(axis=0)[known.any(axis=0)]
        distances[subject] = float(np.sqrt(np.mean(np.clip(means, -_CLIP, _CLIP) ** 2)))
    return distances


def least_typical_subjects(manifest: Manifest) -> list[str]:
    """The farthest fifth of the labelled subjects (rounded, at least one), in the order of the manifest.

    See `distances_from_typical` for the rule and the errors; of equally far ones the first of the manifest is taken.
    """
    distances = distances_from_typical(manifest)
    count = max(1, round(len(distances) / 5))
    farthest = sorted(distances, key=lambda subject: -distances[subject])[:count]
    return [subject for subject in distances if subject in farthest]


def case_features(image: np.ndarray, classes: np.ndarray, affine: np.ndarray, *, num_classes: int) -> np.ndarray:
    """The features of one case, see `distances_from_typical`; those of an absent bone are NaN.

    Args:
        image: voxels (X, Y, Z), in any unit.
        classes: class indices (X, Y, Z), 0 for background.
        affine: voxel index -> RAS+ position in mm, (4, 4).
        num_classes: classes of the domain, background included.

    Returns:
        6 numbers of the image, 4 of each bone (three of its centroid, then its volume) and 3 extents.

    Example:
        >>> image, bone = np.arange(8.0).reshape(2, 2, 2), np.zeros((2, 2, 2), int)
        >>> bone[1] = 1
        >>> case_features(image, bone, np.diag([2.0, 1, 1, 1]), num_classes=2)[6:].round(3).tolist()
        [0.75, 0.5, 0.5, 2.079, 0.693, 0.693, 0.693]
    """
    image, classes = to_canonical(image, affine), to_canonical(classes, affine)
    scaled = image.astype(np.float64) / (np.percentile(image, 99) or 1.0)
    steps = [np.diff(scaled, axis=axis) for axis in range(3)]
    gradient = np.sqrt(sum(float(np.mean(step**2)) for step in steps if step.size))
    found = [scaled.mean(), scaled.std(), *np.percentile(scaled, [25, 50, 75]), gradient]
    shape, voxel_mm3 = np.array(classes.shape), 1e3 * voxel_volume_ml(affine)
    for index in range(1, num_classes):
        voxels = np.argwhere(classes == index)
        share = (voxels.mean(axis=0) + 0.5) / shape if len(voxels) else np.full(3, np.nan)
        found += [*share, np.log(len(voxels) * voxel_mm3) if len(voxels) else np.nan]
    everything = np.argwhere(classes > 0)
    sizes = np.ptp(everything, axis=0) + 1 if len(everything) else np.full(3, np.nan)
    return np.array([*found, *np.log(sizes * np.array(canonical_spacing_mm(affine)))])


def _cached(case: Case, domain: Domain) -> np.ndarray:
    assert case.label is not None  # those without are left out
    changed = tuple(path.stat().st_mtime_ns for path in (case.image, case.label))
    return _read_features(case.image, case.label, tuple(domain.labels), changed)


@lru_cache(maxsize=_CACHED)  # a plan of an experiment splits the same data for each of its jobs
def _read_features(image: Path, label: Path, values: tuple[int, ...], changed: tuple[int, ...]) -> np.ndarray:
    volume = read_volume(image)
    domain = Domain("any", {value: str(value) for value in values}, "axial")
    classes = domain.encode(read_label(label, like=volume).array, source=label.name)
    return case_features(volume.array, classes, volume.affine, num_classes=domain.num_classes)


def _median(values: np.ndarray) -> np.ndarray:
    """Median of each column without its NaN; NaN for a column of nothing else."""
    columns = [column[~np.isnan(column)] for column in values.T]
    return np.array([np.median(column) if len(column) else np.nan for column in columns])
