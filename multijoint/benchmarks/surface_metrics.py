"""Dice and surface distances against MONAI, surface-distance and edt: three bones, before and after post-processing."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import surface_distance
import torch
from custom_components.domains import Domain
from custom_components.metrics.bone_scores import score_predictions
from monai.metrics import compute_average_surface_distance, compute_dice, compute_hausdorff_distance
from scipy import ndimage
from scipy.spatial.distance import cdist

from multijoint.benchmarks.fixtures import Workplace
from multijoint.benchmarks.noisy_knee import BONES, NUM_CLASSES, SPACING_MM, make_noisy_knee
from multijoint.benchmarks.postprocessing import clean
from multijoint.benchmarks.rows import Row, Target, interleave

try:
    import edt  # of the extra `peers`, under LGPL: for comparison only
except ImportError:
    edt = None

_DOMAIN = Domain("knee", dict(enumerate(BONES, start=1)), "axial")
_REPETITIONS = {"MONAI": 2, "surface-distance": 1, "edt": 3}
_COARSE = 4  # every so many voxels for the definition, which compares all pairs of points: a minute at full size
_PART = 500  # points whose distances to all others are computed at once
_TOLERANCE_MM = 1e-6
_TOLERANCE_32 = 1e-5  # relative: MONAI's distances are 32-bit floats


def surface_metrics(place: Workplace) -> Iterator[Row]:
    """All scores of two predictions of one case against the peers; masks and one-hot tensors exist beforehand.

    A RuntimeError is raised if a score differs from the definition's, or under its convention from MONAI's.
    """
    step = place.choose(1, 2)
    reference, before = (each[::step, ::step, ::step].copy() for each in make_noisy_knee())
    predictions = [before, clean(before)]
    hot = [_one_hot(each) for each in (*predictions, reference)]
    masks = _masks([*predictions, reference])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # both peers use deprecated names of other packages
        *few, coarse = (each[::_COARSE, ::_COARSE, ::_COARSE].copy() for each in (*predictions, reference))
        _check("definition", _ours(few, coarse), _by_definition(_masks([*few, coarse])), rtol=0, atol=_TOLERANCE_MM)
        same_border = _ours(predictions, reference, border="surface")
        _check("MONAI", same_border, _by_monai(hot), rtol=_TOLERANCE_32, atol=0)
        peers: dict[str, Callable[[], Any]]
        peers = {"MONAI": lambda: _by_monai(hot), "surface-distance": lambda: _by_package(masks)}
        if edt is not None:
            peers["edt"] = lambda: _by_edt(masks)
            _check("edt", _ours(predictions, reference), _by_edt(masks), rtol=_TOLERANCE_32, atol=0)
        measured = {}
        for name, peer in peers.items():
            n = place.choose(_REPETITIONS[name])
            measured[name] = interleave(lambda: _ours(predictions, reference), peer, repetitions=n, warm_up=0)
    better = min(measured, key=lambda name: measured[name][1])
    for name, (ours, theirs) in measured.items():
        target = Target(0.5 if name == "edt" else 0.35) if name == better else None  # held against the better peer
        n, packages = place.choose(_REPETITIONS[name]), ("surface-distance", "edt")
        yield Row(f"surface-metrics, {name}", ours, theirs, "s", n, target, packages=packages)
    if edt is None:
        yield Row("surface-metrics, edt: not installed (multijoint[peers])", math.nan, None, "s", 0)


def _masks(labels: Sequence[np.ndarray]) -> list[list[np.ndarray]]:
    return [[each == index for index in range(1, NUM_CLASSES)] for each in labels]


def _ours(predictions: Sequence[np.ndarray], reference: np.ndarray, border: str = "inside") -> np.ndarray:
    """Dice, ASSD and MSSD of shape (predictions, bones, 3), like the functions below."""
    scores = score_predictions(predictions, reference, domain=_DOMAIN, spacing_mm=SPACING_MM, border=border)
    return np.array([[(bone.dice, bone.assd_mm, bone.mssd_mm) for bone in case] for case in scores])


def _by_definition(masks: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """Distances between all pairs of surface points; the outside of the scan counts as bone."""
    scores = []
    for bones in masks[:-1]:
        for prediction, reference in zip(bones, masks[-1], strict=True):
            surfaces = [mask & ~ndimage.binary_erosion(mask, border_value=1) for mask in (prediction, reference)]
            points = [np.argwhere(surface) * SPACING_MM for surface in surfaces]
            distances = np.concatenate([_nearest(*points), _nearest(*points[::-1])])
            dice = 2 * np.sum(prediction & reference) / (np.sum(prediction) + np.sum(reference))
            scores.append((dice, distances.mean(), distances.max()))
    return np.array(scores).reshape(len(masks) - 1, -1, 3)


def _nearest(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    parts = [points[start : start + _PART] for start in range(0, len(points), _PART)]
    return np.concatenate([cdist(part, others).min(axis=1) for part in parts])


def _by_edt(masks: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """Distance maps of the surfaces in the box of both masks, on one thread as ours; the scores of `_by_definition`."""
    scores = []
    for bones in masks[:-1]:
        for whole in zip(bones, masks[-1], strict=True):
            [box] = ndimage.find_objects((whole[0] | whole[1]).view(np.uint8))
            wider = tuple(slice(max(side.start - 1, 0), side.stop + 1) for side in box)
            both = [mask[wider] for mask in whole]
            surfaces = [mask & ~ndimage.binary_erosion(mask, border_value=1) for mask in both]
            maps = [edt.edt(~surface, anisotropy=SPACING_MM, parallel=1) for surface in surfaces]
            distances = np.concatenate([maps[1][surfaces[0]], maps[0][surfaces[1]]])
            dice = 2 * np.sum(both[0] & both[1]) / (np.sum(both[0]) + np.sum(both[1]))
            scores.append((dice, distances.mean(dtype=np.float64), distances.max()))
    return np.array(scores).reshape(len(masks) - 1, -1, 3)


def _by_monai(hot: Sequence[torch.Tensor]) -> np.ndarray:
    scores = []
    for prediction in hot[:-1]:
        both = {"y_pred": prediction, "y": hot[-1], "include_background": False}
        dice = compute_dice(**both)
        assd = compute_average_surface_distance(**both, symmetric=True, spacing=SPACING_MM)
        mssd = compute_hausdorff_distance(**both, spacing=SPACING_MM)
        scores.append(torch.stack([dice, assd, mssd], dim=-1)[0])
    return torch.stack(scores).numpy()


def _by_package(masks: Sequence[Sequence[np.ndarray]]) -> list[tuple[float, ...]]:
    """Scores of surface-distance: surface elements between voxels, weighted by area, so only the time compares."""
    scores = []
    for bones in masks[:-1]:
        for prediction, reference in zip(bones, masks[-1], strict=True):
            distances = surface_distance.compute_surface_distances(reference, prediction, SPACING_MM)
            dice = surface_distance.compute_dice_coefficient(reference, prediction)
            averages = surface_distance.compute_average_surface_distance(distances)
            scores.append((dice, *averages, surface_distance.compute_robust_hausdorff(distances, 100)))
    return scores


def _one_hot(labels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.stack([labels == index for index in range(NUM_CLASSES)])[None].astype(np.float32))


def _check(name: str, ours: np.ndarray, other: np.ndarray, *, rtol: float, atol: float) -> None:
    if not np.allclose(ours, other, rtol=rtol, atol=atol):
        raise RuntimeError(f"scores must be those of {name}, got {ours.tolist()} and {other.tolist()}")
