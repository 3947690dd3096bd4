"""The paper's experiment: methods, jobs, saved rows, tables and figures."""

from multijoint.experiments.jobs.estimate import estimate_seconds
from multijoint.experiments.jobs.gathering import gather
from multijoint.experiments.jobs.plan import Plan, load_plan, make_plan, run_plan
from multijoint.experiments.jobs.run_job import JobState, read_state
from multijoint.experiments.quality_study.quality_study import study_quality
from multijoint.experiments.rows import ALL_SUBJECTS

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
