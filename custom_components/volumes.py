"""The one reader and the one writer of volumes: NIfTI in, a label map on the source grid out."""

from __future__ import annotations

import gzip
import logging
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
from nibabel.orientations import apply_orientation, io_orientation

from custom_components.errors import InputError
from custom_components.files import write_atomically
from custom_components.nifti import (
    MAX_HEADER_BYTES,
    check_name,
    find_affine,
    parse_header,
    read_bytes,
    read_voxels,
    spacing_of,
)

__all__ = [
    "Volume",
    "canonical_spacing_mm",
    "read_affine",
    "read_grid",
    "read_label",
    "read_volume",
    "to_canonical",
    "write_label_map",
]

_LOG = logging.getLogger(__name__)
_MAX_GRID_ERROR_MM = 1e-3  # between the corners of two grids


@dataclass(frozen=True)
class Volume:
    """A volume as its file stores it, in the file's own axis order.

    Args:
        array: voxels (X, Y, Z); float32 for an image, int32 for a label map.
        affine: voxel index -> RAS+ position in mm, (4, 4) float64.
        header: the file's NIfTI header, unchanged.
        path: the file.
    """

    array: np.ndarray
    affine: np.ndarray
    header: Any
    path: Path

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size along each array axis."""
        return spacing_of(self.affine)


def read_volume(path: str | Path, *, kind: Literal["image", "label"] = "image") -> Volume:
    """Read a NIfTI file, or say in one line why it cannot be trusted.

    NIfTI-1 and NIfTI-2 of any byte order; the intensity scaling of the header is applied; (X, Y, Z, 1) is read as
    (X, Y, Z). The sform gives the affine when its code is set, else the qform; with neither, the spacing alone is known
    and a warning is logged. Metres and microns become mm.

    Args:
        path: `.nii` or `.nii.gz`.
        kind: an "image" must not be constant; a "label" must hold whole numbers, and may be empty.

    Raises:
        InputError: anything is wrong with the file's container, header, geometry or values.
    """
    path = Path(path)
    raw = read_bytes(path)
    header = parse_header(raw, path)
    values = read_voxels(raw, header, path=path)
    affine = find_affine(header, path)
    if not (header["sform_code"] > 0 or header["qform_code"] > 0):
        _LOG.warning("%s states no orientation (sform and qform codes 0); only its voxel sizes are used", path)
    array = _to_integers(values, path) if kind == "label" else _to_floats(values, path)
    return Volume(array, affine, header, path)


def read_label(path: str | Path, *, like: Volume | None = None) -> Volume:
    """Read a label map; with `like`, also check that it lies on that image's grid.

    Raises:
        InputError: see `read_volume`; or a value is not a whole number; or shape or affine differ from the image's
            (more than 0.001 mm at a corner).
    """
    label = read_volume(path, kind="label")
    if like is not None:
        _check_grid(label, like)
    return label


def read_affine(path: str | Path) -> np.ndarray:
    """Affine of a NIfTI file in mm, as `read_volume` gives it, without reading the voxels."""
    return read_grid(path)[1]


def read_grid(path: str | Path) -> tuple[tuple[int, int, int], np.ndarray]:
    """Shape (X, Y, Z) and affine of a NIfTI file, without reading the voxels."""
    path = Path(path)
    header = parse_header(read_bytes(path, limit=MAX_HEADER_BYTES), path)
    x, y, z = (int(size) for size in header.get_data_shape()[:3])
    return (x, y, z), find_affine(header, path)


def write_label_map(path: str | Path, labels: np.ndarray, *, like: Volume) -> None:
    """Write label values as `uint8` NIfTI on the grid of `like`, whole or not at all.

    NIfTI version, sform, qform, their codes and the units are those of the source. Every other header field and every
    extension is left behind: they may hold patient data. The same labels give the same bytes.

    Args:
        path: `.nii` or `.nii.gz`; replaced if it exists.
        labels: whole numbers 0..255, shape of `like.array`.
        like: the volume that was segmented.

    Raises:
        InputError: wrong shape, type, value or file name.
        OSError: the file could not be written; nothing is left behind.
    """
    path = Path(path)
    check_name(path)
    labels = np.asarray(labels)
    if labels.shape != like.array.shape:
        raise InputError(
            f"label map {path} must have the shape of {like.path}, {like.array.shape}, got {labels.shape}; "
            "resample it to the source grid first"
        )
    if labels.dtype.kind not in "bui" or labels.min() < 0 or labels.max() > 255:
        raise InputError(
            f"label map {path} must hold whole numbers from 0 to 255, got {labels.dtype} "
            f"from {labels.min()} to {labels.max()}; decode classes to label values first"
        )
    labels = labels.astype(np.uint8)
    header = _label_header(labels.shape, like.header)
    raw = header.binaryblock + bytes(4) + labels.tobytes(order="F")
    written = parse_header(raw, path)
    same_grid = np.array_equal(find_affine(written, path), like.affine)
    if not same_grid or not np.array_equal(read_voxels(raw, written, path=path), labels):
        raise InputError(f"label map {path} must read back as it was given, got another grid; report the header")
    write_atomically(path, gzip.compress(raw, mtime=0) if path.name.lower().endswith(".gz") else raw)


def to_canonical(array: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Permute and flip a volume to the closest RAS+ axis order, without interpolation (a view).

    Example:
        >>> to_canonical(np.arange(2).reshape(2, 1, 1), np.diag([-1.0, 1.0, 1.0, 1.0])).ravel()
        array([1, 0])
    """
    return apply_orientation(array, io_orientation(affine))


