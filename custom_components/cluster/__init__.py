"""Many processes at once: on this machine, or on a Ray cluster."""

from custom_components.cluster.processes import ProcessFailure, describe_exit, run_process, stop_processes
from custom_components.cluster.tasks import ENGINES, Resources, room_here, run_tasks

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
