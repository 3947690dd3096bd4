"""Surfaces as files: STL, PLY and GLB, in LPS millimetres, with the colour of the bone and its cut faces in grey."""

from __future__ import annotations

from typing import Any

import numpy as np

from multijoint.clinic.meshes.surfaces import BoneSurface

__all__ = ["CUT_COLOR", "FORMATS", "mesh_bytes"]

FORMATS = ("stl", "ply", "glb")

CUT_COLOR = "#505050"
"""Of faces where the field of view cut the bone."""

_SPACE = "SPACE=LPS"  # as 3D Slicer looks for it
_FRAME = "patient coordinates in mm, x to the left, y posterior, z superior"
_STL_HEADER, _STL_START = 80, 84
_STL_FACET = np.dtype([("geometry", "V48"), ("attribute", "<u2")])
# Vertices are LPS mm; glTF counts in metres, with y upwards and the front towards z.
_TO_GLTF = np.array([[1, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1000]]) / 1000.0


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
