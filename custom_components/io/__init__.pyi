from .formats import case_id
from .geometry import corners_apart
from .volumes import Volume, read_label, read_volume, write_label_map

__all__ = ["Volume", "case_id", "corners_apart", "read_label", "read_volume", "write_label_map"]
