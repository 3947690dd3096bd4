"""The voxels of a chosen series, as the NIfTI file that the rest of the pipeline reads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from custom_components.errors import InputError, show_path
from custom_components.io.nifti_files import MAX_VOXELS, check_size

from multijoint.clinic.dicom.files import reading_dicom
from multijoint.clinic.dicom.series import Series
from multijoint.clinic.dicom.slices import ENHANCED, Slice

__all__ = ["read_series"]


def read_series(series: Series) -> tuple[np.ndarray, np.ndarray]:
    """Voxels of a series with their rescale slope and intercept applied, and its affine.

    Returns:
        Voxels (columns, rows, slices), integers as stored where no slice is rescaled, else float32; and the affine,
        index -> RAS+ position in mm.

    Raises:
        InputError: too large, a file cannot be decoded, or was changed meanwhile.
    """
    slices, affine = series.stack.slices, series.stack.affine
    if affine is None:
        raise InputError(f"series {series.key} {series.reason}; choose another one")
    rows, columns = slices[0].shape
    check_size(rows * columns * len(slices), limit=MAX_VOXELS, path=slices[0].path)
    planes: dict[int, np.ndarray] = {}
    is_scaled = False
    for index, plane, slope, intercept in _planes(slices, is_enhanced=series.files[0].sop_class in ENHANCED):
        if plane.shape != (rows, columns):
            raise InputError(f"pixels of {show_path(slices[index].path)} must be {rows} x {columns}, got {plane.shape}")
        if (slope, intercept) != (1, 0):
            is_scaled, plane = True, (plane * np.float64(slope) + intercept).astype(np.float32)
        planes[index] = plane
    kind = np.float32 if is_scaled else np.result_type(*planes.values())
    voxels = np.empty((columns, rows, len(slices)), kind, order="F")
    for index in range(len(slices)):
        voxels[:, :, index] = planes.pop(index).T
    return voxels, affine


def _planes(slices: tuple[Slice, ...], *, is_enhanced: bool) -> Iterator[tuple[int, np.ndarray, float, float]]:
    """Index in the stack, pixels (rows, columns), slope and intercept of each slice; each file is opened once."""
    by_path: dict[Any, list[int]] = {}
    for index, each in enumerate(slices):
        by_path.setdefault(each.path, []).append(index)
    for path, indices in by_path.items():
        name = show_path(path)
        with reading_dicom(name) as pydicom:
            from pydicom.pixels import iter_pixels

            header = pydicom.dcmread(path, stop_before_pixels=True)
            frames = [slices[index].frame for index in indices]
            pixels = iter_pixels(path, indices=frames if is_enhanced else None, raw=True)
            for index, frame, plane in zip(indices, frames, pixels, strict=True):
                yield index, plane, *_rescaling(header, frame if is_enhanced else None, name)


def _rescaling(header: Any, frame: int | None, name: str) -> tuple[float, float]:
    """Slope and intercept of a frame; 1 and 0 where none are stated."""
    holders = [header]
    if frame is not None:
        groups = [header.PerFrameFunctionalGroupsSequence[frame], *(header.get("SharedFunctionalGroupsSequence") or [])]
        sequences = (group.get("PixelValueTransformationSequence") or [] for group in groups)
        holders = [item for sequence in sequences for item in sequence]
    for holder in holders:
        if holder.get("RescaleSlope") is not None:
            slope, intercept = float(holder.RescaleSlope), float(holder.get("RescaleIntercept") or 0)
            if not (np.isfinite(slope) and np.isfinite(intercept) and slope):
                raise InputError(f"rescale slope of {name} must be finite and not 0, got another; export it again")
            return slope, intercept
    return 1.0, 0.0
