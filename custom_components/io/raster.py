"""The statement of a header about the voxels of a volume other than NIfTI, and rules that all such formats share."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NoReturn

import nibabel as nib
import numpy as np
from custom_components.errors import InputError, show_path
from custom_components.io.formats import Format
from custom_components.io.geometry import check_axes, spacing_of
from custom_components.io.nifti_files import MAX_BYTES, MAX_VOXELS, check_size

MAX_HEADER = 2**20
"""Bytes of a header that is text; a segmentation of 3D Slicer has up to some hundred for each segment."""

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_MAX_SIDE = 2**15 - 1  # of NIfTI-1
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?(nan|inf|infinity)", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True)
class Raster:
    """The voxels of a volume as its header states them.

    Args:
        path: file of the header.
        format: of the file.
        shape: (X, Y, Z).
        dtype: of a stored voxel, with its byte order.
        affine: voxel index -> RAS+ position in mm, (4, 4) float64; without an orientation, as NIfTI defines it then.
        is_oriented: whether the header says how the volume lies in the patient.
        layers: values of a voxel, stored together; more than one only in a segmentation.
        data: name of the file of the voxels in the same folder; "" if they are in the header's own.
        offset: bytes before the voxels in their file; -1 if they end with the file.
        packing: compression of what follows there.
        most_trailing: bytes that may follow the voxels without a warning; more than 512 others are refused.
        fields: further entries of the header by their names.
    """

    path: Path
    format: Format
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    affine: np.ndarray
    is_oriented: bool = True
    layers: int = 1
    data: str = ""
    offset: int = 0
    packing: Literal["", "gzip", "zlib"] = ""
    most_trailing: int = 0
    fields: Mapping[str, str] = field(default_factory=dict)

    @property
    def num_bytes(self) -> int:
        """Bytes of the voxels when unpacked."""
        return math.prod(self.shape) * self.layers * self.dtype.itemsize


def checked(raster: Raster) -> Raster:
    """The same, of a size within the limits and with axes at right angles.

    Raises:
        InputError: too many voxels or bytes, or an affine that is infinite, singular or sheared.
    """
    check_size(math.prod(raster.shape), limit=MAX_VOXELS, path=raster.path)
    check_size(max(raster.offset, 0) + raster.num_bytes, limit=MAX_BYTES, path=raster.path)
    check_axes(raster.affine, show_path(raster.path))
    return raster


def affine_without_orientation(shape: Sequence[int], spacing_mm: Sequence[float]) -> np.ndarray:
    """Affine (4, 4) of a volume whose voxel sizes alone are known, as NIfTI defines it: the centre is at 0.

    Example:
        >>> affine_without_orientation((3, 5, 1), (1, 2, 3))[:3].tolist()
        [[-1.0, 0.0, 0.0, 1.0], [0.0, 2.0, 0.0, -4.0], [0.0, 0.0, 3.0, 0.0]]
    """
    affine = np.diag([-spacing_mm[0], spacing_mm[1], spacing_mm[2], 1.0]).astype(np.float64)
    affine[:3, 3] = -np.diag(affine)[:3] * (np.array(shape) - 1) / 2
    return affine + 0.0  # no -0


def nifti_header(raster: Raster) -> Any:
    """Header of a NIfTI volume on the same grid; NIfTI-1 unless an axis is too long for it."""
    header = (nib.Nifti1Header if max(raster.shape) <= _MAX_SIDE else nib.Nifti2Header)()
    header.set_data_shape(raster.shape)
    header.set_xyzt_units("mm", "sec")
    header["pixdim"][1:4] = spacing_of(raster.affine)
    if raster.is_oriented:
        header.set_sform(raster.affine, 1)
        header.set_qform(raster.affine, 1, strip_shears=True)
    return header


def whole_numbers(text: str, key: str, path: Path) -> list[int]:
    """The whole numbers of an entry of a header that is text."""
    words = text.split()
    if not words or not all(re.fullmatch(r"[+-]?\d{1,19}", word, re.ASCII) for word in words):
        invalid(path, key, "whole numbers", text)
    return [int(word) for word in words]


def numbers(text: str, key: str, path: Path, *, size: int) -> np.ndarray:
    """The `size` numbers of an entry of a header that is text, which may be infinite or NaN."""
    words = text.split()
    if len(words) != size or not all(_NUMBER.fullmatch(word) for word in words):
        invalid(path, key, f"{size} numbers", text)
    return np.array([float(word) for word in words])


def volume_shape(sizes: Sequence[int], path: Path) -> tuple[int, int, int]:
    """Shape (X, Y, Z) of one volume, whose further axes have length 1."""
    name = show_path(path)
    if min(sizes) < 1:
        raise InputError(f"sizes of {name} must be positive, got {list(sizes)}; correct the header")
    if len(sizes) < 3 or max(sizes[3:], default=1) > 1:
        raise InputError(f"volume {name} must be one 3D volume, got shape {tuple(sizes)}; extract a single 3D volume")
    return sizes[0], sizes[1], sizes[2]


def check_spacing(spacing: np.ndarray, path: Path) -> None:
    """Refuse voxel sizes that are not positive numbers."""
    if not (np.isfinite(spacing).all() and (spacing > 0).all()):
        sizes = spacing.tolist()
        raise InputError(f"voxel sizes in {show_path(path)} must be positive, got {sizes}; correct the header")


def sibling(name: str, path: Path) -> str:
    """The name of a file in the folder of the header, which the header gives.

    Raises:
        InputError: it is none, leads elsewhere, or stands for several files.
    """
    if not name or name in (".", "..") or re.search(r"[/\\\0]", name):
        rule = f"data file of {show_path(path)} must be named without a folder, got {name[:80]!r}"
        raise InputError(f"{rule}; put it next to the header and name it there")
    if name.upper().startswith("LIST") or "%" in name:
        raise InputError(f"voxels of {show_path(path)} must be in one file, got {name[:80]!r}; join the slices")
    return name


def check_scaling(slope: float, intercept: float, path: Path) -> None:
    """Refuse a scaling of the intensities that the library would leave out."""
    if (slope, intercept) != (1, 0):
        found = f"slope {slope:g} and intercept {intercept:g}"
        raise InputError(f"intensities of {show_path(path)} must be stored unscaled, got {found}; apply the scaling")


def invalid(path: Path, key: str, rule: str, value: Any) -> NoReturn:
    """Raise that an entry of a header breaks a rule."""
    shown = str(value)[:80]
    raise InputError(
        f"header of {show_path(path)} must be valid: {key} must be {rule}, got {shown!r}; convert it again"
    )
