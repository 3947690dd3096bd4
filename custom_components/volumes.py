"""The one reader and the one writer of volumes: NIfTI in, a label map on the source grid out."""

from __future__ import annotations

import gzip
import io
import logging
import zlib
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal

import nibabel as nib
import numpy as np
from nibabel.orientations import apply_orientation, io_orientation, ornt_transform
from nibabel.spatialimages import HeaderDataError

from custom_components.errors import InputError
from custom_components.files import write_atomically

__all__ = [
    "Volume",
    "canonical_spacing_mm",
    "from_canonical",
    "read_affine",
    "read_label",
    "read_volume",
    "to_canonical",
    "write_label_map",
]

_LOG = logging.getLogger(__name__)
_HEADERS = (nib.Nifti1Header, nib.Nifti2Header)
_MM_OF_UNIT = {"unknown": 1.0, "mm": 1.0, "meter": 1e3, "micron": 1e-3}
_MAX_AFFINE = 1e9  # no scanner is that large; NaN and infinity fail the same test
_MAX_SHEAR = 0.01  # cosine between two voxel axes, 0.6 degrees
_MAX_SPACING_ERROR = 0.01  # relative, pixdim against sform
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
        return _spacing(self.affine)


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
    raw = _read_bytes(path)
    header = _parse_header(raw, path)
    values = _read_voxels(raw, header, path)
    affine = _find_affine(header, path)
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
    path = Path(path)
    return _find_affine(_parse_header(_read_bytes(path, limit=540), path), path)


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
    _check_name(path)
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
    written = _parse_header(raw, path)
    same_grid = np.array_equal(_find_affine(written, path), like.affine)
    if not same_grid or not np.array_equal(_read_voxels(raw, written, path), labels):
        raise InputError(f"label map {path} must read back as it was given, got another grid; report the header")
    write_atomically(path, gzip.compress(raw, mtime=0) if path.name.lower().endswith(".gz") else raw)


