"""State of a training as of its last completed step, from which it goes on bit for bit."""

from __future__ import annotations

import copy
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from custom_components.data.sampling import DomainBalancedBatchSampler
from custom_components.distributed import first_rank_only, num_ranks
from custom_components.errors import InputError
from custom_components.models.checkpoints import RESUMABLE, save_checkpoint
from custom_components.models.trained_model import TrainedModel
from custom_components.training.averaging import WeightAverage
from custom_components.training.epoch_log import EpochLog
from custom_components.training.runs import TrainingRun
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

_save_once = first_rank_only(save_checkpoint)


@dataclass(eq=False)
class TrainingState:
    """Weights, optimizer, learning rate, sums of the epoch's losses, best score, and the place in the epoch.

    Weights, the optimizer's moments and the loss scale change only where the optimizer steps. The rest is copied by
    `remember`: the next step's forward pass changes running statistics, and the end of the epoch the learning rate,
    before a checkpoint is written. When an epoch goes on, the sampler leaves out the batches done.

    `average` is that of the weights, if the training has one; it changes only where the optimizer steps, too. The best
    epoch is that with the highest mean of `choose_by` validations.

    Attributes:
        epoch: epochs completed.
        steps: steps done in the next one, of `num_steps`; these are 0 before the training has started.
        best: best mean of validation scores so far, see `mean_score`, of epoch `best_epoch`; None before the first.
        recent: scores of the newest validations, at most `choose_by`.
        num_stale: validations since.
        chosen: the model of the best epoch, until it is written together with a state that knows of it.
        saved: epochs and steps of the newest `last.pt`.
    """

    run: TrainingRun
    optimizer: Optimizer
    lr_scheduler: LRScheduler
    sampler: DomainBalancedBatchSampler
    log: EpochLog = field(default=None)  # type: ignore[assignment]  # the log registers itself
    average: WeightAverage | None = None
    choose_by: int = 1
    scaler: Any = field(default=None, init=False)
    epoch: int = field(default=0, init=False)
    steps: int = field(default=0, init=False)
    num_steps: int = field(default=0, init=False)
    best: float | None = field(default=None, init=False)
    best_epoch: int = field(default=0, init=False)
    recent: list[float] = field(default_factory=list, init=False)
    num_stale: int = field(default=0, init=False)
    chosen: TrainedModel | None = field(default=None, init=False)
    saved: tuple[int, int] = field(default=(0, 0), init=False)

    def __post_init__(self) -> None:
        if self.choose_by < 1:
            raise InputError(f"choose_by must be 1 or more validations, got {self.choose_by}; 1 takes each by itself")

    def remember(self, *, epoch: int, steps: int, num_steps: int) -> None:
        """Note the place, given as in the attributes, and copy all that changes outside of the optimizer's step."""
        self._buffers = {name: buffer.detach().clone() for name, buffer in self.run.network.named_buffers()}
        self._copied = {
            "groups": self.optimizer.state_dict()["param_groups"],
            "lr_scheduler": copy.deepcopy(self.lr_scheduler.state_dict()),
            "log": self.log.state_dict(),
        }
        self.epoch, self.steps, self.num_steps = epoch, steps, num_steps

    @property
    def is_good(self) -> bool:
        """Whether all losses of the epoch so far are finite."""
        return all(bool(total.isfinite()) for total in self._copied["log"]["sums"].values())

    def mean_score(self, score: float) -> float:
        """Mean of the score of a validation and of those before it: `choose_by` in all, or as many as there were."""
        return statistics.fmean([*self.recent, score][-self.choose_by :])

    def model(self, validation_dice: float | None = None, *, averaged: bool = False) -> TrainedModel:
        """The network as of the last completed step, with all that travels with it.

        With `averaged` it is the average of the weights, if the training has one: the model to use and not to resume.
        """
        tensors = self._buffers if self.average is None or not averaged else self.average.weights()
        return self.run.model(epoch=self.epoch, validation_dice=validation_dice, tensors=tensors)

    def choose(self, model: TrainedModel, mean: float) -> None:
        """Keep the model of this epoch, the best so far; `model.pt` is written where `last.pt` is saved next."""
        self.best, self.best_epoch = mean, self.epoch
        self.chosen = replace(model, weights={name: weight.clone() for name, weight in model.weights.items()})

    def save(self, name: str, model: TrainedModel) -> None:
        """Write a checkpoint into the run's folder; `last.pt`, after the model `chosen`, with what resuming needs."""
        resumable = name == RESUMABLE[0]
        if resumable and self.chosen is not None:
            self.save("model.pt", self.chosen)
            self.chosen = None
        _save_once(self.run.output_dir / name, model, resume=self.to_dict() if resumable else None)
        if resumable:
            self.saved = (self.epoch, self.steps)

    def to_dict(self) -> dict[str, Any]:
        """Tensors and plain types; weights and running statistics travel with the model."""
        optional: dict[str, Any] = {} if self.average is None else {"average": dict(self.average.state_dict())}
        if self.choose_by > 1:
            optional["recent"] = list(self.recent)
        if self.run.trained_with:
            optional["trained_with"] = dict(self.run.trained_with)
        return optional | {
            "optimizer": self.optimizer.state_dict() | {"param_groups": self._copied["groups"]},
            "lr_scheduler": self._copied["lr_scheduler"],
            "scaler": None if self.scaler is None else self.scaler.state_dict(),
            "log": self._copied["log"],
            "steps": self.steps,
            "num_steps": self.num_steps,
            "best": self.best,
            "best_epoch": self.best_epoch,
            "num_stale": self.num_stale,
        }

    def restore(self, content: Mapping[str, Any], *, num_steps: int) -> None:
        """Continue from a checkpoint of `resuming.load_newest`, with `num_steps` in an epoch.

        A training that has become longer gets the learning rate that it would have reached from the beginning. The sums
        of an epoch begun are restored in a training of one process only: the checkpoint holds those of the first, so of
        several processes each starts from zero.

        Raises:
            InputError: the checkpoint is another network's, or of an epoch of another length.
        """
        schedule: Any = self.lr_scheduler
        length = getattr(schedule, "total_iters", None)
        try:
            state = content["resume"]
            self.epoch, self.steps = content["training"]["epoch"], state.get("steps", 0)
            self.run.network.load_state_dict(content["model"])
            known, own = state["optimizer"]["param_groups"], self.optimizer.param_groups
            if [group["initial_lr"] for group in known] != [group["initial_lr"] for group in own]:
                raise ValueError(f"learning_rate {own[0]['initial_lr']:g} in place of {known[0]['initial_lr']:g}")
            self.optimizer.load_state_dict(state["optimizer"])
            if ("lr_lambdas" in state["lr_scheduler"]) != hasattr(self.lr_scheduler, "lr_lambdas"):
                raise ValueError("another schedule or warmup")  # one counts epochs, the other one steps
            self.lr_scheduler.load_state_dict(state["lr_scheduler"])
            if self.average is not None:
                if "average" not in state:
                    raise ValueError("weight_averaging in a training without it")
                self.average.load_state_dict(state["average"])
            if self.scaler is not None and state["scaler"] is not None:
                self.scaler.load_state_dict(state["scaler"])
            if self.steps and state["num_steps"] != num_steps:
                raise ValueError(f"an epoch of {num_steps} steps in place of {state['num_steps']}")
            if self.steps and num_ranks() == 1:
                self.log.load_state_dict(state["log"])
            self.best, self.best_epoch = state.get("best"), state.get("best_epoch", 0)
            self.num_stale, self.recent = state.get("num_stale", 0), list(state.get("recent", []))
        except (KeyError, RuntimeError, TypeError, ValueError, AttributeError) as error:
            raise InputError(
                f"last.pt must continue the same network, got {error}; use the run's own settings"
            ) from error
        self.saved = (self.epoch, self.steps)
        self.sampler.skip_batches(self.steps % num_steps)
        if length not in (None, getattr(schedule, "total_iters", None)):  # a `PolynomialLR`, which saves its length
            schedule.total_iters = length
            left = 1 - min(schedule.last_epoch, length) / length
            for group, highest in zip(self.optimizer.param_groups, schedule.base_lrs, strict=True):
                group["lr"] = highest * left**schedule.power
