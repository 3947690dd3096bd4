"""Plan of a training: image size, widths and epochs that a budget of time pays for, measured on this machine."""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from custom_components.data.cases import in_planes
from custom_components.data.preprocessing import Preprocessing
from custom_components.data.sampling import DomainBalancedBatchSampler
from custom_components.data.splits import Split
from custom_components.distributed import from_first_rank, num_ranks, rank
from custom_components.domains import Domain
from custom_components.errors import InputError
from custom_components.training.slice_sizes import AUTO, candidates, empty_slices, look_at
from custom_components.training.step_timing import Workload, seconds_a_step
from custom_components.workflows.begin import select_device
from torch import nn

_logger = logging.getLogger(__name__)

PLAN = "plan.json"
DEFAULT_BUDGET = "15min"
LEAST_SLICES = 24_000
"""Slices of the domain with the largest share in a batch that a training must draw to be worth a dearer network."""

_LEAST_EPOCHS = 2
_START_AND_END = 0.08  # of the budget: reading, measuring, calibrating
_FORWARD_SHARE = 0.35  # of a training step that its forward pass takes
_TRAINER_SECONDS = 0.01  # around each step
_EPOCH_SECONDS = 0.3  # to log an epoch, and its share of saving the network
_UNITS = {"s": 1.0, "min": 60.0, "h": 3600.0, "": 60.0}


@dataclass(frozen=True)
class TrainingPlan:
    """Image size, widths and epochs of a training, and lines that explain them; no lines if all were given."""

    image_size: Any
    widths: Any
    max_epochs: Any
    lines: tuple[str, ...] = ()

    def to_json(self) -> str:
        """Content of `plan.json`, from which a resumed run takes its plan."""
        return json.dumps(asdict(self), indent=2)


@dataclass(frozen=True)
class _Course:
    """Work of a training in an epoch, the least number of epochs, and the budget in seconds."""

    budget: float
    steps: int
    validated: float  # batches, an epoch
    least_epochs: float

    def seconds(self, step: float, epochs: float) -> float:
        """Of the whole training, if a step takes so many."""
        batches = self.steps + _FORWARD_SHARE * self.validated
        return epochs * ((step + _TRAINER_SECONDS) * batches + _EPOCH_SECONDS) + _START_AND_END * self.budget

    def pays(self, step: float) -> bool:
        return self.seconds(step, self.least_epochs) <= self.budget

    def epochs(self, step: float) -> int:
        fixed = _START_AND_END * self.budget
        return max(_LEAST_EPOCHS, math.floor((self.budget - fixed) / (self.seconds(step, 1) - fixed)))