def to_canonical(array: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Permute and flip a volume to the closest RAS+ axis order, without interpolation (a view).

    Example:
        >>> to_canonical(np.arange(2).reshape(2, 1, 1), np.diag([-1.0, 1.0, 1.0, 1.0])).ravel()
        array([1, 0])
    """
    return apply_orientation(array, io_orientation(affine))


def from_canonical(array: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Undo `to_canonical` exactly; `affine` is again that of the source."""
    identity = np.array([[0, 1], [1, 1], [2, 1]])
    return apply_orientation(array, ornt_transform(identity, io_orientation(affine)))


def canonical_spacing_mm(affine: np.ndarray) -> tuple[float, float, float]:
    """Voxel size along the axes of `to_canonical`'s result."""
    spacing = _spacing(affine)
    source = np.argsort(io_orientation(affine)[:, 0])
    return spacing[source[0]], spacing[source[1]], spacing[source[2]]


def _spacing(affine: np.ndarray) -> tuple[float, float, float]:
    x, y, z = np.sqrt((affine[:3, :3] ** 2).sum(axis=0)).tolist()
    return x, y, z


def _check_name(path: Path) -> None:
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        raise InputError(f"volume must be a .nii or .nii.gz file, got {path}; convert it to NIfTI")


def _read_bytes(path: Path, limit: int | None = None) -> bytes:
    """The file's content, decompressed to its end (or the first `limit` bytes), so that the checksum is verified."""
    _check_name(path)
    if not path.is_file():
        found = "a folder" if path.is_dir() else "nothing there"
        raise InputError(f"volume {path} must be an existing file, got {found}; check the path")
    try:
        if not path.name.lower().endswith(".gz"):
            with path.open("rb") as file:
                return file.read() if limit is None else file.read(limit)
        if limit is None:
            data = path.read_bytes()
            return gzip.decompress(data) if data else data
        with gzip.open(path) as stream:
            return stream.read(limit)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(
            f"volume {path} must be an intact gzip file, got: {error}; copy or download it again"
        ) from error
    except OSError as error:
        raise InputError(f"volume {path} must be readable, got: {error.strerror}; check its permissions") from error


@np.errstate(over="ignore", invalid="ignore")
def _parse_header(raw: bytes, path: Path) -> Any:
    if not raw:
        raise InputError(f"volume {path} must not be empty, got 0 bytes; copy or download it again")
    for header_class in _HEADERS:
        if header_class.may_contain_header(raw) and len(raw) >= header_class.sizeof_hdr:
            break
    else:
        raise InputError(f"volume {path} must start with a NIfTI header, got other bytes; convert it to NIfTI")
    block = raw[: header_class.sizeof_hdr]
    try:
        unfixed = header_class(block, check=False)
        pixdim = unfixed["pixdim"][1:4]
        header = header_class(block)
        header.get_slope_inter(), header.get_qform(), header.get_xyzt_units(), header.get_data_offset()
    except (HeaderDataError, KeyError, ValueError, OverflowError) as error:
        raise InputError(f"header of {path} must be valid NIfTI, got: {error}; convert the file again") from error
    if header["magic"].item() not in (b"n+1", b"n+2"):
        raise InputError(f"volume {path} must be a single NIfTI file, got half of a .hdr/.img pair; convert the pair")
    if not (np.isfinite(pixdim).all() and (pixdim > 0).all()):
        raise InputError(f"voxel sizes in {path} must be positive, got {pixdim.tolist()}; correct pixdim in the header")
    return header


def _read_voxels(raw: bytes, header: Any, path: Path) -> np.ndarray:
    shape, dtype = tuple(int(size) for size in header.get_data_shape()), header.get_data_dtype()
    if len(shape) < 3 or min(shape) < 1 or max(shape[3:], default=1) > 1:
        raise InputError(f"volume {path} must be one 3D volume, got shape {shape}; extract a single 3D volume")
    if dtype.kind not in "iuf":
        raise InputError(
            f"voxels of {path} must be real numbers, got {dtype} (complex or colour); convert to grey values"
        )
    missing = header.get_data_offset() + int(np.prod(shape, dtype=object)) * dtype.itemsize - len(raw)
    if missing > 0:
        raise InputError(f"volume {path} must be as long as its header says, got {missing} bytes less; copy it again")
    values = np.asarray(header.data_from_fileobj(io.BytesIO(raw))).reshape(shape[:3])
    bad = values.size - int(np.isfinite(values).sum())
    if bad:
        raise InputError(f"voxels of {path} must be finite, got {bad} NaN or infinite; replace them")
    return values


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


@np.errstate(over="ignore", invalid="ignore")
def _find_affine(header: Any, path: Path) -> np.ndarray:
    affine, sform_code = np.array(header.get_best_affine(), dtype=np.float64), int(header["sform_code"])
    if not (np.abs(affine) < _MAX_AFFINE).all():
        raise InputError(f"affine of {path} must be finite, got {affine[:3].tolist()}; correct the header")
    spacing = np.array(_spacing(affine))
    if not (spacing > 0).all():
        raise InputError(f"affine of {path} must give positive voxel sizes, got {spacing.tolist()}; correct the header")
    axes = affine[:3, :3] / spacing
    shear = float(np.abs(axes.T @ axes - np.eye(3)).max())
    if shear > _MAX_SHEAR:
        raise InputError(
            f"voxel axes of {path} must be at right angles, got a cosine of {shear:.3f} (singular or sheared affine); "
            "resample it to an orthogonal grid"
        )
    if sform_code > 0:
        pixdim = header["pixdim"][1:4].astype(np.float64)
        if (np.abs(pixdim / spacing - 1) > _MAX_SPACING_ERROR).any():
            raise InputError(
                f"voxel sizes of {path} must agree, got pixdim {pixdim.tolist()} and sform "
                f"{spacing.round(5).tolist()}; correct the header"
            )
    if sform_code > 0 and header["qform_code"] > 0:
        _check_forms(affine, header.get_qform(), path)
    affine[:3] *= _MM_OF_UNIT[header.get_xyzt_units()[0]]
    return affine


def _check_forms(sform: np.ndarray, qform: np.ndarray, path: Path) -> None:
    """Refuse a qform that turns the volume another way; at 45 degrees rounding alone may change the letters."""
    if not (np.abs(qform) < _MAX_AFFINE).all():
        raise InputError(f"qform of {path} must be finite, got {qform[:3].tolist()}; correct the header")
    codes = ["".join(nib.aff2axcodes(form)) for form in (sform, qform)]
    same_way = (sform[:3, :3] / _spacing(sform) * (qform[:3, :3] / _spacing(qform))).sum(axis=0)
    if codes[0] != codes[1] and same_way.min() < 0.99:
        raise InputError(
            f"sform and qform of {path} must agree, got axes {codes[0]} and {codes[1]}; "
            "remove the wrong one from the header"
        )


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
