from .overlays import LegendEntry, draw_overlay, read_legend

__all__ = ["LegendEntry", "draw_overlay", "read_legend"]
