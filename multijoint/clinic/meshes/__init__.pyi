from .meshing import FORMATS, MeshedCase, check_meshing, find_label_maps, mesh_case
from .shapes import BONES, BONES_COLUMNS

__all__ = ["BONES", "BONES_COLUMNS", "FORMATS", "MeshedCase", "check_meshing", "find_label_maps", "mesh_case"]
