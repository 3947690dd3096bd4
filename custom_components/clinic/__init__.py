"""What a clinician looks at."""

from custom_components.clinic.overlays import draw_overlay

__all__ = ["draw_overlay"]
