"""NIfTI bytes, read with suspicion: container, header, geometry and voxels, or one line that says what is wrong."""

from __future__ import annotations

import gzip
import io
import math
import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError

from custom_components.errors import InputError

__all__ = ["MAX_HEADER_BYTES", "check_name", "find_affine", "parse_header", "read_bytes", "read_voxels", "spacing_of"]

MAX_HEADER_BYTES: int = nib.Nifti2Header.sizeof_hdr  # NIfTI-1 has the shorter one

_MM_OF_UNIT = {"unknown": 1.0, "mm": 1.0, "meter": 1e3, "micron": 1e-3}
_MAX_AFFINE = 1e9  # no scanner is that large; NaN and infinity fail the same test
_MAX_SHEAR = 0.01  # cosine between two voxel axes, 0.6 degrees
_MAX_SPACING_ERROR = 0.01  # relative, pixdim against sform


def check_name(path: Path) -> None:
    """Refuse a file name that does not end in `.nii` or `.nii.gz`, in any case."""
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        raise InputError(f"volume must be a .nii or .nii.gz file, got {path}; convert it to NIfTI")


def read_bytes(path: Path, *, limit: int = -1) -> bytes:
    """Decompressed content of a file; read to its end, the checksum of a `.nii.gz` is verified.

    Args:
        path: `.nii` or `.nii.gz`.
        limit: number of bytes that are enough; all of them if negative.

    Raises:
        InputError: no such file, not readable, or no intact gzip file.
    """
    check_name(path)
    if not path.is_file():
        found = "a folder" if path.is_dir() else "nothing there"
        raise InputError(f"volume {path} must be an existing file, got {found}; check the path")
    try:
        with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as stream:
            return stream.read(limit)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(
            f"volume {path} must be an intact gzip file, got: {error}; copy or download it again"
        ) from error
    except OSError as error:
        raise InputError(f"volume {path} must be readable, got: {error.strerror}; check its permissions") from error


@np.errstate(over="ignore", invalid="ignore")
def parse_header(raw: bytes, path: Path) -> Any:
    """Header of a single-file NIfTI-1 or NIfTI-2 volume of any byte order.

    Args:
        raw: the file's content, at least its header.
        path: the file, for the message.

    Returns:
        A `nibabel.Nifti1Header` or `Nifti2Header` whose scaling, qform, units and data offset can be had.

    Raises:
        InputError: not NIfTI, half of a pair, an invalid field, or a voxel size that is not positive.
    """
    if not raw:
        raise InputError(f"volume {path} must not be empty, got 0 bytes; copy or download it again")
    for header_class in (nib.Nifti1Header, nib.Nifti2Header):
        if header_class.may_contain_header(raw) and len(raw) >= header_class.sizeof_hdr:
            break
    else:
        raise InputError(f"volume {path} must start with a NIfTI header, got other bytes; convert it to NIfTI")
    block = raw[: header_class.sizeof_hdr]
    try:
        # nibabel's check turns a negative voxel size positive and a zero one into 1, so look before it
        pixdim = header_class(block, check=False)["pixdim"][1:4]
        header = header_class(block)
        header.get_slope_inter(), header.get_qform(), header.get_xyzt_units(), header.get_data_offset()
    except (HeaderDataError, KeyError, ValueError, OverflowError) as error:
        raise InputError(f"header of {path} must be valid NIfTI, got: {error}; convert the file again") from error
    if header["magic"].item() not in (b"n+1", b"n+2"):
        raise InputError(f"volume {path} must be a single NIfTI file, got half of a .hdr/.img pair; convert the pair")
    if not (np.isfinite(pixdim).all() and (pixdim > 0).all()):
        raise InputError(f"voxel sizes in {path} must be positive, got {pixdim.tolist()}; correct pixdim in the header")
    return header


def read_voxels(raw: bytes, header: Any, *, path: Path) -> np.ndarray:
    """Voxels of one volume, with the intensity scaling of the header applied.

    Args:
        raw: the file's whole content.
        header: the result of `parse_header`.
        path: the file, for the message.

    Shape:
        (X, Y, Z); stored axes of length 1 beyond the third are dropped.

    Raises:
        InputError: not one 3D volume of real, finite numbers, or fewer bytes than the header says.
    """
    shape, dtype = tuple(int(size) for size in header.get_data_shape()), header.get_data_dtype()
    if len(shape) < 3 or min(shape) < 1 or max(shape[3:], default=1) > 1:
        raise InputError(f"volume {path} must be one 3D volume, got shape {shape}; extract a single 3D volume")
    if dtype.kind not in "iuf":
        raise InputError(
            f"voxels of {path} must be real numbers, got {dtype} (complex or colour); convert to grey values"
        )
    missing = header.get_data_offset() + math.prod(shape) * dtype.itemsize - len(raw)
    if missing > 0:
        raise InputError(f"volume {path} must be as long as its header says, got {missing} bytes less; copy it again")
    values = np.asarray(header.data_from_fileobj(io.BytesIO(raw))).reshape(shape[:3])
    bad = values.size - int(np.isfinite(values).sum())
    if bad:
        raise InputError(f"voxels of {path} must be finite, got {bad} NaN or infinite; replace them")
    return values


@np.errstate(over="ignore", invalid="ignore")
def find_affine(header: Any, path: Path) -> np.ndarray:
    """Voxel index -> RAS+ position in mm: the sform if its code is set, else the qform, else the voxel sizes alone.

    Args:
        header: the result of `parse_header`.
        path: the file, for the message.

    Shape:
        (4, 4), float64.

    Raises:
        InputError: not finite, singular or sheared, or the forms of the header contradict each other.
    """
    affine, sform_code = np.array(header.get_best_affine(), dtype=np.float64), int(header["sform_code"])
    if not (np.abs(affine) < _MAX_AFFINE).all():
        raise InputError(f"affine of {path} must be finite, got {affine[:3].tolist()}; correct the header")
    spacing = np.array(spacing_of(affine))
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


def spacing_of(affine: np.ndarray) -> tuple[float, float, float]:
    """Voxel size along each array axis, in the unit of the affine.

    Example:
        >>> spacing_of(np.array([[0, -2, 0, 5], [0.5, 0, 0, 7], [0, 0, 3, 9], [0, 0, 0, 1]]))
        (0.5, 2.0, 3.0)
    """
    x, y, z = np.sqrt((affine[:3, :3] ** 2).sum(axis=0)).tolist()
    return x, y, z


def _check_forms(sform: np.ndarray, qform: np.ndarray, path: Path) -> None:
    """Refuse a qform that turns the volume another way; at 45 degrees rounding alone may change the letters."""
    if not (np.abs(qform) < _MAX_AFFINE).all():
        raise InputError(f"qform of {path} must be finite, got {qform[:3].tolist()}; correct the header")
    codes = ["".join(nib.aff2axcodes(form)) for form in (sform, qform)]
    same_way = (sform[:3, :3] / spacing_of(sform) * (qform[:3, :3] / spacing_of(qform))).sum(axis=0)
    if codes[0] != codes[1] and same_way.min() < 0.99:
        raise InputError(
            f"sform and qform of {path} must agree, got axes {codes[0]} and {codes[1]}; "
            "remove the wrong one from the header"
        )
