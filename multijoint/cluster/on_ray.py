"""Tasks of `run_tasks` on a Ray cluster."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from typing import Any

from custom_components.errors import InputError, needs_extra

from multijoint.cluster.resources import Resources, Task, num_processors

_RETRIES = 3  # after the loss of a machine; a task that raised an exception is not repeated
_AHEAD = 1024  # tasks that Ray has at least, to fill machines that join; waiting for one of many takes long


def run_on_ray(
    task: Task, payloads: Sequence[Any], *, resources: Resources, address: str | None
) -> Iterator[tuple[int, Any]]:
    """Run tasks on Ray, which places them, assigns GPUs and repeats the tasks of a lost machine; see `run_tasks`.

    Raises:
        InputError: Ray is not installed or not reachable.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # Ray announces this as its future default
    with needs_extra("engine ray", "cluster"):
        import ray
    here: dict[str, Any] = {"num_cpus": num_processors(), "include_dashboard": False}
    how = {"address": address} if address else here
    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **how)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise InputError(
            f"Ray at {address or 'this machine'} must be reachable, got {error}; start it first, and set RAY_AUTH_MODE "
            "(token or disabled) as it has it"
        ) from error
    try:
        gpus = 1 if resources.gpu and ray.cluster_resources().get("GPU", 0) else 0
        remote = ray.remote(num_cpus=resources.processors, num_gpus=gpus, max_retries=_RETRIES)(task)
        waiting = list(enumerate(payloads))[::-1]
        running: dict[Any, int] = {}
        most = resources.at_once or max(_AHEAD, 2 * int(ray.cluster_resources().get("CPU", 0)))
        while waiting or running:
            while waiting and len(running) < most:
                index, payload = waiting.pop()
                running[remote.remote(payload, resources.environment())] = index
            (ready, *_), _ = ray.wait(list(running), num_returns=1)
            try:
                result = ray.get(ready)
            except ray.exceptions.RayError as error:
                result = error.cause if isinstance(error, ray.exceptions.RayTaskError) and error.cause else error
            yield running.pop(ready), result
    finally:
        ray.shutdown()
