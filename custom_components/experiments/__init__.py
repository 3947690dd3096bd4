"""The paper's experiment: methods, jobs, saved rows, tables and figures."""

from custom_components.experiments.estimate import estimate_seconds
from custom_components.experiments.gathering import gather
from custom_components.experiments.plans import Plan, load_plan, make_plan, run_plan
from custom_components.experiments.quality_study import study_quality
from custom_components.experiments.rows import ALL_SUBJECTS
from custom_components.experiments.running import JobState, read_state

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
]
