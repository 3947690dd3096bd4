"""What a clinician looks at."""

from custom_components.clinic.bone_shapes import BONES, BONES_COLUMNS
from custom_components.clinic.legend import COLORS, LegendEntry, read_legend
from custom_components.clinic.mesh_files import FORMATS
from custom_components.clinic.meshes import MeshedCase, check_meshing, find_label_maps, mesh_case
from custom_components.clinic.overlays import draw_overlay

__all__ = [
    "BONES",
    "BONES_COLUMNS",
    "COLORS",
    "FORMATS",
    "LegendEntry",
    "MeshedCase",
    "check_meshing",
    "draw_overlay",
    "find_label_maps",
    "mesh_case",
    "read_legend",
]