def canonical_spacing_mm(affine: np.ndarray) -> tuple[float, float, float]:
    """Voxel size along the axes of `to_canonical`'s result."""
    spacing = spacing_of(affine)
    source = np.argsort(io_orientation(affine)[:, 0])
    return spacing[source[0]], spacing[source[1]], spacing[source[2]]


def _to_floats(values: np.ndarray, path: Path) -> np.ndarray:
    low, high = float(values.min()), float(values.max())
    if max(-low, high) > float(np.finfo(np.float32).max):
        raise InputError(f"image {path} must fit in 32-bit floats, got {low:g} to {high:g}; rescale the intensities")
    array = values.astype(np.float32)
    if array.min() == array.max():
        raise InputError(f"image {path} must not be constant, got {low:g} in every voxel; check the export")
    return array


def _to_integers(values: np.ndarray, path: Path) -> np.ndarray:
    whole = values if values.dtype.kind in "iu" else np.rint(values)
    off = values[np.abs(values - whole) > 1e-4]
    if off.size:
        raise InputError(
            f"label map {path} must hold whole numbers, got {off[0]:g} ({off.size} such voxels); "
            "resample labels with nearest neighbour"
        )
    if max(-int(whole.min()), int(whole.max())) > np.iinfo(np.int32).max:
        raise InputError(f"label map {path} must hold values below 2**31, got {whole.max():g}; renumber the labels")
    return whole.astype(np.int32)


def _check_grid(label: Volume, image: Volume) -> None:
    if label.array.shape != image.array.shape:
        raise InputError(
            f"label map {label.path} must have the shape of {image.path}, {image.array.shape}, "
            f"got {label.array.shape}; resample the labels with nearest neighbour"
        )
    corners = np.array([(*corner, 1) for corner in product(*((0, size - 1) for size in image.array.shape))])
    off = float(np.linalg.norm(corners @ (label.affine - image.affine).T, axis=1).max())
    if off > _MAX_GRID_ERROR_MM:
        raise InputError(
            f"label map {label.path} must have the affine of {image.path}, got corners up to {off:.4g} mm apart; "
            "resample the labels to the image or copy its header"
        )


def _label_header(shape: tuple[int, ...], source: Any) -> Any:
    header = type(source)(endianness="<")
    header.set_data_shape(shape)
    header.set_data_dtype(np.uint8)
    header["pixdim"][:4] = source["pixdim"][:4]
    for field in header:
        if field.startswith(("qform_", "sform_", "quatern_", "qoffset_", "srow_")) or field == "xyzt_units":
            header[field] = source[field]
    header["scl_slope"], header["scl_inter"] = 1, 0
    header["vox_offset"] = header.sizeof_hdr + 4
    header.set_intent("label")
    header["descrip"] = b"multijoint label map"
    return header
