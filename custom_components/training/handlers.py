"""Handlers that order the epochs of a training, save its checkpoints, resume it and stop it early."""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Sequence
from numbers import Integral
from time import monotonic
from typing import Any

from custom_components.data.sampling import DomainBalancedBatchSampler
from custom_components.data.splits import ALL
from custom_components.distributed import from_first_rank, rank
from custom_components.errors import InputError
from custom_components.models.checkpoints import RESUMABLE
from custom_components.networks.parameters import is_finite
from custom_components.training.resuming import load_newest
from custom_components.training.state import TrainingState
from ignite.engine import Engine, Events
from ignite.handlers import EarlyStopping
from monai.engines.utils import IterationEvents
from monai.handlers import ValidationHandler

_logger = logging.getLogger(__name__)


class SetSamplerEpoch:
    """Tell the batch sampler which epoch it draws; MONAI does so only for its own distributed sampler."""

    def __init__(self, sampler: DomainBalancedBatchSampler) -> None:
        self.sampler = sampler

    def attach(self, engine: Engine) -> None:
        """Register with a trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, lambda e: self.sampler.set_epoch(e.state.epoch))


class AveragingHandler:
    """Move the average of `state`, if it has one, after each step of the optimizer.

    It moves before the step counts as completed, so that weights and average in `last.pt` are of the same step.
    """

    def __init__(self, state: TrainingState) -> None:
        self.state = state

    def attach(self, engine: Engine) -> None:
        """Register with a trainer."""
        average, network = self.state.average, self.state.run.network
        if average is not None:
            engine.add_event_handler(IterationEvents.MODEL_COMPLETED, lambda _: average.update_parameters(network))


class ResumeHandler:
    """Restore `state` from the newest undamaged checkpoint if the run resumes, else tell it where the training starts.

    Sample order and augmentation are pure functions of (seed, epoch), so a resumed run goes on exactly as if it had
    never stopped. All processes of a training resume.
    """

    def __init__(self, state: TrainingState) -> None:
        self.state = state

    def attach(self, engine: Engine) -> None:
        """Register with a trainer, after all handlers that open something when the training starts."""
        engine.add_event_handler(Events.STARTED, self._resume)

    def _resume(self, engine: Any) -> None:
        state, num_steps = self.state, engine.state.epoch_length
        state.scaler = engine.scaler
        if state.run.resume:
            state.restore(load_newest(state.run.output_dir), num_steps=num_steps)
            engine.state.epoch = state.epoch
            engine.state.iteration = state.epoch * num_steps + state.steps
            within = f" and {state.steps} of {num_steps} steps" if state.steps else ""
            _logger.info("continuing after epoch %d%s", state.epoch, within)
        state.remember(epoch=state.epoch, steps=state.steps, num_steps=num_steps)
        if state.steps == num_steps:
            # Stopped during the validation: no step of the epoch is left, but its end is. The engine would begin the
            # next epoch, so the handlers of the end are called here.
            engine.state.epoch += 1
            engine.fire_event(Events.EPOCH_COMPLETED)


class FirstRankValidation(ValidationHandler):
    """MONAI's `ValidationHandler`, run by the first process alone; the others wait and are told its scores.

    So whatever is decided by them (best epoch, early stopping) is decided alike everywhere.
    """

    def __call__(self, engine: Engine) -> None:
        """Validate, or wait for the validation."""
        if rank() == 0:
            super().__call__(engine)
        state = self.validator.state
        state.epoch, state.metrics = from_first_rank((state.epoch, state.metrics))


class EarlyStopHandler:
    """Stop a training whose validation score no longer improves, by ignite's `EarlyStopping`.

    The score is the one that chooses the best epoch, `TrainingState.mean_score`.

    It is attached to the trainer and not, as usual, to the evaluator: only the first of several processes validates
    (see `FirstRankValidation`), but all must stop. It does so after `patience` validations without improvement, with 0
    never. The count is kept in `state`, with which it is resumed.

    Raises:
        InputError: a patience where no case validates.
    """

    def __init__(self, state: TrainingState, *, patience: int = 0) -> None:
        if patience and state.run.split.fold == ALL:
            raise InputError(f"early_stop_patience must be 0 where no case validates, got {patience}; leave it out")
        self.state = state
        self.patience = patience

    def attach(self, engine: Engine) -> None:
        """Register with a trainer, after `ResumeHandler` and before `CheckpointHandler`, which saves the count."""
        self._stopping = EarlyStopping(self.patience or sys.maxsize, lambda _: self._score, engine)
        self._stopping.logger.setLevel(logging.WARNING)  # `_say` says it, with the count
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._count)

    def _start(self, engine: Engine) -> None:
        if self._is_over and not engine.should_terminate:  # a training that has stopped early is not continued
            self._say()
            engine.terminate()

    def _count(self, engine: Engine) -> None:
        score = self.state.log.validation_score(engine.state.epoch)
        if score is None:
            return
        # The best score is that of the epochs before: `CheckpointHandler` comes later.
        self._score, self._stopping.best_score = self.state.mean_score(score), self.state.best
        self._stopping.counter = 0 if self.state.best is None else self.state.num_stale
        self._stopping(engine)
        self.state.num_stale = self._stopping.counter
        if self._is_over:
            self._say()

    @property
    def _is_over(self) -> bool:
        return 0 < self.patience <= self.state.num_stale

    def _say(self) -> None:
        count = self.state.num_stale
        _logger.info("stopping early: %d validation%s without improvement", count, "s" * (count != 1))


class CheckpointHandler:
    """Save `model.pt` (best on validation), chosen epochs, and `last.pt` and `previous.pt` (to resume from).

    Each file is written whole or not at all; of several processes only the first one writes. `last.pt`, of four times
    the size of the weights, and a better `model.pt` with it are saved at the end of the first epoch, then of any epoch
    that ends `save_interval` seconds or more after the last save, and where the training ends. A training that is
    killed goes on from there and repeats the epochs since. Weights that are not
    finite end the training before anything is saved. The best epoch is that with the highest key metric in the state's
    log, or mean of several, see `TrainingState.mean_score`; the recorded `validation_dice` is always its own. A run
    that never validated has its last weights in `model.pt`. The models of the epochs `snapshots` are kept as well, as
    `epoch_<n>.pt`. Where the state has an average of the weights, it is in all of these; `last.pt` goes on from the
    weights themselves.

    Raises:
        InputError: a `save_interval` that is no number of seconds, `snapshots` that are no epochs; weights that are
            NaN or infinite at the end of an epoch.
    """

    def __init__(self, state: TrainingState, *, snapshots: Sequence[int] = (), save_interval: float = 0.0) -> None:
        if isinstance(save_interval, bool) or not isinstance(save_interval, int | float) or not save_interval >= 0:
            raise InputError(
                f"save_interval must be seconds, 0 or more, got {save_interval!r}; 0 saves after each epoch"
            )
        is_list = isinstance(snapshots, Sequence) and not isinstance(snapshots, str)
        if not is_list or any(isinstance(epoch, bool) or not isinstance(epoch, Integral) for epoch in snapshots):
            raise InputError(f"snapshots must be numbers of epochs, got {snapshots!r}; write [10, 20]")
        self.state = state
        self.snapshots = frozenset(snapshots)
        self.save_interval = save_interval
        self._saved = -math.inf

    def attach(self, engine: Engine) -> None:
        """Register with a trainer, after the validation handler, the log and the learning rate's handler."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._save)
        engine.add_event_handler(Events.COMPLETED, self._finish)

    def _save(self, engine: Engine) -> None:
        state, epoch = self.state, engine.state.epoch
        state.remember(epoch=epoch, steps=0, num_steps=engine.state.epoch_length)
        score = state.log.validation_score(epoch)
        last = state.model(score)
        model = last if state.average is None else state.model(score, averaged=True)
        if not (is_finite(last.weights) and is_finite(model.weights)):
            raise InputError(
                f"weights must stay finite, got NaN or infinity in epoch {epoch}; the checkpoints before are kept: "
                "lower learning_rate and begin anew in another output_dir"
            )
        if score is not None:
            mean, state.recent = state.mean_score(score), [*state.recent, score][-state.choose_by :]
            if state.best is None or mean > state.best:
                state.choose(model, mean)
        if epoch in self.snapshots:
            state.save(f"epoch_{epoch}.pt", model)
        # Last: a run killed before this line repeats the epoch, and writes the same files again.
        is_over = engine.should_terminate or epoch == engine.state.max_epochs
        if is_over or monotonic() - self._saved >= self.save_interval:
            state.save(RESUMABLE[0], last)
            self._saved = monotonic()

    def _finish(self, engine: Engine) -> None:
        state = self.state
        if state.saved != (state.epoch, state.steps):  # another handler has ended the training
            last = state.model()
            if is_finite(last.weights):
                state.save(RESUMABLE[0], last)
        if state.best is not None:
            mean = "" if state.choose_by == 1 else f" (mean of {state.choose_by} validations)"
            _logger.info("best epoch %d, validation Dice %.4f%s: model.pt", state.best_epoch, state.best, mean)
            everywhere = [domain.name for domain in state.run.domains]
            blind = everywhere if state.best == 0 else state.log.domains_without_a_find(state.best_epoch)
            if blind:
                state.run.concern = (
                    f"model.pt finds NO BONE of {' and '.join(blind)}: validation Dice 0 in epoch {state.best_epoch}; "
                    "do not use it there: run multijoint check on the data, then train longer or on finer slices"
                )
            return
        state.save("model.pt", state.model(averaged=True))
        if state.run.split.validation:
            _logger.warning("no epoch validated: model.pt holds the last weights; lower val_interval")
        else:
            _logger.info("no validation cases: model.pt holds the last weights")
