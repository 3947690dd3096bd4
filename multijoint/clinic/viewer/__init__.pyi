from .cases import ViewedCase, find_cases, pair_case
from .review_marks import ReviewMarks
from .viewer import Viewer

__all__ = ["ReviewMarks", "ViewedCase", "Viewer", "find_cases", "pair_case"]
