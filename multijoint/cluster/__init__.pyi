from .forks import map_forked
from .processes import ProcessFailure, describe_exit, run_process, stop_processes
from .resources import Resources, room_here
from .tasks import ENGINES, run_tasks

__all__ = [
    "ENGINES",
    "ProcessFailure",
    "Resources",
    "describe_exit",
    "map_forked",
    "room_here",
    "run_process",
    "run_tasks",
    "stop_processes",
]
