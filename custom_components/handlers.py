"""Ignite handlers of a training run: order of the epoch, checkpoints."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from ignite.engine import Engine, Events
from monai.engines import SupervisedEvaluator
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from custom_components.checkpoints import load_checkpoint, save_checkpoint
from custom_components.distributed import first_rank_only
from custom_components.epoch_log import validation_scores
from custom_components.errors import InputError
from custom_components.runs import TrainingRun
from custom_components.sampling import DomainBalancedBatchSampler

__all__ = ["CheckpointHandler", "SetSamplerEpoch"]

_logger = logging.getLogger(__name__)
_save_once = first_rank_only(save_checkpoint)


class SetSamplerEpoch:
    """Tell the batch sampler which epoch it draws; MONAI does so only for its own distributed sampler."""

    def __init__(self, sampler: DomainBalancedBatchSampler) -> None:
        self.sampler = sampler

    def attach(self, engine: Engine) -> None:
        """Register with a trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, lambda e: self.sampler.set_epoch(e.state.epoch))


class CheckpointHandler:
    """Keep `model.pt` (best on validation) and `last.pt` (to resume from), each written whole or not at all.

    Sample order and augmentation being pure functions of (seed, epoch), a run resumed from `last.pt` goes on exactly as
    if it had never stopped. Of several processes only the first one writes; all resume.

    Args:
        run: names the folder, provides the network and what travels with it, says whether to resume.
        optimizer: resumed with the run.
        lr_scheduler: resumed with the run.
        evaluator: the validation engine, whose key metric decides what is best.
        patience: validations without improvement after which training stops; 0 for never.
        snapshots: epochs whose model is kept as well, as `epoch_<n>.pt`.
    """

    def __init__(
        self,
        run: TrainingRun,
        *,
        optimizer: Optimizer,
        lr_scheduler: LRScheduler,
        evaluator: SupervisedEvaluator,
        patience: int = 0,
        snapshots: Sequence[int] = (),
    ) -> None:
        self.run = run
        self.optimizer = optimizer
        self.lr_scheduler = lr_scheduler
        self.evaluator = evaluator
        self.best: float | None = None
        self.best_epoch = 0
        self.patience = patience
        self.num_stale = 0
        self.snapshots = frozenset(snapshots)

    def attach(self, engine: Engine) -> None:
        """Register with a trainer, after the validation handler and the log."""
        engine.add_event_handler(Events.STARTED, self._resume)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._save)
        engine.add_event_handler(Events.COMPLETED, self._finish)

    def _resume(self, engine: Any) -> None:
        if not self.run.resume:
            return
        path = self.run.output_dir / "last.pt"
        content = load_checkpoint(path, device=self.run.device)
        try:
            state = content["resume"]
            self.run.network.load_state_dict(content["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.lr_scheduler.load_state_dict(state["lr_scheduler"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise InputError(
                f"{path} must continue the same network, got {error}; use the run's own settings"
            ) from error
        if engine.scaler is not None and state["scaler"] is not None:
            engine.scaler.load_state_dict(state["scaler"])
        self.best, self.best_epoch, self.num_stale = state["best"], state["best_epoch"], state["num_stale"]
        engine.state.epoch = content["training"]["epoch"]
        engine.state.iteration = engine.state.epoch * engine.state.epoch_length
        _logger.info("continuing after epoch %d", engine.state.epoch)

    def _save(self, engine: Any) -> None:
        epoch = engine.state.epoch
        score = validation_scores(self.evaluator, epoch).get(self.evaluator.state.key_metric_name)
        model = self.run.model(epoch=epoch, validation_dice=score)
        if score is not None:
            self.num_stale += 1
        if score is not None and (self.best is None or score > self.best):
            self.best, self.best_epoch, self.num_stale = score, epoch, 0
            _save_once(self.run.output_dir / "model.pt", model)
        if epoch in self.snapshots:
            _save_once(self.run.output_dir / f"epoch_{epoch}.pt", model)
        # Last: a run killed before this line repeats the epoch, and writes the same files again.
        _save_once(
            self.run.output_dir / "last.pt",
            model,
            resume={
                "optimizer": self.optimizer.state_dict(),
                "lr_scheduler": self.lr_scheduler.state_dict(),
                "scaler": None if engine.scaler is None else engine.scaler.state_dict(),
                "best": self.best,
                "best_epoch": self.best_epoch,
                "num_stale": self.num_stale,
            },
        )
        if self.patience and self.num_stale >= self.patience:
            _logger.info("stopping early: %d validations without improvement", self.num_stale)
            engine.terminate()

    def _finish(self, engine: Any) -> None:
        if self.best is None:
            _save_once(self.run.output_dir / "model.pt", self.run.model(epoch=engine.state.epoch, validation_dice=None))
            _logger.warning("no epoch validated: model.pt holds the last weights; lower val_interval")
        else:
            _logger.info(
                "best epoch %d, validation Dice %.4f: %s", self.best_epoch, self.best, self.run.output_dir / "model.pt"
            )
