"""Independent tasks, as many at once as there is room for: threads that wait for processes here, or Ray tasks there."""

from __future__ import annotations

import queue
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

from custom_components.errors import InputError

from multijoint.cluster.on_ray import run_on_ray
from multijoint.cluster.resources import Resources, Task, room_here, visible_gpus

__all__ = ["ENGINES", "run_tasks"]

ENGINES = ("local", "ray")


def run_tasks(
    task: Task, payloads: Sequence[Any], *, resources: Resources, engine: str = "local", address: str | None = None
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
        return run_on_ray(task, payloads, resources=resources, address=address)
    if address is not None:
        raise InputError(f"address needs the engine ray, got {address} with the engine local; add --engine ray")
    return _run_here(task, payloads, resources)


def _run_here(task: Task, payloads: Sequence[Any], resources: Resources) -> Iterator[tuple[int, Any]]:
    devices = visible_gpus() if resources.gpu else []
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
