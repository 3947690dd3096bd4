"""One training over several processes: joining them, sums over them, and work of the first one only.

Everything here does nothing, at no cost, in an ordinary run of one process. `multi_gpu_train.yaml` switches it on.
"""

from __future__ import annotations

import functools
import inspect
import logging
import os
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, ParamSpec, TypeVar

import torch
import torch.distributed as dist
from custom_components.errors import InputError
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn.parallel import DistributedDataParallel

__all__ = [
    "check_joined",
    "first_rank_only",
    "from_first_rank",
    "gather_rows",
    "join_processes",
    "leave_processes",
    "num_ranks",
    "own_gpu",
    "rank",
    "share_gradients",
    "sum_over_ranks",
    "wait_to_report",
    "weigh_domains",
]

P = ParamSpec("P")
T = TypeVar("T")

_TORCHRUN = "torchrun --standalone --nproc-per-node 2 -m monai.bundle run training ..."
_TIMEOUT = timedelta(hours=24)  # the other processes wait while the first one validates


def join_processes(*, device: str = "auto") -> None:
    """Join the processes that torchrun started; every collective below then includes them all.

    With a `device` of "auto" or "cuda" each process takes the GPU of its number. Messages up to warnings are left to
    the first process.

    Raises:
        InputError: torchrun did not start this process, a device of another name, or fewer GPUs than processes.
    """
    if not {"RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR"} <= os.environ.keys():
        raise InputError(
            f"multi_gpu_train.yaml must be run by torchrun, got an ordinary process; use {_TORCHRUN}, or leave it out"
        )
    if str(device) not in ("auto", "cuda", "cpu"):
        raise InputError(f"device must be auto, cuda or cpu for several processes, got {device}; leave out the number")
    gpu = str(device) == "cuda" or (str(device) == "auto" and torch.cuda.is_available())
    if gpu:
        wanted, present = int(os.environ.get("LOCAL_WORLD_SIZE", "1")), torch.cuda.device_count()
        if wanted > present:
            raise InputError(f"nproc-per-node must be at most the number of GPUs, {present}, got {wanted}; lower it")
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    # gloo and nccl: counts and scores are on the CPU, and waiting for a validation must not occupy a GPU.
    dist.init_process_group("cpu:gloo,cuda:nccl" if gpu else "gloo", timeout=_TIMEOUT)
    if rank() > 0:
        logging.disable(logging.WARNING)


def leave_processes() -> None:
    """Wait until the first process has written everything, then part."""
    from_first_rank(None)
    # gloo's threads need the interpreter to release their last tensors; coming after its end, they abort the process.
    time.sleep(1.0)
    dist.destroy_process_group()
    logging.disable(logging.NOTSET)


def check_joined() -> None:
    """Refuse processes of torchrun that know nothing of each other, and would overwrite each other's files.

    Raises:
        InputError: naming the missing configuration.
    """
    if num_ranks() == 1 and dist.is_torchelastic_launched() and int(os.environ["WORLD_SIZE"]) > 1:
        raise InputError("training under torchrun must have multi_gpu_train.yaml, got no such configuration; add it")


def num_ranks() -> int:
    """Number of processes that train together; 1 in an ordinary run."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Number of this process among them, from 0."""
    return dist.get_rank() if num_ranks() > 1 else 0


def own_gpu() -> torch.device | None:
    """The GPU of this process if it trains with others; None in an ordinary run and without GPUs."""
    joined = dist.is_available() and dist.is_initialized() and torch.cuda.is_available()
    return torch.device("cuda", int(os.environ["LOCAL_RANK"])) if joined else None


def first_rank_only(function: Callable[P, T]) -> Callable[P, T | None]:
    """Make a function do nothing, and return None, in all processes but the first."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T | None:
        return function(*args, **kwargs) if rank() == 0 else None

    return call


def from_first_rank(value: T) -> T:
    """The first process's value, in all; it must be picklable. The others wait for it."""
    if num_ranks() == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def wait_to_report(*, explained: bool) -> None:
    """Called before reporting an error, so that one process reports an error that all have, or that one caused.

    torchrun ends all processes as soon as one has failed. An explained error is reported at once by the first process
    and a little later by the others. Tracebacks come last: a process whose partner is gone has nothing else to report.
    """
    if dist.is_available() and dist.is_torchelastic_launched() and int(os.environ["WORLD_SIZE"]) > 1:
        turn = min(int(os.environ["RANK"]), 1) if explained else 2
        time.sleep(3.0 * turn)


class _Sum(Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        total = tensor.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return sum_over_ranks(gradient)


def sum_over_ranks(tensor: Tensor) -> Tensor:
    """Sum of a tensor that all processes hold in the same shape; bit-identical in all.

    Gradients are summed likewise: they are those of the SUM of the processes' losses, which
    `DistributedDataParallel` divides by the number of processes.
    """
    return tensor if num_ranks() == 1 else _Sum.apply(tensor)


def gather_rows(tensor: Tensor) -> Tensor:
    """Rows of all processes, in their order, with gradients; their numbers may differ.

    Shape:
        (N, ...) to (sum of all N, ...).
    """
    if num_ranks() == 1:
        return tensor
    sizes = torch.zeros(num_ranks(), dtype=torch.int64)
    sizes[rank()] = len(tensor)
    counts = sum_over_ranks(sizes).tolist()
    around = [sum(counts[: rank()]), sum(counts[rank() + 1 :])]
    return sum_over_ranks(nn.functional.pad(tensor, [0, 0] * (tensor.ndim - 1) + around))


def weigh_domains(domains: Tensor, num_domains: int) -> Tensor:
    """Weights with which the mean over processes of local losses is the mean over domains of global ones.

    With n_kr of the N_k samples of domain k in this one of W processes, and K domains present in the global batch, the
    weight of this process's mean over its samples of domain k is W n_kr / (N_k K). `domains` (N,) are the domain
    indices of this process's samples.

    Returns:
        One weight for each domain present in this process, in ascending order.

    Example:
        >>> weigh_domains(torch.tensor([0, 2, 2]), 3)  # one process: 1 / K
        tensor([0.5000, 0.5000], dtype=torch.float64)
    """
    counts = torch.bincount(domains.cpu(), minlength=num_domains)
    total = sum_over_ranks(counts)
    weights = num_ranks() * counts.double() / total.clamp(min=1) / (total > 0).sum()
    return weights[counts > 0]


def share_gradients(network: nn.Module) -> DistributedDataParallel:
    """Average gradients over the processes at every step.

    No `device_ids`: the domain indices stay on the CPU. Buffers are not sent around: they are equal everywhere.
    """
    known = inspect.signature(DistributedDataParallel).parameters
    name = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"  # renamed in torch 2.13
    settings: dict[str, Any] = {name: False}
    return DistributedDataParallel(network, **settings)