def parse_budget(given: Any) -> float:
    """Seconds of a time such as "15min", "90s", "2h" or 15, a number of minutes.

    Raises:
        InputError: it is no time above 0.

    Example:
        >>> [parse_budget(given) for given in ("15min", "90s", "1.5 h", 15)]
        [900.0, 90.0, 5400.0, 900.0]
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?) *(s|min|h|)", str(given).strip())
    if isinstance(given, bool) or not found or float(found[1]) == 0:
        raise InputError(f"budget must be a time above 0 such as 90s, 15min or 2h, got {given!r}; correct it")
    return float(found[1]) * _UNITS[found[2]]


def plan_training(
    *,
    image_size: Any,
    widths: Any,
    max_epochs: Any,
    budget: str | float | None = None,
    domains: Sequence[Domain],
    split: Split,
    batch_size: int,
    loss: nn.Module,
    network: Mapping[str, Any],
    context: int = 0,
    position: bool = False,
    transform: Callable[[dict[str, Any]], Any] | None = None,
    val_interval: int = 1,
    min_batches: int = 1,
    empty_share: float = 1.0,
    num_workers: int = 0,
    dtype: torch.dtype = torch.float32,
    device: str = AUTO,
    output_dir: str | Path = ".",
    resume: bool = False,
) -> TrainingPlan:
    """Choose each of `image_size`, `widths` and `max_epochs` that is "auto", and pass the others on as they are.

    Sizes follow the headers of the training cases. Steps of the real network, loss and augmentation, on random slices,
    are timed from the cheapest entry of `LADDER` on; the dearest is chosen with which the budget pays for the given
    number of epochs, or for `LEAST_SLICES`. Without a given number there are then as many epochs as the budget pays.
    Torch's random numbers stay as they were. If nothing is "auto", nothing is read or timed.

    Args:
        image_size: as in `train.yaml`, or "auto".
        widths: likewise.
        max_epochs: likewise.
        budget: time of the whole training, see `parse_budget`; None is `DEFAULT_BUDGET`.
        domains: those of the network.
        split: training and validation cases.
        batch_size: slices.
        loss: of the training.
        network: arguments of `MultiDomainUNet` but for widths, channels and classes.
        context: neighbouring slices on either side that are channels.
        position: whether coordinates are channels.
        transform: augmentation of an item.
        val_interval: epochs.
        min_batches: of an epoch, at least.
        empty_share: of the slices without bone that an epoch passes through; below 1, label maps are read.
        num_workers: processes that augment.
        dtype: of convolutions, see `choose_precision`.
        device: name for `select_device`.
        output_dir: folder of the run.
        resume: whether to take the plan of the run that is there.

    Raises:
        InputError: a value is neither "auto" nor possible, a header cannot be read, or there is no plan to go on with.
    """
    given = {"image_size": image_size, "widths": widths, "max_epochs": max_epochs}
    seconds = parse_budget(DEFAULT_BUDGET if budget is None else budget)
    for name, value in given.items():
        if isinstance(value, str) and value != AUTO:
            raise InputError(f"{name} must be auto or a value as in train.yaml, got {value!r}; correct it")
    known = {name: value for name, value in given.items() if not isinstance(value, str)}
    if known == given:
        return TrainingPlan(**given)
    if resume:
        return replace(
            from_first_rank(_read(Path(output_dir).resolve() / PLAN) if rank() == 0 else TrainingPlan(**given)), **known
        )
    epochs = known.get("max_epochs", 1)
    if isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 1:
        raise InputError(f"max_epochs must be auto or a whole number from 1, got {epochs!r}; correct it")

    work, steps, validated = _workload(
        domains=domains,
        split=split,
        batch_size=batch_size,
        loss=loss,
        network=network,
        context=context,
        position=position,
        transform=transform,
        val_interval=val_interval,
        min_batches=min_batches,
        empty_share=empty_share,
        num_workers=num_workers,
        dtype=dtype,
        device=device,
    )
    least = known.get("max_epochs", LEAST_SLICES / (steps * math.ceil(batch_size / len(work.fields))))
    course = _Course(seconds, steps, validated, least)
    timed: list[tuple[Any, list[int], float]] = []
    for size, own_widths in candidates(image_size, widths, work.fields, shared=network.get("norm") == "shared"):
        # All processes take part, for their norms and losses are joint; the first one's clock decides.
        step = from_first_rank(seconds_a_step(work, size, own_widths))
        timed.append((size, own_widths, step))
        _logger.info("%s: %.3g s a step", _show(size, own_widths), step)
        if not course.pays(step):
            break
    return from_first_rank(_conclude(timed, course, work, known))


def training_seconds(
    *, image_size: Any, widths: Sequence[int], max_epochs: int, batch_size: int, **how: Any
) -> tuple[float, float]:
    """Seconds of a training without its start and end, and of the forward pass of a slice, from steps timed here.

    Args:
        image_size: as in `train.yaml`, not "auto".
        widths: likewise.
        max_epochs: likewise.
        batch_size: slices.
        how: the other arguments of `plan_training`; those of the budget and of the run's folder have no effect.
    """
    of_run = ("budget", "output_dir", "resume")
    how = {name: value for name, value in how.items() if name not in of_run}
    work, steps, validated = _workload(batch_size=batch_size, **how)
    step = seconds_a_step(work, image_size, widths)
    return _Course(0.0, steps, validated, max_epochs).seconds(step, max_epochs), _FORWARD_SHARE * step / batch_size


def _workload(
    *,
    domains: Sequence[Domain],
    split: Split,
    batch_size: int,
    val_interval: int = 1,
    min_batches: int = 1,
    empty_share: float = 1.0,
    num_workers: int = 0,
    device: str = AUTO,
    **how: Any,
) -> tuple[Workload, int, float]:
    """A training step, and the steps and, on average, the batches of validation of an epoch."""
    cases = in_planes(split.training, domains)
    fields, training = look_at(cases, domains)
    _, validation = look_at(in_planes(split.validation, domains), domains)
    drawing: dict[str, Any] = {"rank": rank(), "num_ranks": num_ranks(), "min_batches": min_batches}
    if empty_share < 1:
        drawing |= {"empty": empty_slices(cases, domains), "empty_share": empty_share}
    sampler = DomainBalancedBatchSampler(training, batch_size=batch_size, **drawing)
    drawn = [training[key.index] for key in next(iter(sampler))]
    work = Workload(domains, fields, drawn, ahead=num_workers > 0, device=select_device(device), **how)
    return work, len(sampler), len(validation) / batch_size / val_interval


def _conclude(
    timed: Sequence[tuple[Any, list[int], float]], course: _Course, work: Workload, known: Mapping[str, Any]
) -> TrainingPlan:
    """The plan that follows from steps timed from cheap to dear, only the last of which may cost too much."""
    *before, last = timed
    chosen = last if course.pays(last[2]) or not before else before[-1]
    size, widths, step = chosen
    epochs = known.get("max_epochs") or course.epochs(step)
    aim = f"{epochs} epochs" if "max_epochs" in known else f"{LEAST_SLICES} slices of a domain"
    threads = torch.get_num_threads()
    lines = [f"plan for {_minutes(course.budget)} on {work.device} ({threads} thread{'s' * (threads != 1)}):"]
    settings, planes = Preprocessing(size), {domain.name: domain.plane for domain in work.domains}
    for name, field in work.fields.items():
        rows, columns = settings.size_of(name)
        pixel = " x ".join(f"{mm:.2f}" for mm in field.extent_mm / (rows, columns))
        lines.append(f"{name}: {planes[name]} slices of {rows} x {columns} pixels, {pixel} mm each")
    lines.append(f"widths {', '.join(map(str, widths))}")
    lines.append(
        f"{step:.3g} s a step, {course.steps} steps an epoch, {epochs} epochs: "
        f"about {_minutes(course.seconds(step, epochs))}"
    )
    if not course.pays(step) and not {"image_size", "widths"} <= known.keys():
        lines.append(f"even the cheapest takes {_minutes(course.seconds(step, course.least_epochs))} for {aim}")
    if last is not chosen:
        need = _minutes(course.seconds(last[2], course.least_epochs))
        lines.append(f"next would be {_show(last[0], last[1])}: {last[2]:.3g} s a step, {need} for {aim}")
    return TrainingPlan(size, widths, epochs, tuple(lines))


def _show(image_size: Any, widths: Sequence[int]) -> str:
    sizes = image_size.items() if isinstance(image_size, Mapping) else [("", image_size)]
    shown = ", ".join(f"{name} {rows} x {columns}".strip() for name, (rows, columns) in sizes)
    return f"{shown} with widths {widths[0]} to {widths[-1]}"


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.3g} min" if seconds >= 60 else f"{seconds:.3g} s"


def _read(path: Path) -> TrainingPlan:
    if not path.is_file():
        raise InputError(f"resume needs {path} where a setting is auto, got no such file; give the run's own numbers")
    content = json.loads(path.read_text(encoding="utf-8"))
    return TrainingPlan(**{**content, "lines": tuple(content["lines"])})
