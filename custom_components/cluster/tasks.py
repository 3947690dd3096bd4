"""Independent tasks, as many at once as there is room for: threads that wait for processes here, or Ray tasks there."""

from __future__ import annotations

import os
import queue
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any

from custom_components.errors import InputError

__all__ = ["ENGINES", "Resources", "num_processors", "room_here", "run_tasks"]

ENGINES = ("local", "ray")
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Resources:
    """What one task takes.

    Args:
        threads: processor threads; also the number its libraries may use.
        gpu: whether it takes a GPU, where there is one.
        at_once: most tasks at a time; `None` for as many as there is room for.

    Raises:
        InputError: numbers below 1.
    """

    threads: int = 1
    gpu: bool = True
    at_once: int | None = None

    def __post_init__(self) -> None:
        if self.threads < 1 or (self.at_once is not None and self.at_once < 1):
            raise InputError(f"threads and jobs at once must be 1 or more, got {self.threads} and {self.at_once}")

    def environment(self) -> dict[str, str]:
        """Variables that hold a process to its threads."""
        return dict.fromkeys(_THREAD_VARIABLES, str(self.threads))


Task = Callable[[Any, dict[str, str]], Any]
"""Called with a payload and the variables of its process environment; its result must be picklable for Ray."""


def run_tasks(
    task: Task,
    payloads: Sequence[Any],
    *,
    resources: Resources,
    engine: str = "local",
    address: str | None = None,
) -> Iterator[tuple[int, Any]]:
    """Run `task` on every payload and yield results as they come.

    The task should do its work in a process of its own (`run_process`).

    Args:
        task: function of a module, so that Ray can send it.
        payloads: one a task.
        resources: of each task. Here, tasks share the processors this process may use, or have a GPU each where there
            are GPUs; on Ray they are asked for, and Ray decides.
        engine: "local" or "ray".
        address: of a running Ray cluster, whose nodes see the same files; `None` starts Ray on this machine.

    Yields:
        Position of the payload, and what its task returned, or the exception that it raised.

    Raises:
        InputError: unknown engine, Ray not installed or not reachable, or more threads than there are.
    """
    if engine not in ENGINES:
        raise InputError(f"engine must be one of {', '.join(ENGINES)}, got {engine!r}")
    if engine == "ray":
        from custom_components.cluster.on_ray import run_on_ray

        return run_on_ray(task, payloads, resources=resources, address=address)
    if address is not None:
        raise InputError(f"address needs the engine ray, got {address} with the engine local; add --engine ray")
    return _run_here(task, payloads, resources)


def room_here(resources: Resources) -> int:
    """How many such tasks this machine runs at once.

    Raises:
        InputError: not one.
    """
    room = num_processors() // resources.threads
    if room < 1:
        raise InputError(f"threads must be at most the {num_processors()} processors here, got {resources.threads}")
    devices = _visible_gpus() if resources.gpu else []
    return min(room, len(devices) or room, resources.at_once or room)


def _run_here(task: Task, payloads: Sequence[Any], resources: Resources) -> Iterator[tuple[int, Any]]:
    devices = _visible_gpus() if resources.gpu else []
    free: queue.SimpleQueue[dict[str, str]] = queue.SimpleQueue()
    slots = room_here(resources)
    for slot in range(slots):
        free.put(resources.environment() | ({"CUDA_VISIBLE_DEVICES": devices[slot]} if devices else {}))

    def run(payload: Any) -> Any:
        environment = free.get()
        try:
            return task(payload, environment)
        finally:
            free.put(environment)

    with ThreadPoolExecutor(max_workers=slots) as pool:
        futures = {pool.submit(run, payload): index for index, payload in enumerate(payloads)}
        try:
            for future in as_completed(futures):
                yield futures[future], future.exception() or future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def num_processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _visible_gpus() -> list[str]:
    import torch

    count = torch.cuda.device_count()
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",")[:count] if named else [str(index) for index in range(count)]
