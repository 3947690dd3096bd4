from .figures import write_figures
from .jobs import JobState, Plan, estimate_seconds, gather, load_plan, make_plan, read_state, run_plan
from .quality_study import study_quality
from .rows import ALL_SUBJECTS
from .tables import write_tables

__all__ = [
    "ALL_SUBJECTS",
    "JobState",
    "Plan",
    "estimate_seconds",
    "gather",
    "load_plan",
    "make_plan",
    "read_state",
    "run_plan",
    "study_quality",
    "write_figures",
    "write_tables",
]
