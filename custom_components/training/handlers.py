"""Ignite handlers of a training run: order of the epoch, checkpoints, and what stops a run from outside."""

from __future__ import annotations

import logging
import math
import re
import time
from collections.abc import Sequence
from typing import Any

from custom_components.data.sampling import DomainBalancedBatchSampler
from custom_components.distributed import first_rank_only, rank
from custom_components.errors import InputError, explain
from custom_components.models.checkpoints import RESUMABLE, save_checkpoint
from custom_components.models.trained_model import TrainedModel
from custom_components.networks.parameters import is_finite
from custom_components.training.epoch_log import EpochLog, validation_scores
from custom_components.training.model_quality import calibrate_run
from custom_components.training.preemption import Preemption
from custom_components.training.runs import TrainingRun
from custom_components.training.state import TrainingState, load_newest
from ignite.engine import Engine, Events
from monai.engines import SupervisedEvaluator
from monai.engines.utils import IterationEvents
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

__all__ = ["CheckpointHandler", "SetSamplerEpoch"]

_logger = logging.getLogger(__name__)
_save_once = first_rank_only(save_checkpoint)
_DEAD_LOADER = re.compile(r"DataLoader worker .*(killed by signal: (?P<signal>[\w ]+)|exited unexpectedly)")


class SetSamplerEpoch:
    """Tell the batch sampler which epoch it draws; MONAI does so only for its own distributed sampler."""

    def __init__(self, sampler: DomainBalancedBatchSampler) -> None:
        self.sampler = sampler

    def attach(self, engine: Engine) -> None:
        """Register with a trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, lambda e: self.sampler.set_epoch(e.state.epoch))


class CheckpointHandler:
    """Keep `model.pt` (best on validation), and `last.pt` and `previous.pt` (to resume from), each written whole.

    Sample order and augmentation being pure functions of (seed, epoch), a resumed run goes on exactly as if it had
    never stopped. SIGTERM saves `last.pt` as of the last completed step, amid an epoch too, and exits with code 143
    without waiting for the step in progress. Of several processes only the first one writes; all resume.

    Args:
        run: names the folder, provides the network and what travels with it, says whether to resume.
        optimizer: resumed with the run.
        lr_scheduler: resumed with the run.
        evaluator: the validation engine, whose key metric decides what is best.
        log: whose sums of an epoch begun are resumed with the run.
        sampler: which goes on amid an epoch.
        patience: validations without improvement after which training stops; 0 for never.
        snapshots: epochs whose model is kept as well, as `epoch_<n>.pt`.
        calibrate: at the end let `model.pt` know its quality, see `calibrating.calibrate_run`.
    """

    def __init__(
        self,
        run: TrainingRun,
        *,
        optimizer: Optimizer,
        lr_scheduler: LRScheduler,
        evaluator: SupervisedEvaluator,
        log: EpochLog,
        sampler: DomainBalancedBatchSampler,
        patience: int = 0,
        snapshots: Sequence[int] = (),
        calibrate: bool = False,
    ) -> None:
        self.run = run
        self.evaluator = evaluator
        self.best: float | None = None
        self.best_epoch = 0
        self.patience = patience
        self.num_stale = 0
        self.snapshots = frozenset(snapshots)
        self.calibrate = calibrate
        self._state = TrainingState(
            run.network, optimizer=optimizer, lr_scheduler=lr_scheduler, log=log, sampler=sampler
        )
        self._saved = (0, 0)
        self._failure: BaseException | None = None
        self._preemption = Preemption(self._save_and_say)

    def attach(self, engine: Engine) -> None:
        """Register with a trainer, after the validation handler and the log."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, lambda _: self._preemption.hold())
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._end_step)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._end_epoch)
        engine.add_event_handler(Events.COMPLETED, self._finish)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self._fail)

    def _start(self, engine: Any) -> None:
        self._preemption.hold()
        self._preemption.start()
        num_steps = engine.state.epoch_length
        self._state.scaler = engine.scaler
        if self.run.resume:
            content = load_newest(self.run.output_dir)
            self._state.restore(content, num_steps=num_steps)
            resumed = content["resume"]
            self.best, self.best_epoch = resumed.get("best"), resumed.get("best_epoch", 0)
            self.num_stale = resumed.get("num_stale", 0)
            self._saved = (self._state.epoch, self._state.steps)
            engine.state.epoch = self._state.epoch
            engine.state.iteration = self._state.epoch * num_steps + self._state.steps
            amid = f" and {self._state.steps} of {num_steps} steps" if self._state.steps else ""
            _logger.info("continuing after epoch %d%s", engine.state.epoch, amid)
        self._state.remember(epoch=self._state.epoch, steps=self._state.steps, num_steps=num_steps)
        self._preemption.release()
        if self._state.steps == num_steps:  # stopped in the validation: the end of the epoch is left to do
            engine.state.epoch += 1
            engine.fire_event(Events.EPOCH_COMPLETED)
        else:
            self._stop_early(engine)

    def _end_step(self, engine: Any) -> None:
        num_steps, epoch = engine.state.epoch_length, engine.state.epoch - 1
        steps = engine.state.iteration - epoch * num_steps
        self._state.remember(epoch=epoch, steps=steps, num_steps=num_steps)
        self._preemption.release()

    def _end_epoch(self, engine: Any) -> None:
        self._preemption.hold()
        epoch = engine.state.epoch
        self._state.remember(epoch=epoch, steps=0, num_steps=engine.state.epoch_length)
        score = validation_scores(self.evaluator, epoch).get(self.evaluator.state.key_metric_name)
        if score is not None and math.isnan(score):
            score = None  # there was no bone to score; nothing would ever beat it
        model = self._model(score)
        if not is_finite(model.weights):
            raise InputError(
                f"weights must stay finite, got NaN or infinity in epoch {epoch}; the checkpoints before are kept: "
                "lower learning_rate and continue with --resume true"
            )
        if score is not None:
            self.num_stale += 1
        if score is not None and (self.best is None or score > self.best):
            self.best, self.best_epoch, self.num_stale = score, epoch, 0
            _save_once(self.run.output_dir / "model.pt", model)
        if epoch in self.snapshots:
            _save_once(self.run.output_dir / f"epoch_{epoch}.pt", model)
        # Last: a run killed before this line repeats the epoch, and writes the same files again.
        self._save(model)
        self._preemption.release()
        self._stop_early(engine)

    def _stop_early(self, engine: Engine) -> None:
        if self.patience and self.num_stale >= self.patience:
            _logger.info("stopping early: %d validations without improvement", self.num_stale)
            engine.terminate()

    def _finish(self, engine: Any) -> None:
        if self.best is None:
            _save_once(self.run.output_dir / "model.pt", self.run.model(epoch=engine.state.epoch, validation_dice=None))
            if self.run.split.validation:
                _logger.warning("no epoch validated: model.pt holds the last weights; lower val_interval")
            else:
                _logger.info("nobody validates: model.pt holds the last weights")
        else:
            _logger.info("best epoch %d, validation Dice %.4f: model.pt", self.best_epoch, self.best)
        if self.calibrate:
            calibrate_run(self.run)
        self._end()

    def _fail(self, error: BaseException) -> None:
        if error is self._failure:  # the engine fires twice
            raise error
        self._preemption.release(broken=True)
        dead = _DEAD_LOADER.search(str(error)) if isinstance(error, RuntimeError) else None
        self._preemption.wait_if_asked(2.0 if dead and dead["signal"] != "Killed" else 0.0)
        self._failure = self._explain_loader(dead["signal"]) if dead else error
        _logger.error("%s", explain(self._failure))
        self._end()
        raise self._failure from error.__cause__ if self._failure is error else error

    def _explain_loader(self, signal: str | None) -> InputError:
        kept = any(self._saved)
        reasons = {None: "out of memory?", "Killed": "out of memory?", "Bus error": "shared memory full?"}
        return InputError(
            f"a data loading process was killed ({reasons.get(signal, signal)}); "
            f"{'the last checkpoint is kept' if kept else 'nothing was saved yet'}: lower num_workers and "
            f"{'continue with --resume true' if kept else 'start again'}"
        )

    def _end(self) -> None:
        self._preemption.end()
        self.run.end()

    def _model(self, score: float | None) -> TrainedModel:
        return self.run.model(epoch=self._state.epoch, validation_dice=score, buffers=self._state.buffers)

    def _save(self, model: TrainedModel) -> None:
        own = {"best": self.best, "best_epoch": self.best_epoch, "num_stale": self.num_stale}
        _save_once(self.run.output_dir / RESUMABLE[0], model, resume=self._state.to_dict() | own)
        self._saved = (self._state.epoch, self._state.steps)

    def _save_and_say(self) -> str:
        """What SIGTERM does, in the thread of `Preemption`, while the main thread changes nothing."""
        state = self._state
        place = f"epoch {state.epoch + 1} after step {state.steps} of {state.num_steps}"
        if rank() > 0:
            time.sleep(3.0)  # stay to answer the first process, whose step in progress may wait for this one
            return f"stopped by SIGTERM in {place}"
        if (state.epoch, state.steps) != self._saved:
            model = self._model(None)
            if not (state.is_good and is_finite(model.weights)):
                return f"stopped by SIGTERM in {place}; loss or weights are not finite: earlier checkpoints are kept"
            self._save(model)
        remedy = "continue with --resume true" if any(self._saved) else "nothing to save yet: start again"
        return f"stopped by SIGTERM in {place}; {remedy}"
