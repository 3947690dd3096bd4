"""One case read and measured: all that the rules need to know of it, without its voxels."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

from custom_components.checks.pictures import draw_planes
from custom_components.domains import PLANES, Domain
from custom_components.engines import failure_of
from custom_components.errors import show_path
from custom_components.geometry import canonical_spacing_mm, to_canonical
from custom_components.manifests import Case
from custom_components.volumes import Volume, check_grid, read_label, read_volume

__all__ = ["BoneMeasure", "Exam", "examine"]

_THUMBNAIL = 24  # voxels a side of the small copy that near duplicates are found with
_MOST_SAMPLES = 2_000_000  # voxels that intensities are counted from


@dataclass(frozen=True)
class BoneMeasure:
    """A bone of a reference label map.

    Args:
        volume_ml: in millilitres.
        components: volumes of its 6-connected components in ml, largest first.
    """

    volume_ml: float
    components: tuple[float, ...]


@dataclass(frozen=True)
class Exam:
    """A case and what was measured of it; an unreadable one has only `problems`.

    Args:
        case: the case.
        problems: (rule, message) of what makes it unusable.
        shape: of the image, as stored.
        sizes: of the image, in RAS+ order.
        spacing_mm: in RAS+ order.
        axes: axis codes as stored, such as "LPS".
        thick_plane: plane whose normal is the one axis with much larger voxels; None if there is none.
        digests: SHA-256 of the image's file, of its voxels and grid in RAS+ order, and of its labels likewise.
        thumbnail: the image in RAS+ order in a few voxels, zero mean, unit length.
        percentiles: 0, 1, 50, 99 and 100 % of the intensities.
        num_levels: different intensities, counted to 1000.
        contrast: mean intensity in the bones over that of the whole image, both from the 1 % percentile.
        layout: where the bones are: the labels likewise, a small copy a bone of the domain.
        bones: by name; those that the label map has.
        picture: JPEG of three planes.
    """

    case: Case
    problems: tuple[tuple[str, str], ...] = ()
    shape: tuple[int, ...] = ()
    sizes: tuple[int, ...] = ()
    spacing_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    axes: str = ""
    thick_plane: str | None = None
    digests: tuple[str, str, str] = ("", "", "")
    thumbnail: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    percentiles: tuple[float, ...] = ()
    num_levels: int = 0
    contrast: float = float("nan")
    layout: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    bones: Mapping[str, BoneMeasure] = field(default_factory=dict)
    picture: bytes = b""


def examine(case: Case, domain: Domain) -> Exam:
    """Read a case and measure it; whatever is wrong with it becomes one of its `problems`."""
    try:
        image = read_volume(case.image)
    except Exception as error:
        return Exam(case, ((_rule_of(case.image), failure_of(error)),))
    try:
        return _measure(case, domain, image)
    except Exception as error:
        return Exam(case, (("unreadable", failure_of(error)),))


def _rule_of(path: Path) -> str:
    return "unreadable" if path.exists() else "missing-file"


def _measure(case: Case, domain: Domain, image: Volume) -> Exam:
    voxels = to_canonical(image.array, image.affine)
    spacing = canonical_spacing_mm(image.affine)
    problems: list[tuple[str, str]] = []
    labels: np.ndarray | None = None
    if case.label is not None:
        labels, found = _read_labels(case.label, domain, image)
        problems += found
    sample = voxels[:: max(1, voxels.size // _MOST_SAMPLES)]
    low, first, middle, last, high = np.percentile(sample, [0, 1, 50, 99, 100]).tolist()
    classes = None
    if labels is not None:  # values that are unknown, which is said elsewhere, count as background
        classes = domain.encode(np.where(np.isin(labels, list(domain.labels)), labels, 0), source=case.name)
    return Exam(
        case,
        tuple(problems),
        shape=image.array.shape,
        sizes=voxels.shape,
        spacing_mm=spacing,
        axes="".join(nib.aff2axcodes(image.affine)),
        thick_plane=_thick_plane(spacing),
        digests=(image.digest, _digest(voxels, spacing), "" if labels is None else _digest(labels, spacing)),
        thumbnail=_unit(_shrunk(voxels, _THUMBNAIL)),
        percentiles=(low, first, middle, last, high),
        num_levels=min(len(np.unique(sample)), 1000),
        contrast=_contrast(voxels, labels, first),
        layout=_layout(classes, domain),
        bones={} if classes is None else _bones(classes, domain, spacing),
        picture=draw_planes(voxels, classes, spacing, limits=(first, last)),
    )


def _read_labels(path: Path, domain: Domain, image: Volume) -> tuple[np.ndarray | None, list[tuple[str, str]]]:
    """Label values in RAS+ order, or None; and what is wrong with them."""
    try:
        label = read_label(path)
    except Exception as error:
        return None, [(_rule_of(path), failure_of(error))]
    try:
        check_grid(label, image)
    except Exception as error:
        return None, [("grid", failure_of(error))]
    values, counts = np.unique(label.array, return_counts=True)
    known = {0, *domain.labels}
    extra = [
        f"{value} ({count} voxels)" for value, count in zip(values.tolist(), counts, strict=True) if value not in known
    ]
    problems = []
    if extra:
        rule = f"label values of {show_path(path)} must be among {', '.join(map(str, sorted(known)))}"
        problems.append(("label-values", f"{rule}, got {', '.join(extra[:5])}; correct the labels or the manifest"))
    if not any(value in domain.labels for value in values.tolist()):
        problems.append(("empty-label", f"label map {show_path(path)} must show a bone, got background only"))
    return to_canonical(label.array, label.affine), problems


def _bones(classes: np.ndarray, domain: Domain, spacing: tuple[float, float, float]) -> dict[str, BoneMeasure]:
    voxel_ml = float(np.prod(spacing)) / 1000
    bones = {}
    boxes = ndimage.find_objects(classes, max_label=len(domain.labels))
    for index, (name, box) in enumerate(zip(domain.labels.values(), boxes, strict=True), start=1):
        if box is None:
            continue
        mask = classes[box] == index
        sizes = np.sort(np.bincount(ndimage.label(mask)[0].ravel())[1:])[::-1]
        bones[name] = BoneMeasure(int(sizes.sum()) * voxel_ml, tuple((sizes * voxel_ml).tolist()))
    return bones


def _thick_plane(spacing: tuple[float, float, float]) -> str | None:
    order = np.argsort(spacing)
    thick = spacing[order[2]] >= 1.5 * spacing[order[1]]
    return {axis: plane for plane, axis in PLANES.items()}[int(order[2])] if thick else None


def _digest(array: np.ndarray, spacing: tuple[float, float, float]) -> str:
    head = f"{array.shape} {[round(size, 3) for size in spacing]}".encode()
    return hashlib.sha256(head + np.ascontiguousarray(array).tobytes()).hexdigest()


def _layout(classes: np.ndarray | None, domain: Domain) -> np.ndarray:
    if classes is None or not classes.any():
        return np.zeros(0, np.float32)
    return _unit(np.stack([_shrunk(classes == index, _THUMBNAIL // 2) for index in range(1, domain.num_classes)]))


def _shrunk(voxels: np.ndarray, side: int) -> np.ndarray:
    """A cube of means over blocks, so that noise and single voxels count for little."""
    small: np.ndarray = voxels.astype(np.float32)
    for axis, size in enumerate(voxels.shape):
        edges = np.unique(np.linspace(0, size, min(size, side) + 1).astype(int))
        sums = np.add.reduceat(small, edges[:-1], axis=axis, dtype=np.float32)
        small = sums / np.diff(edges).reshape([-1 if k == axis else 1 for k in range(3)]).astype(np.float32)
        small = np.take(small, np.arange(side) * (len(edges) - 1) // side, axis=axis)
    return small


def _unit(values: np.ndarray) -> np.ndarray:
    flat = values.astype(np.float32) - np.float32(values.mean(dtype=np.float64))
    return flat / np.float32(max(float(np.linalg.norm(flat)), 1e-12))


def _contrast(voxels: np.ndarray, labels: np.ndarray | None, low: float) -> float:
    if labels is None or not (labels > 0).any():
        return float("nan")
    overall = float(voxels.mean()) - low
    return (float(voxels[labels > 0].mean()) - low) / overall if overall > 0 else float("nan")
