"""Meshes and measurements of label maps: `meshes/<case>/<bone>.<format>` and rows of `bones.csv`.

Meshes are STL, PLY and GLB in LPS millimetres, with the colour of the bone and its cut faces in grey.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from custom_components.errors import InputError, show_path
from custom_components.io.formats import KINDS, case_id, is_volume
from custom_components.io.records import bone_file_names, case_of, file_name_of
from custom_components.io.volumes import read_label, read_volume
from custom_components.system.files import write_atomically
from custom_components.system.folders import OutputFolder

from multijoint.clinic.meshes.bone_masks import bone_masks
from multijoint.clinic.meshes.intensities import measure_intensities
from multijoint.clinic.meshes.shapes import measure_shape, merge_bones, read_bones
from multijoint.clinic.meshes.surfaces import BoneSurface, bone_surface, check_trimesh
from multijoint.clinic.pictures.overlays import read_legend

_FOLDER = "meshes"

FORMATS = ("stl", "ply", "glb")

CUT_COLOR = "#505050"
"""Of faces where the field of view cut the bone."""

_SPACE = "SPACE=LPS"  # as 3D Slicer looks for it
_FRAME = "patient coordinates in mm, x to the left, y posterior, z superior"
_STL_HEADER, _STL_START = 80, 84
_STL_FACET = np.dtype([("geometry", "V48"), ("attribute", "<u2")])
# Vertices are LPS mm; glTF counts in metres, with y upwards and the front towards z.
_TO_GLTF = np.array([[1, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1000]]) / 1000.0


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
            raise InputError(f"{rule}; mesh them into separate folders")
        cases[case] = path
    return cases


def mesh_case(segmentation: Path, *, case: str, format: str, output_dir: Path, scan: Path | None = None) -> MeshedCase:
    """Write a mesh for each bone of a label map, and its rows of `bones.csv` in place of earlier ones.

    A bone that the record names and the label map lacks has a row that says so. Meshes of this case that were made
    from another label map are removed, so that all files of a case show the same segmentation. Names come from the
    `.json` next to the label map (values 0..255), if there is one. Without a scan, intensities stay empty.

    Raises:
        InputError: the label map, the scan on its grid or an existing `bones.csv` cannot be used.
        OSError: a file could not be written.
    """
    check_meshing(output_dir, format=format)
    volume = read_label(segmentation)
    image = None if scan is None else read_volume(scan)
    bones = {bone.value: bone for bone in bone_masks(volume.array, volume.affine)}
    intensities = {} if image is None else measure_intensities(image, volume)
    legend = read_legend(segmentation, bones)
    files = bone_file_names({value: entry.name for value, entry in legend.items()})
    folder = _folder_of(output_dir, case)
    surfaces = {value: bone_surface(bones[value]) for value in legend if value in bones}
    rows = []
    with OutputFolder(output_dir).locked():  # two runs may mesh one case
        _remove_outdated(output_dir, case, volume.digest)
        for value, entry in sorted(legend.items()):
            row = {"label": str(value), "bone": entry.name, "label_map_sha256": volume.digest}
            row |= {} if image is None else {"scan_sha256": image.digest}
            if value in bones:
                path = folder / f"{files[value]}.{format}"
                write_atomically(path, mesh_bytes(surfaces[value], format=format, name=entry.name, color=entry.color))
                row |= measure_shape(bones[value], surfaces[value]) | intensities.get(value, {})
                row |= {"mesh": path.relative_to(output_dir).as_posix()}
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
    files = sorted(filter(is_volume, folder.iterdir()))
    found = [path for path in files if case_of(path) != case_id(path)] or files
    if not found:
        raise InputError(f"folder {show_path(folder)} must hold label maps ({KINDS}), got none; give another folder")
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
            (folder / f"{file_name_of(name)}.{format}").unlink(missing_ok=True)


def _folder_of(output_dir: Path, case: str) -> Path:
    """The case is the name of a file already, but might be called `..`."""
    return output_dir / _FOLDER / re.sub(r"^\.|[/\\]", "_", case)


def mesh_bytes(surface: BoneSurface, *, format: str, name: str, color: str) -> bytes:
    """The content of a mesh file; the same surface gives the same bytes.

    Args:
        surface: the bone.
        format: one of `FORMATS`. In STL, the two spare bytes of a facet hold its colour, 5 bits a channel. In PLY,
            vertices have colours and normals, faces the property `cut`. In GLB, vertices have colours and normals and
            are in LPS mm as elsewhere; the matrix of the node, called like the bone, makes metres with y upwards.
        name: of the bone.
        color: of the bone, "#rrggbb".
    """
    return {"stl": _stl, "ply": _ply, "glb": _glb}[format](surface, name, color)


def _stl(surface: BoneSurface, name: str, color: str) -> bytes:
    from trimesh.exchange.stl import export_stl

    data = bytearray(export_stl(_mesh(surface)))
    header = f"{_SPACE} millimetres, {name}".encode("ascii", "replace")[:_STL_HEADER]
    data[:_STL_HEADER] = header.ljust(_STL_HEADER)
    facets = np.frombuffer(data, _STL_FACET, offset=_STL_START)
    # 5 bits a channel, and the highest bit says that there is a colour
    cut, own = (
        1 << 15 | red >> 3 << 10 | green >> 3 << 5 | blue >> 3
        for red, green, blue in map(bytes.fromhex, (CUT_COLOR[1:], color[1:]))
    )
    facets["attribute"] = np.where(surface.cut, cut, own)
    return bytes(data)


def _ply(surface: BoneSurface, name: str, color: str) -> bytes:
    from trimesh.exchange.ply import export_ply

    mesh = _mesh(surface, vertex_colors=_vertex_colors(surface, color))
    mesh.face_attributes["cut"] = surface.cut.astype(np.uint8)
    start, end, rest = export_ply(mesh, vertex_normal=True).partition(b" 1.0\n")
    comments = (_SPACE, _FRAME, f"bone {' '.join(name.split())}", "cut 1 where the field of view cut the bone")
    lines = "".join(f"comment {comment}\n" for comment in comments)
    return start + end + lines.encode("ascii", "replace") + rest


def _glb(surface: BoneSurface, name: str, color: str) -> bytes:
    from trimesh import Scene
    from trimesh.exchange.gltf import export_glb

    colors = _vertex_colors(surface, color)
    values = colors[:, :3] / 255  # sRGB, which glTF wants linear
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    colors[:, :3] = np.rint(linear * 255)
    scene = Scene(base_frame="patient")
    scene.add_geometry(_mesh(surface, vertex_colors=colors), node_name=name, geom_name=name, transform=_TO_GLTF)

    def describe(tree: dict[str, Any]) -> None:
        tree["asset"]["extras"] = {"vertices": f"{_SPACE}, {_FRAME}", "node": "metres, y up, front of the patient to z"}
        tree["materials"] = [{"name": "bone", "pbrMetallicRoughness": {"metallicFactor": 0, "roughnessFactor": 0.7}}]
        tree["meshes"][0]["primitives"][0]["material"] = 0

    return export_glb(scene, include_normals=True, tree_postprocessor=describe)


def _mesh(surface: BoneSurface, **visual: Any) -> Any:
    from trimesh import Trimesh

    return Trimesh(surface.vertices_mm, surface.faces, process=False, **visual)


def _vertex_colors(surface: BoneSurface, color: str) -> np.ndarray:
    """(N, 4), red, green, blue and opacity."""
    choice = np.array([[*bytes.fromhex(each[1:]), 255] for each in (color, CUT_COLOR)], np.uint8)
    return choice[surface.cut_vertices.astype(int)]
