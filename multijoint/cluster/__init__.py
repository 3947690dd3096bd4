"""Many processes at once: on this machine, or on a Ray cluster."""

from multijoint.cluster.processes import ProcessFailure, describe_exit, run_process, stop_processes
from multijoint.cluster.resources import Resources, room_here
from multijoint.cluster.tasks import ENGINES, run_tasks

__all__ = [
    "ENGINES",
    "ProcessFailure",
    "Resources",
    "describe_exit",
    "room_here",
    "run_process",
    "run_tasks",
    "stop_processes",
]
