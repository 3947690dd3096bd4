"""Schedules of the learning rate."""

from __future__ import annotations

import math

from custom_components.errors import InputError
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, PolynomialLR

_SCHEDULES = ("polynomial", "cosine", "one-cycle")
_RISE, _START, _END = 0.3, 1 / 25, 1 / 25e4  # of one cycle: PyTorch's defaults


def make_schedule(
    optimizer: Optimizer,
    *,
    schedule: str = "polynomial",
    warmup: float = 0.0,
    power: float = 0.0,
    max_epochs: int,
    steps_per_epoch: int,
) -> LRScheduler:
    """Make the schedule of a training; `moves_each_epoch` tells when to step it.

    A polynomial without warm-up is PyTorch's `PolynomialLR`, stepped after each epoch. All others are a `LambdaLR`,
    stepped after each iteration; see `rate_factor`. Its state is the place alone, so that a training resumed with more
    `max_epochs` goes on as one that has had them from the beginning.

    Args:
        optimizer: its groups may have their own learning rates; each is the highest of its schedule.
        schedule: "polynomial", "cosine" or "one-cycle".
        warmup: share of all steps in which the rate rises.
        power: of the polynomial; 0 keeps the rate.
        max_epochs: length of the training.
        steps_per_epoch: of the optimizer.

    Raises:
        InputError: another schedule, or a warm-up outside 0 <= warmup < 1.
    """
    if schedule not in _SCHEDULES:
        raise InputError(f"schedule must be {', '.join(_SCHEDULES)}, got {schedule!r}; correct it")
    if not 0 <= warmup < 1:
        raise InputError(f"warmup must be a share of all steps, 0 or more and less than 1, got {warmup}; lower it")
    if moves_each_epoch(schedule, warmup):
        return PolynomialLR(optimizer, total_iters=max_epochs, power=power)
    total = max_epochs * steps_per_epoch

    def factor(step: int) -> float:  # a function: `LambdaLR` would save the attributes of any other callable
        return rate_factor(step, total, schedule=schedule, warmup=warmup, power=power)

    return LambdaLR(optimizer, factor)


def moves_each_epoch(schedule: str, warmup: float) -> bool:
    """Whether the schedule is stepped after each epoch, not after each iteration."""
    return schedule == "polynomial" and warmup == 0


def rate_factor(step: int, total: int, *, schedule: str, warmup: float = 0.0, power: float = 0.0) -> float:
    """Share of the highest learning rate at a step, from 0, of `total`; after the last step that of the end.

    "polynomial" and "cosine" rise linearly over the first w = `warmup` * `total` steps, to the full rate at step w - 1,
    then fall to 0, which is reached after the last step: by (1 - p) ** `power`, or by a half cosine in the share p of
    the steps after the warm-up. "one-cycle" rises from 1/25 and falls to 4e-6 by half cosines, as PyTorch's
    `OneCycleLR`, which however raises an error when a training gets longer, and moves Adam's momentum too; without
    `warmup` it rises in the first 0.3.

    Source:
        Loshchilov and Hutter 2017 (cosine); Smith and Topin 2019 (one cycle).

    Example:
        >>> [round(rate_factor(step, 8, schedule="cosine", warmup=0.25), 3) for step in range(9)]
        [0.5, 1.0, 1.0, 0.933, 0.75, 0.5, 0.25, 0.067, 0.0]
    """
    step = min(step, total)
    if schedule == "one-cycle":
        peak, last = (warmup or _RISE) * total - 1, total - 1
        if step < peak:
            return _half_cosine(_START, 1.0, step / peak)
        return _half_cosine(1.0, _END, min((step - peak) / (last - peak), 1.0))
    rise = round(warmup * total)
    if step < rise:
        return (step + 1) / rise
    share = (step - rise) / max(total - rise, 1)
    return float((1 - share) ** power) if schedule == "polynomial" else _half_cosine(1.0, 0.0, share)


def _half_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
