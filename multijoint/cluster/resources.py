"""What a task takes, and how much of it there is here."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from custom_components.errors import InputError

__all__ = ["Resources", "Task", "num_processors", "room_here", "visible_gpus"]

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Resources:
    """What one task takes.

    Args:
        threads: processor threads; also the number its libraries may use.
        workers: processes that it starts besides, each busy with one processor.
        gpu: whether it takes a GPU, where there is one.
        at_once: most tasks at a time; `None` for as many as there is room for.

    Raises:
        InputError: numbers below 1.
    """

    threads: int = 1
    workers: int = 0
    gpu: bool = True
    at_once: int | None = None

    def __post_init__(self) -> None:
        if self.threads < 1 or (self.at_once is not None and self.at_once < 1):
            raise InputError(f"threads and jobs at once must be 1 or more, got {self.threads} and {self.at_once}")

    @property
    def processors(self) -> int:
        """Processors that it keeps busy."""
        return self.threads + self.workers

    def environment(self) -> dict[str, str]:
        """Variables that hold a process to its threads."""
        return dict.fromkeys(_THREAD_VARIABLES, str(self.threads))


Task = Callable[[Any, dict[str, str]], Any]
"""Called with a payload and the variables of its process environment; its result must be picklable for Ray."""


def room_here(resources: Resources) -> int:
    """How many such tasks this machine runs at once.

    Raises:
        InputError: not one.
    """
    room = num_processors() // resources.processors
    if room < 1:
        raise InputError(
            f"threads and workers must be at most the {num_processors()} processors here, got {resources.processors}; "
            "lower them"
        )
    devices = visible_gpus() if resources.gpu else []
    return min(room, len(devices) or room, resources.at_once or room)


def num_processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def visible_gpus() -> list[str]:
    """Names by which `CUDA_VISIBLE_DEVICES` knows the GPUs that this process may use."""
    import torch

    count = torch.cuda.device_count()
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",")[:count] if named else [str(index) for index in range(count)]
