from .legend import LegendEntry, read_legend
from .overlays import draw_overlay

__all__ = ["LegendEntry", "draw_overlay", "read_legend"]
