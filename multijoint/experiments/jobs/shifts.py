"""Shifted copies of tested exams: placed, framed and exposed otherwise than the scans of a training."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from custom_components.data.cases import Case
from custom_components.domains import PLANES
from custom_components.errors import InputError
from custom_components.io.geometry import canonical_spacing_mm, orientation_of, to_canonical
from custom_components.io.volumes import nifti_bytes, read_label
from custom_components.system.files import write_atomically
from custom_components.system.locks import wait_for_lock
from scipy import ndimage

SHIFTS = (
    *("moved-left", "moved-right", "moved-down", "moved-up", "smaller", "larger"),
    *("darker", "brighter", "bias", "blurred", "cropped"),
)
"""Names of the copies; without an underscore, which joins them to the names of their cases."""

_MOVES = {"moved-left": (0, -1), "moved-right": (0, 1), "moved-down": (1, -1), "moved-up": (1, 1)}
_SHARE = 0.15  # of the field of view, moved or cropped
_SCALES = {"smaller": 0.85, "larger": 1.15}
_EXPOSURES = {"darker": (0.7, 1.5), "brighter": (1.3, 1 / 1.5)}  # gain, gamma
_BIAS = 1.6  # the field lies between 1 / 1.6 and 1.6
_BLUR_MM = 1.0
_NOISE = 0.02  # of the range up to the 99th percentile
_GREYS = 4096  # the steps of a stored copy, at least


def shift_exam(
    image: np.ndarray, labels: np.ndarray, affine: np.ndarray, *, plane: str, how: str, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One shifted copy of an exam. What enters from outside is air, the image's minimum, and background.

    - moved-left, -right, -down, -up: by 15 % of the field of view (to whole voxels) along one of the two in-plane axes:
      to the low (left) or high (right) end of the first, of the second (down, up), in RAS+ order.
    - smaller, larger: 0.85 and 1.15 times in the plane, about its centre; the image interpolated linearly, labels to
      the nearest.
    - darker, brighter: gain 0.7 and gamma 1.5, gain 1.3 and gamma 1 / 1.5, where 0 is air and 1 the 99th percentile.
    - bias: times a smooth field, the exponential of a random quadratic polynomial, between 1 / 1.6 and 1.6.
    - blurred: by a Gaussian of 1 mm in the plane (of a pixel, if that is larger), with noise of 2 %.
    - cropped: without 15 % of the longer in-plane axis, at its low end or, for odd seeds, its high end.

    Args:
        image: voxels (X, Y, Z) in any axis order.
        labels: label values, of the same shape.
        affine: voxel index -> RAS+ position in mm, (4, 4).
        plane: of acquisition, one of `PLANES`.
        how: one of `SHIFTS`.
        seed: of the field, the noise and the cropped end.

    Returns:
        Image (float32), labels and affine, in the same axis order; the same arguments give the same copy.

    Raises:
        InputError: the shift is unknown.

    Source:
        The choice and the strengths are ours.
    """
    if how not in SHIFTS:
        raise InputError(f"shift must be one of {', '.join(SHIFTS)}, got {how!r}; correct the name")
    image = image.astype(np.float32)
    in_plane = [axis for axis in range(3) if axis != PLANES[plane]]
    if how == "cropped":
        return _cropped(image, labels, affine, in_plane, at_end=bool(seed % 2))
    copies = np.empty_like(image), np.empty_like(labels)
    scans = to_canonical(image, affine), to_canonical(labels, affine)
    for copy, scan, air, order in zip(copies, scans, (float(image.min()), 0), (1, 0), strict=True):
        changed = scan
        if how in _MOVES:
            position, sign = _MOVES[how]
            changed = _moved(scan, in_plane[position], sign * _share(scan.shape[in_plane[position]]), air)
        elif how in _SCALES:
            changed = _scaled(scan, in_plane, _SCALES[how], air, order)
        elif copy is copies[0]:
            changed = _exposed(scan, canonical_spacing_mm(affine), in_plane, how, np.random.default_rng(seed))
        to_canonical(copy, affine)[...] = changed  # a view: writing to it writes to the copy
    return *copies, affine


