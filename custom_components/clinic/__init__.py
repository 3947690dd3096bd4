"""What a clinician looks at."""

from custom_components.clinic.overlays import COLORS, draw_overlay
from custom_components.clinic.review_marks import ReviewMarks
from custom_components.clinic.viewed_cases import ViewedCase, find_cases, pair_case
from custom_components.clinic.viewer import Viewer

__all__ = ["COLORS", "ReviewMarks", "ViewedCase", "Viewer", "draw_overlay", "find_cases", "pair_case"]
