from .estimate import estimate_seconds
from .experiment import Experiment, Job, read_experiment
from .gathering import gather
from .methods import Method, known_methods, select_methods, title_of
from .plan import Plan, load_plan, make_plan, run_plan
from .run_job import JobState, read_state, run_job

__all__ = [
    "Experiment",
    "Job",
    "JobState",
    "Method",
    "Plan",
    "estimate_seconds",
    "gather",
    "known_methods",
    "load_plan",
    "make_plan",
    "read_experiment",
    "read_state",
    "run_job",
    "run_plan",
    "select_methods",
    "title_of",
]
