"""Processors and GPUs: those that a task needs, and those of this machine."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from custom_components.errors import InputError
from custom_components.system.waiting import ASLEEP, VARIABLE

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Resources:
    """Processors and GPU of one task.

    Args:
        threads: processor threads, also the limit for its numerical libraries.
        workers: further processes of the task, each of which keeps one processor busy.
        gpu: whether the task uses a GPU if there is one.
        at_once: most tasks at a time; `None` for as many as there is room for.

    Raises:
        InputError: `threads` or `at_once` is below 1.
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
        """Processors that the task keeps busy."""
        return self.threads + self.workers

    def environment(self) -> dict[str, str]:
        """Environment variables that limit a process to its threads, which sleep where they wait; see `waiting`."""
        waiting = {VARIABLE: os.environ.get(VARIABLE, ASLEEP)}
        return dict.fromkeys(_THREAD_VARIABLES, str(self.threads)) | waiting


Task = Callable[[Any, dict[str, str]], Any]
"""Called with a payload and the variables of its process environment; its result must be picklable for Ray."""


def room_here(resources: Resources) -> int:
    """Number of such tasks that this machine can run at a time.

    Raises:
        InputError: there is no room for one.
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
    """Number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, by their names in `CUDA_VISIBLE_DEVICES`."""
    import torch

    count = torch.cuda.device_count()
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",")[:count] if named else [str(index) for index in range(count)]
