"""What a clinician looks at."""

from custom_components.clinic.overlays import COLORS, draw_overlay
from custom_components.clinic.report import write_report

__all__ = ["COLORS", "draw_overlay", "write_report"]
