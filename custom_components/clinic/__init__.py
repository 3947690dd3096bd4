"""What a clinician looks at."""

from custom_components.clinic.overlays import COLORS, draw_overlay

__all__ = ["COLORS", "draw_overlay"]
