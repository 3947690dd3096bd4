"""Where the voxels of a NIfTI volume lie: its affine, checked, and the axis order closest to the patient's axes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from custom_components.errors import InputError, show_path
from nibabel.orientations import apply_orientation
from nibabel.quaternions import quat2mat

MM_OF_UNIT = {0: 1.0, 1: 1e3, 2: 1.0, 3: 1e-3}
"""By NIfTI code: unknown (taken as mm), metre, mm, micron."""

MAX_GRID_ERROR = 0.05
"""How far two headers of one grid may put its farthest corner apart, in voxels.

Rounding alone does so: directions of 4 to 6 decimals, which ITK makes square when it reads a scan (up to 0.02 voxels of
512), and the 32 bits of a quaternion.
"""

_MAX_AFFINE = 1e9  # no scanner is that large; NaN and infinity fail the same test
_MAX_SHEAR = 0.01  # cosine between two voxel axes, 0.6 degrees
_MAX_SPACING_ERROR = 0.01  # relative, pixdim against sform
_MIN_COSINE = 0.99  # between an axis of the sform and of the qform, where their letters differ
_MAX_QUATERNION = 1e-4  # how much the squares may exceed 1 by rounding
_MIN_QUATERNION = 1e-7  # of the square of its real part; less is rounding of a half turn, also for NIfTI's own library
_TIE_DECIMALS = 5  # direction cosines this close are equal: float32 headers and SVDs are not exact


@np.errstate(all="ignore")
def find_affine(header: Any, path: Path) -> np.ndarray:
    """Voxel index -> RAS+ position in mm: the sform if its code is set, else the qform, else the voxel sizes alone.

    Shape:
        (4, 4), float64.

    Raises:
        InputError: not finite, singular or sheared, or the forms of the header contradict each other.
    """
    name, sform_code, qform_code = show_path(path), int(header["sform_code"]), int(header["qform_code"])
    qform = _qform(header, name) if qform_code > 0 else None
    if sform_code > 0:
        affine = np.array(header.get_sform(), dtype=np.float64)
    else:
        affine = np.array(header.get_base_affine() if qform is None else qform, dtype=np.float64)
    spacing = check_axes(affine, name)
    if sform_code > 0:
        pixdim = header["pixdim"][1:4].astype(np.float64)
        if not (np.abs(pixdim / spacing - 1) <= _MAX_SPACING_ERROR).all():
            raise InputError(
                f"voxel sizes of {name} must agree, got pixdim {pixdim.tolist()} and sform "
                f"{spacing.round(5).tolist()}; correct the header"
            )
        if qform is not None:
            _check_forms(affine, qform, name)
    affine[:3] *= MM_OF_UNIT[int(header["xyzt_units"]) % 8]
    return affine


@np.errstate(all="ignore")
def check_axes(affine: np.ndarray, name: str) -> np.ndarray:
    """Check that an affine (4, 4) is finite and has axes at right angles; `name` is that of the file.

    Returns:
        Voxel size along each array axis, (3,), in the unit of the affine.

    Raises:
        InputError: not finite, singular or sheared.
    """
    if not (np.abs(affine) < _MAX_AFFINE).all():
        raise InputError(f"affine of {name} must be finite, got {affine[:3].tolist()}; correct the header")
    spacing = np.array(spacing_of(affine))
    if not (spacing > 0).all():
        raise InputError(f"affine of {name} must give positive voxel sizes, got {spacing.tolist()}; correct the header")
    axes = affine[:3, :3] / spacing
    shear = float(np.abs(axes.T @ axes - np.eye(3)).max())
    if not shear <= _MAX_SHEAR:
        raise InputError(
            f"voxel axes of {name} must be at right angles, got a cosine of {shear:.3f} (singular or sheared affine); "
            "resample it to an orthogonal grid"
        )
    return spacing


def forms_apart_mm(header: Any) -> float:
    """How far apart sform and qform put a corner of the volume, if their codes say that they mean the same; else 0."""
    if not header["sform_code"] == header["qform_code"] > 0:
        return 0.0
    shape, sform = header["dim"][1:4].tolist(), np.array(header.get_sform(), dtype=np.float64)
    return corners_apart(shape, sform, _qform(header, "volume")) * MM_OF_UNIT[int(header["xyzt_units"]) % 8]


def qform_beside(header: Any, shape: Sequence[int]) -> np.ndarray | None:
    """The qform of a volume (X, Y, Z) in mm, unless it has none or one more than a voxel from its sform.

    Near a half turn, which is how most scanners lie, the 32 bits of a quaternion turn a grid by up to 0.04 degrees.
    Two qforms of it still agree, where an sform and a qform do not.
    """
    if not header["qform_code"] > 0:
        return None
    qform = _qform(header, "volume")
    if header["sform_code"] > 0 and voxels_apart(shape, np.array(header.get_sform(), np.float64), qform) > 1:
        return None
    qform[:3] *= MM_OF_UNIT[int(header["xyzt_units"]) % 8]
    return qform


def corners_apart(shape: Sequence[int], first: np.ndarray, second: np.ndarray) -> float:
    """How far apart two affines put a corner of a volume (X, Y, Z), at most; in their unit.

    Example:
        >>> corners_apart((11, 1, 1), np.eye(4), np.diag([1.5, 1, 1, 1]))
        5.0
    """
    corners = np.array([(*corner, 1) for corner in product(*((0, size - 1) for size in shape))])
    return float(np.linalg.norm(corners @ (first - second)[:3].T, axis=1).max())


def voxels_apart(shape: Sequence[int], grid: np.ndarray, other: np.ndarray) -> float:
    """How far apart two affines put a corner of a volume (X, Y, Z), at most; in voxels of the first.

    Example:
        >>> voxels_apart((11, 1, 1), np.diag([2, 2, 2, 1]), np.diag([2.5, 2, 2, 1]))
        2.5
    """
    to_index = np.eye(4)
    to_index[:3, :3] = np.linalg.inv(grid[:3, :3])
    return corners_apart(shape, to_index @ grid, to_index @ other)


def spacing_of(affine: np.ndarray) -> tuple[float, float, float]:
    """Voxel size along each array axis, in the unit of the affine.

    Example:
        >>> spacing_of(np.array([[0, -2, 0, 5], [0.5, 0, 0, 7], [0, 0, 3, 9], [0, 0, 0, 1]]))
        (0.5, 2.0, 3.0)
    """
    x, y, z = np.sqrt((affine[:3, :3] ** 2).sum(axis=0)).tolist()
    return x, y, z


def voxel_volume_ml(affine: np.ndarray) -> float:
    """Volume of a voxel in ml, of an affine in mm.

    Example:
        >>> voxel_volume_ml(np.diag([-0.5, 1.0, 4.0, 1.0]))
        0.002
    """
    return abs(float(np.linalg.det(affine[:3, :3]))) / 1e3


def orientation_of(affine: np.ndarray) -> np.ndarray:
    """For each array axis, the patient axis (0, 1, 2: R, A, S) closest to it, and 1 or -1 for its direction.

    As `nibabel.orientations.io_orientation`, but for ties: an axis halfway between two patient axes, as in a scan
    turned by 45 degrees, is told by where it points and not by where it is stored, so that every axis order of the same
    volume has the same canonical one.

    Shape:
        (3, 2), float64.

    Example:
        >>> orientation_of(np.array([[0, -2, 0, 5], [0.5, 0, 0, 7], [0, 0, 3, 9], [0, 0, 0, 1]])).tolist()
        [[1.0, 1.0], [0.0, -1.0], [2.0, 1.0]]
    """
    left, _, right = np.linalg.svd(affine[:3, :3] / spacing_of(affine))
    columns = [column.tolist() for column in (left @ right).T.round(_TIE_DECIMALS)]

    def rank(axis: int) -> tuple[float, list[float]]:  # closest to a patient axis first; then by their lines in space
        column = columns[axis]
        direction = 1 if next((value for value in column if value), 1) > 0 else -1
        return -max(map(abs, column)), [value * direction for value in column]

    result, free = np.empty((3, 2)), [0, 1, 2]
    for axis in sorted(range(3), key=rank):
        column = columns[axis]
        nearest = max(free, key=lambda target: (abs(column[target]), -target))
        result[axis] = nearest, 1 if column[nearest] >= 0 else -1
        free.remove(nearest)
    return result


def to_canonical(array: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Permute and flip a volume to the closest RAS+ axis order, without interpolation (a view).

    Example:
        >>> to_canonical(np.arange(2).reshape(2, 1, 1), np.diag([-1.0, 1.0, 1.0, 1.0])).ravel()
        array([1, 0])
    """
    return apply_orientation(array, orientation_of(affine))


