"""Size and shape of bones, and the table `bones.csv` that collects them case by case."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from custom_components.errors import InputError, show_path
from custom_components.io.geometry import voxel_volume_ml
from custom_components.system.files import restored, write_csv
from custom_components.system.folders import OutputFolder

from multijoint.clinic.meshes.bone_masks import BoneMask
from multijoint.clinic.meshes.intensities import INTENSITIES
from multijoint.clinic.meshes.surfaces import BoneSurface

BONES = "bones.csv"
_EXTENTS = tuple(f"extent{number}_mm" for number in (1, 2, 3))
_AXES = tuple(f"axis{number}_{letter}" for number in (1, 2, 3) for letter in "lps")
_CENTROID = tuple(f"centroid_{letter}_mm" for letter in "lps")
BONES_COLUMNS = (
    *("case", "label", "bone", "volume_ml", "surface_mm2", "status", "cut", "cut_sides", "cut_area_mm2"),
    *(*_EXTENTS, *_AXES, *_CENTROID, *INTENSITIES, "mesh", "label_map_sha256", "scan_sha256"),
)
"""Header of `bones.csv`; status is "found" or "missing", and a missing bone has no measurement at all, not even 0."""

_FLIP = np.array([-1.0, -1.0, 1.0])  # RAS to LPS


def measure_shape(bone: BoneMask, surface: BoneSurface) -> dict[str, str]:
    """Measure the part of a bone that is in the field of view by its voxels and by its surface.

    The axes are the principal ones of the voxels, the longest first, as unit vectors in LPS. The first two point to the
    side of the patient (left, posterior or superior) that they are closest to; the third completes a right-handed
    system. Of a bone as wide as it is thick, the axes across are arbitrary. Extents are the lengths of the surface
    along the axes; `surface_mm2` is without the faces where the field of view cut the bone.

    Returns:
        Columns of `bones.csv`.
    """
    to_mm = bone.affine[:3, :3] * _FLIP[:, None]
    voxels = np.argwhere(bone.voxels)
    centroid = to_mm @ voxels.mean(axis=0) + bone.affine[:3, 3] * _FLIP
    # A voxel is a box, not a point: 1/12 is the variance along its edge.
    spread = to_mm @ (np.cov(voxels.T, bias=True) + np.eye(3) / 12) @ to_mm.T
    axes = np.linalg.eigh(spread)[1].T[::-1]
    axes *= np.sign(np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1))
    axes[2] = np.cross(axes[0], axes[1])
    cut_area_mm2 = surface.cut_area_mm2
    numbers = {
        "volume_ml": len(voxels) * voxel_volume_ml(bone.affine),
        "surface_mm2": surface.area_mm2 - cut_area_mm2,
        "cut_area_mm2": cut_area_mm2,
        **dict(zip(_EXTENTS, np.ptp(surface.vertices_mm @ axes.T, axis=0), strict=True)),
        **dict(zip(_AXES, axes.reshape(-1), strict=True)),
        **dict(zip(_CENTROID, centroid, strict=True)),
    }
    cut = {"cut": "yes" if bone.cut_sides else "no", "cut_sides": ";".join(bone.cut_sides)}
    return {"status": "found"} | cut | {name: f"{number:.6g}" for name, number in numbers.items()}


def read_bones(folder: Path) -> list[dict[str, str]]:
    """Rows of the `bones.csv` in a folder; none if there is no such file.

    Raises:
        InputError: the file is not one of ours.
    """
    path = folder / BONES
    if not path.exists():
        return []
    try:
        with path.open(newline="") as file:
            table = csv.DictReader(file)
            rows, found = restored(table), tuple(table.fieldnames or ())
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"table {show_path(path)} must be readable, got {error}; move it away") from error
    if found != BONES_COLUMNS or any(None in row or None in row.values() for row in rows):
        raise InputError(f"table {show_path(path)} must have the columns of this version, got others; move it away")
    return rows


def merge_bones(folder: Path, case: str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Replace the rows of a case in `bones.csv`, whole or not at all."""
    with OutputFolder(folder).locked():
        others = [row for row in read_bones(folder) if row["case"] != case]
        merged = [*others, *({"case": case, **row} for row in rows)]
        write_csv(folder / BONES, BONES_COLUMNS, sorted(merged, key=lambda row: (row["case"], int(row["label"]))))
