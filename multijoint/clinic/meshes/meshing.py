"""Meshes and measurements of label maps: `meshes/<case>/<bone>.<format>` and rows of `bones.csv`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from custom_components.errors import InputError, show_path
from custom_components.io.nifti_files import case_id
from custom_components.io.records import case_of
from custom_components.io.volumes import read_label
from custom_components.system.files import write_atomically

from multijoint.clinic.meshes.bone_masks import bone_masks
from multijoint.clinic.meshes.files import FORMATS, mesh_bytes
from multijoint.clinic.meshes.shapes import measure_shape, merge_bones, read_bones
from multijoint.clinic.meshes.surfaces import bone_surface, check_trimesh
from multijoint.clinic.pictures.overlays import LegendEntry, read_legend

__all__ = ["MeshedCase", "check_meshing", "find_label_maps", "mesh_case"]

_FOLDER = "meshes"


class MeshedCase(NamedTuple):
    """A label map that has been meshed: the names of its bones."""

    case: str
    found: tuple[str, ...]
    cut: tuple[str, ...]
    missing: tuple[str, ...]


def check_meshing(output_dir: Path, *, format: str) -> None:
    """Find out before an hour of segmenting that no meshes could be made.

    Raises:
        InputError: unknown format, trimesh is not installed, or `bones.csv` is there and not ours.
    """
    if format not in FORMATS:
        raise InputError(f"format of meshes must be one of {', '.join(FORMATS)}, got {format!r}")
    check_trimesh()
    read_bones(output_dir)


def find_label_maps(paths: Sequence[Path]) -> dict[str, Path]:
    """Label maps by case: their file names without extension and without `_seg`.

    A folder stands for the `*_seg.nii.gz` directly in it, or if there are none, for all its NIfTI files.

    Raises:
        InputError: none in a folder, or two of one case.
    """
    found: list[Path] = []
    for path in paths:
        found += _in_folder(path) if path.is_dir() else [path]
    cases: dict[str, Path] = {}
    for path in dict.fromkeys(found):
        case = case_of(path)
        if case in cases:
            rule = f"label maps must be of different cases, got {case} twice"
            raise InputError(f"{rule}; mesh them into folders of their own")
        cases[case] = path
    return cases


def mesh_case(segmentation: Path, *, case: str, format: str, output_dir: Path) -> MeshedCase:
    """Write a mesh for each bone of a label map, and its rows of `bones.csv` in place of earlier ones.

    A bone that the record names and the label map lacks has a row that says so. Meshes of this case that were made
    from another label map are removed, so that all files of a case show the same segmentation. Names come from the
    `.json` next to the label map (values 0..255), if there is one.

    Raises:
        InputError: the label map or an existing `bones.csv` cannot be used.
        OSError: a file could not be written.
    """
    check_meshing(output_dir, format=format)
    volume = read_label(segmentation)
    bones = {bone.value: bone for bone in bone_masks(volume.array, volume.affine)}
    legend = read_legend(segmentation, bones)
    files = _file_names(legend)
    folder = _folder_of(output_dir, case)
    _remove_outdated(output_dir, case, volume.digest)
    rows = []
    for value, entry in sorted(legend.items()):
        row = {"label": str(value), "bone": entry.name, "label_map_sha256": volume.digest}
        if value in bones:
            surface = bone_surface(bones[value])
            path = folder / f"{files[value]}.{format}"
            write_atomically(path, mesh_bytes(surface, format=format, name=entry.name, color=entry.color))
            row |= measure_shape(bones[value], surface) | {"mesh": path.relative_to(output_dir).as_posix()}
        else:
            row["status"] = "missing"
        rows.append(row)
    merge_bones(output_dir, case, rows)
    return MeshedCase(
        case,
        found=tuple(row["bone"] for row in rows if row["status"] == "found"),
        cut=tuple(f"{row['bone']} ({row['cut_sides']})" for row in rows if row.get("cut") == "yes"),
        missing=tuple(row["bone"] for row in rows if row["status"] == "missing"),
    )


def _in_folder(folder: Path) -> list[Path]:
    files = sorted(path for path in folder.iterdir() if re.fullmatch(r"[^.].*\.nii(\.gz)?", path.name, re.IGNORECASE))
    found = [path for path in files if case_of(path) != case_id(path)] or files
    if not found:
        raise InputError(f"folder {show_path(folder)} must hold .nii or .nii.gz files, got none; give another folder")
    return found


def _remove_outdated(output_dir: Path, case: str, digest: str) -> None:
    """Remove the meshes and rows of a case that come from another label map."""
    rows = [row for row in read_bones(output_dir) if row["case"] == case]
    if not any(row["label_map_sha256"] != digest for row in rows):
        return
    folder = _folder_of(output_dir, case)
    merge_bones(output_dir, case, [])
    for name in {Path(row["mesh"]).stem for row in rows if row["mesh"]}:
        for format in FORMATS:
            (folder / f"{_safe(name)}.{format}").unlink(missing_ok=True)


def _folder_of(output_dir: Path, case: str) -> Path:
    """The case is the name of a file already, but might be called `..`."""
    return output_dir / _FOLDER / re.sub(r"^\.|[/\\]", "_", case)


def _file_names(legend: Mapping[int, LegendEntry]) -> dict[int, str]:
    """A file name for each bone, also where names differ only in what a file name cannot hold."""
    names = {value: _safe(entry.name) for value, entry in legend.items()}
    taken = [name.casefold() for name in names.values()]
    return {value: f"{name}_{value}" if taken.count(name.casefold()) > 1 else name for value, name in names.items()}


def _safe(name: str) -> str:
    """A name as the name of a file: without separators and leading dots, never empty."""
    return re.sub(r"[^\w.+-]+", "_", name).lstrip(".")[:100] or "_"