def canonical_spacing_mm(affine: np.ndarray) -> tuple[float, float, float]:
    """Voxel size along the axes of `to_canonical`'s result."""
    spacing = spacing_of(affine)
    source = np.argsort(orientation_of(affine)[:, 0])
    return spacing[source[0]], spacing[source[1]], spacing[source[2]]


def _qform(header: Any, name: str) -> np.ndarray:
    b, c, d = (float(header[f"quatern_{axis}"]) for axis in "bcd")
    rest = 1 - (b * b + c * c + d * d)
    if not rest >= -_MAX_QUATERNION:  # NaN fails, too
        raise InputError(f"qform of {name} must be a rotation, got quaternion {[b, c, d]}; correct the header")
    a = float(np.sqrt(rest)) if rest > _MIN_QUATERNION else 0.0
    qform = np.eye(4)
    sizes = header["pixdim"][1:4].astype(np.float64)
    sizes[2] *= float(header["pixdim"][0])
    qform[:3, :3] = quat2mat((a, b, c, d)) * sizes
    qform[:3, 3] = [float(header[f"qoffset_{axis}"]) for axis in "xyz"]
    if not (np.abs(qform) < _MAX_AFFINE).all():
        raise InputError(f"qform of {name} must be finite, got {qform[:3].tolist()}; correct the header")
    return qform


def _check_forms(sform: np.ndarray, qform: np.ndarray, name: str) -> None:
    """Refuse a qform that turns the volume another way; at 45 degrees rounding alone may change the letters."""
    codes = ["".join(nib.aff2axcodes(form)) for form in (sform, qform)]
    same_way = (sform[:3, :3] / spacing_of(sform) * (qform[:3, :3] / spacing_of(qform))).sum(axis=0)
    if codes[0] != codes[1] and same_way.min() < _MIN_COSINE:
        raise InputError(
            f"sform and qform of {name} must agree, got axes {codes[0]} and {codes[1]}; "
            "remove the wrong one from the header"
        )
