"""Independent tasks, as many at a time as there is room for, on this machine or on a Ray cluster."""

from __future__ import annotations

import queue
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

from custom_components.errors import InputError

from multijoint.cluster.on_ray import run_on_ray
from multijoint.cluster.resources import Resources, Task, room_here, visible_gpus

ENGINES = ("local", "ray")


def run_tasks(
    task: Task, payloads: Sequence[Any], *, resources: Resources, engine: str = "local", address: str | None = None
) -> Iterator[tuple[int, Any]]:
    """Run `task` on every payload and yield each result as soon as it is there.

    On this machine tasks run in threads, so that a task should do its work in a child process (`run_process`).

    Args:
        task: function of a module, so that Ray can pickle it.
        payloads: one a task.
        resources: of each task. On this machine, tasks share the processors or have a GPU each; Ray places tasks by
            the resources that they ask for.
        engine: "local" or "ray".
        address: of a running Ray cluster, whose nodes see the same files; `None` starts Ray on this machine.

    Yields:
        Position of the payload, and the result of its task or the exception that it raised.

    Raises:
        InputError: the engine is unknown, Ray is not installed or not reachable, or there are too few processors.
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