def write_copies(folder: Path, case: Case, *, plane: str) -> list[Case]:
    """The shifted copies of a labelled case as files below `folder`; those that are there already stay.

    Several processes may ask at once: one writes while the others wait. The name of a copy is that of its case, an
    underscore, and the shift. Greys are stored to at least 1 / 4096 of the range of the image.

    Raises:
        InputError: image or label cannot be used, see `read_volume`.
        OSError: a file could not be written.
    """
    from custom_components.data.channels import read_channels  # and with it PyTorch, which tables do without

    place = folder / case.domain
    copies = {how: _copy_of(place, case, how) for how in SHIFTS}
    place.mkdir(parents=True, exist_ok=True)
    with wait_for_lock(place / f".{case.name}.lock"):
        missing = {how: copy for how, copy in copies.items() if not _label_of(copy).is_file()}
        if missing:
            channels = read_channels(case.images)
            labels = read_label(_label_of(case), like=channels[0]).array.astype(np.uint8)
            seed = zlib.crc32(f"{case.domain}/{case.name}".encode())
        for how, copy in missing.items():
            for file, channel in zip(copy.images, channels, strict=True):
                grid = channel.affine
                voxels, reference, affine = shift_exam(channel.array, labels, grid, plane=plane, how=how, seed=seed)
                write_atomically(file, nifti_bytes(_rounded(voxels), affine))
            write_atomically(_label_of(copy), nifti_bytes(reference, affine))  # last: it stands for both
    return list(copies.values())


def _copy_of(place: Path, case: Case, how: str) -> Case:
    name = f"{case.name}_{how}"
    files = place / "images" / f"{name}.nii.gz", place / "labels" / f"{name}.nii.gz"
    further = tuple(place / "images" / f"{name}_{number:04d}.nii.gz" for number in range(1, len(case.images)))
    return Case(name, case.domain, *files, case.subject, case.group, further)


def _label_of(case: Case) -> Path:
    assert case.label is not None  # it is tested
    return case.label


def _share(size: int) -> int:
    return round(_SHARE * size)


def _moved(array: np.ndarray, axis: int, steps: int, air: float) -> np.ndarray:
    moved = np.full_like(array, air)
    kept = array.shape[axis] - abs(steps)
    source, target = (slice(first, first + kept) for first in (max(-steps, 0), max(steps, 0)))
    before = (slice(None),) * axis
    moved[(*before, target)] = array[(*before, source)]
    return moved


def _scaled(array: np.ndarray, axes: Sequence[int], factor: float, air: float, order: int) -> np.ndarray:
    steps = np.array([1 / factor if axis in axes else 1.0 for axis in range(3)])
    centre = (np.array(array.shape) - 1) / 2
    offset = centre - steps * centre
    return ndimage.affine_transform(array, np.diag(steps), offset, order=order, mode="constant", cval=air)


def _exposed(
    image: np.ndarray, spacing_mm: Sequence[float], in_plane: Sequence[int], how: str, rng: np.random.Generator
) -> np.ndarray:
    air = float(image.min())
    bright = float(np.percentile(image, 99)) - air or float(image.max()) - air or 1.0
    scaled = (image - air) / bright
    if how in _EXPOSURES:
        gain, gamma = _EXPOSURES[how]
        scaled = gain * scaled**gamma
    elif how == "bias":
        scaled = scaled * _smooth_field(image.shape, rng)
    else:
        widths = [max(_BLUR_MM / spacing_mm[axis], 1.0) if axis in in_plane else 0.0 for axis in range(3)]
        noise = _NOISE * rng.standard_normal(image.shape, np.float32)
        scaled = np.maximum(ndimage.gaussian_filter(scaled, widths, mode="nearest") + noise, 0)
    return air + bright * scaled


def _smooth_field(shape: Sequence[int], rng: np.random.Generator) -> np.ndarray:
    x = np.meshgrid(*(np.linspace(-1, 1, size, dtype=np.float32) for size in shape), indexing="ij", sparse=True)
    terms = [*x, *(x[i] * x[j] for i in range(3) for j in range(i, 3))]
    polynomial = sum(float(factor) * term for factor, term in zip(rng.standard_normal(len(terms)), terms, strict=True))
    polynomial = np.broadcast_to(polynomial - np.mean(polynomial), tuple(shape))
    return _BIAS ** (polynomial / (np.abs(polynomial).max() or 1.0))


def _cropped(
    image: np.ndarray, labels: np.ndarray, affine: np.ndarray, in_plane: Sequence[int], *, at_end: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    orientation = orientation_of(affine)
    sizes = np.linalg.norm(affine[:3, :3], axis=0) * image.shape
    axis = max((axis for axis in range(3) if orientation[axis, 0] in in_plane), key=lambda axis: sizes[axis])
    lost = _share(image.shape[axis])
    first = 0 if at_end == (orientation[axis, 1] > 0) else lost  # the high end of RAS+ may be stored first
    kept = (slice(None),) * axis + (slice(first, first + image.shape[axis] - lost),)
    affine = affine.copy()
    affine[:3, 3] += first * affine[:3, axis]
    return image[kept], labels[kept], affine


def _rounded(image: np.ndarray) -> np.ndarray:
    """Rounded to a power of two, so that the file is small; whole numbers stay as they are."""
    extent = float(image.max() - image.min())
    step = 2.0 ** np.floor(np.log2(extent / _GREYS)) if extent > 0 else 1.0
    return (np.round(image / step) * step).astype(np.float32)
