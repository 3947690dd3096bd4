"""Ignite handlers of a training run: order of the epoch, log, checkpoints."""

from __future__ import annotations

import csv
import io
import logging
import math
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from ignite.handlers import ProgressBar
from monai.engines import SupervisedEvaluator
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.tensorboard import SummaryWriter

from custom_components.checkpoints import load_checkpoint, save_checkpoint
from custom_components.distributed import first_rank_only, num_ranks, rank, sum_over_ranks
from custom_components.errors import InputError
from custom_components.files import write_atomically
from custom_components.losses import MultiDomainSegmentationLoss
from custom_components.runs import TrainingRun
from custom_components.sampling import DomainBalancedBatchSampler

__all__ = ["CheckpointHandler", "EpochLog", "SetSamplerEpoch"]

_logger = logging.getLogger(__name__)
_save_once = first_rank_only(save_checkpoint)


class SetSamplerEpoch:
    """Tell the batch sampler which epoch it draws; MONAI does so only for its own distributed sampler."""

    def __init__(self, sampler: DomainBalancedBatchSampler) -> None:
        self.sampler = sampler

    def attach(self, engine: Engine) -> None:
        """Register with a trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, lambda e: self.sampler.set_epoch(e.state.epoch))


class EpochLog:
    """One line an epoch in the log and in `log.csv`, curves in TensorBoard, a progress bar on a terminal.

    A loss that is not finite ends the run here, before anything is saved over a good checkpoint. Losses and slices are
    those of all processes; only the first one writes.

    Args:
        output_dir: where `log.csv` and `tensorboard/` go; an earlier log is continued.
        loss: the loss whose `terms` are averaged over the epoch.
        optimizer: for the learning rate.
        evaluator: the validation engine; its metrics are logged in epochs that validate.
    """

    def __init__(
        self,
        output_dir: str | Path,
        *,
        loss: MultiDomainSegmentationLoss,
        optimizer: Optimizer,
        evaluator: SupervisedEvaluator,
    ) -> None:
        self.path = Path(output_dir) / "log.csv"
        self.loss = loss
        self.optimizer = optimizer
        self.evaluator = evaluator
        self._rows: list[dict[str, Any]] = []
        self._writer: SummaryWriter | None = None
        self._reset()

    def attach(self, engine: Engine) -> None:
        """Register with a trainer, after the validation handler."""
        engine.add_event_handler(Events.STARTED, self._open)
        engine.add_event_handler(Events.EPOCH_STARTED, lambda _: self._reset())
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._report)
        engine.add_event_handler(Events.COMPLETED, self._close)
        if sys.stderr.isatty() and rank() == 0:
            ProgressBar(desc="epoch", persist=False).attach(engine)

    def _reset(self) -> None:
        self._sums: dict[str, torch.Tensor] = {}
        self._num_batches = 0
        self._num_slices = 0
        self._started = self._ended = time.perf_counter()

    @first_rank_only
    def _open(self) -> None:
        self._writer = SummaryWriter(str(self.path.parent / "tensorboard"))

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()

    def _add(self, engine: Engine) -> None:
        output = engine.state.output
        terms = {"loss": output["loss"].detach(), **self.loss.terms}
        for name, value in terms.items():
            self._sums[name] = self._sums.get(name, torch.zeros_like(value)) + value
        self._num_batches += 1
        self._num_slices += len(output["image"])
        self._ended = time.perf_counter()  # validation comes before the report, and is not training time

    def _report(self, engine: Engine) -> None:
        epoch = engine.state.epoch
        num_batches = max(self._num_batches, 1)
        means = {name: float(sum_over_ranks(total)) / num_ranks() / num_batches for name, total in self._sums.items()}
        num_slices = int(sum_over_ranks(torch.tensor(self._num_slices)))
        if not all(math.isfinite(value) for value in means.values()):
            raise InputError(
                f"loss must stay finite, got {means} in epoch {epoch}; the last good checkpoint is kept: "
                "lower learning_rate and continue with --resume true"
            )
        if rank() == 0:
            self._record(engine, means, num_slices)

    def _record(self, engine: Engine, means: dict[str, float], num_slices: int) -> None:
        epoch = engine.state.epoch
        seconds = self._ended - self._started
        scores = _scores(self.evaluator, epoch)
        row = {
            "epoch": epoch,
            **means,
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            **scores,
            "steps": self._num_batches,
            "seconds": round(seconds, 2),
            "slices_per_second": round(num_slices / seconds, 1),
            "epoch_seconds": round(time.perf_counter() - self._started, 2),  # with validation
            "peak_memory_mib": round(_peak_memory_mib(), 1),
        }
        self._rows = [*self._earlier_rows(epoch), row]
        self._write()
        assert self._writer is not None  # opened when the engine started
        for name, value in row.items():
            if name != "epoch":
                self._writer.add_scalar(name, value, epoch)
        self._writer.flush()
        shown = ", ".join(f"{name} {value:.4g}" for name, value in row.items() if name != "epoch")
        _logger.info("epoch %d/%d: %s", epoch, engine.state.max_epochs, shown)

    def _earlier_rows(self, epoch: int) -> list[dict[str, Any]]:
        """Rows so far; after a resumption those of the run it continues."""
        if not self._rows and self.path.is_file():
            with self.path.open(newline="") as file:
                self._rows = [dict(row) for row in csv.DictReader(file)]
        return [row for row in self._rows if int(row["epoch"]) < epoch]

    def _write(self) -> None:
        columns = list(dict.fromkeys(name for row in self._rows for name in row))
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows)
        write_atomically(self.path, text.getvalue().encode())


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
        score = _scores(self.evaluator, epoch).get(self.evaluator.state.key_metric_name)
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


def _peak_memory_mib() -> float:
    """Most memory taken so far: of the GPU where there is one in use, else of the process."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated() / 2**20
    unit = 1 if sys.platform == "darwin" else 2**10  # ru_maxrss: bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def _scores(evaluator: SupervisedEvaluator, epoch: int) -> dict[str, float]:
    """The validation metrics of this epoch; none if it did not validate."""
    return dict(evaluator.state.metrics) if evaluator.state.epoch == epoch else {}
