from .comparisons import compare_exams, compare_slices
from .summaries import summarise_exams
from .tables import write_tables

__all__ = ["compare_exams", "compare_slices", "summarise_exams", "write_tables"]
