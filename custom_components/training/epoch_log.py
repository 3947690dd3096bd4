"""Log of a training: for each epoch a line, a row of `log.csv` and a point of the curves."""

from __future__ import annotations

import logging
import math
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from custom_components.distributed import num_ranks, rank, sum_over_ranks
from custom_components.errors import InputError
from custom_components.losses import MultiDomainSegmentationLoss
from custom_components.models.checkpoints import RESUMABLE
from custom_components.system.files import read_csv, write_csv
from custom_components.system.terminal import attach_bar
from ignite.engine import Engine, Events
from monai.engines import SupervisedEvaluator
from torch.optim import Optimizer

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

_logger = logging.getLogger(__name__)
_NUM_TIMED = 5  # newest epochs, whose mean tells the time left


@dataclass(eq=False)
class EpochLog:
    """Log each epoch in a line for people and in a row of `log.csv`; show a progress bar on a terminal.

    Losses, rate, speed and memory also become the trainer's metrics, for MONAI's handlers. Losses and slices are those
    of all processes; only the first one writes.

    A loss that is not finite ends the run before a good checkpoint is overwritten: on a CPU at its step, on a GPU at
    the end of the epoch, since reading a loss would wait for the GPU.

    The loss's `terms` are averaged over the epoch, the evaluator's metrics logged in epochs that validate. An earlier
    `log.csv` in `output_dir` is continued. The log registers with the `TrainingState` that it is given. A configuration
    cannot name the log by its place among the handlers, since other tools put handlers before it. `remove_bar` is for a
    training that ends amid an epoch.
    """

    output_dir: Path
    loss: MultiDomainSegmentationLoss
    optimizer: Optimizer
    evaluator: SupervisedEvaluator
    state: Any = None

    def __post_init__(self) -> None:
        if self.state is not None:
            self.state.log = self
        self.path = Path(self.output_dir) / "log.csv"
        self._rows: list[dict[str, Any]] = []
        self.remove_bar: Callable[[], None] = lambda: None
        self._reset()

    def attach(self, engine: Engine) -> None:
        """Register with a trainer, after the validation handler."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._start_clock)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._report)
        self.remove_bar = attach_bar(engine, "epoch")

    def validation_score(self, epoch: int) -> float | None:
        """The key metric of an epoch; None if it did not validate or had no bone to score, which is a NaN."""
        score = self._scores(epoch).get(self.evaluator.state.key_metric_name)
        return None if score is None or math.isnan(score) else score

    def domains_without_a_find(self, epoch: int) -> list[str]:
        """Names of the domains whose Dice in an epoch was 0: the network found no bone, or none where it is."""
        rows = [row for row in self._rows or self._earlier_rows(epoch + 1) if int(row["epoch"]) == epoch]
        return [name for row in rows for name, score in self._dice(row).items() if score == 0]

    def state_dict(self) -> dict[str, Any]:
        """Copies of the sums of this epoch."""
        return {
            "sums": dict(self._sums),
            "num_batches": self._num_batches,
            "num_slices": self._num_slices,
            "seconds": self._seconds + self._ended - self._started,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from sums given by `state_dict`."""
        self._sums.update({str(name): torch.as_tensor(total) for name, total in state["sums"].items()})
        self._num_batches, self._num_slices = int(state["num_batches"]), int(state["num_slices"])
        self._seconds = float(state["seconds"])
        self._start_clock()

    def _reset(self) -> None:
        self._sums: dict[str, torch.Tensor] = {}
        self._num_batches = self._num_slices = 0
        self._seconds = 0.0  # of this epoch before a resumption
        self._start_clock()

    def _start_clock(self) -> None:
        self._started = self._ended = time.perf_counter()

    def _add(self, engine: Engine) -> None:
        output = engine.state.output
        terms = {"loss": output["loss"].detach(), **self.loss.terms}
        if terms["loss"].device.type == "cpu":
            self._check({"loss": terms["loss"].item()}, engine, step=self._num_batches + 1)
        for name, value in terms.items():
            self._sums[name] = self._sums.get(name, torch.zeros_like(value)).to(value.device) + value
        self._num_batches += 1
        self._num_slices += len(output["label"].domains)
        self._ended = time.perf_counter()  # validation comes before the report, and is not training time

    def _report(self, engine: Engine) -> None:
        num_batches = max(self._num_batches, 1)
        means = {name: float(sum_over_ranks(total)) / num_ranks() / num_batches for name, total in self._sums.items()}
        num_slices = int(sum_over_ranks(torch.tensor(self._num_slices)))
        self._check(means, engine)
        if rank() == 0:
            self._record(engine, means, num_slices)
        self._reset()

    def _check(self, values: Mapping[str, float], engine: Engine, *, step: int | None = None) -> None:
        bad = [f"{name} {value}" for name, value in values.items() if not math.isfinite(value)]
        if bad:
            place = f"epoch {engine.state.epoch}" + ("" if step is None else f", step {step}")
            kept = any((self.path.parent / name).is_file() for name in RESUMABLE)
            raise InputError(
                f"loss must stay finite, got {', '.join(bad)} in {place}; "
                + ("last.pt and model.pt are kept from before: " if kept else "nothing was saved yet: ")
                + f"lower learning_rate and {'begin anew in another output_dir' if kept else 'start again'}"
            )

    def _record(self, engine: Engine, means: dict[str, float], num_slices: int) -> None:
        epoch = engine.state.epoch
        seconds = self._seconds + self._ended - self._started
        scores = self._scores(epoch)
        row = {
            "epoch": epoch,
            **means,
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            **scores,
            "steps": self._num_batches,
            "seconds": round(seconds, 2),
            "slices_per_second": round(num_slices / max(seconds, 1e-9), 1),
            "epoch_seconds": round(self._seconds + time.perf_counter() - self._started, 2),  # with validation
            "peak_memory_mib": round(_peak_memory_mib(), 1),
        }
        self._rows = [*self._earlier_rows(epoch), row]
        write_csv(self.path, list(dict.fromkeys(name for each in self._rows for name in each)), self._rows)
        own = {name: float(value) for name, value in row.items() if name != "epoch" and name not in scores}
        engine.state.metrics.update(own)
        _logger.info("%s", self._line(row, num_epochs=engine.state.max_epochs))

    def _line(self, row: Mapping[str, Any], *, num_epochs: int) -> str:
        """The loss, the Dice of each domain in an epoch that validates, and the time left."""
        parts = [f"epoch {row['epoch']}/{num_epochs}", f"loss {row['loss']:.3f}"]
        scores = self._dice(row)
        if scores:
            parts += ["Dice " + "  ".join(f"{name} {score:.3f}" for name, score in scores.items())]
        left = num_epochs - row["epoch"]
        if left > 0:
            seconds = [
                float(each["epoch_seconds"])
                for each in self._rows[-_NUM_TIMED:]
                if each.get("epoch_seconds") not in (None, "")
            ]
            parts += [f"{_duration(left * statistics.fmean(seconds))} left"]
        return "  ".join(parts)

    def _dice(self, row: Mapping[str, Any]) -> dict[str, float]:
        """Dice of each domain in a row; empty if that epoch did not validate."""
        key = self.evaluator.state.key_metric_name
        domains = () if self.state is None else self.state.run.domains
        found = {domain.name: row.get(f"{key}_{domain.name}", "") for domain in domains}
        return {name: float(score) for name, score in found.items() if score not in ("", None)}

    def _scores(self, epoch: int) -> dict[str, float]:
        """All validation metrics of an epoch; none if it did not validate."""
        return dict(self.evaluator.state.metrics) if self.evaluator.state.epoch == epoch else {}

    def _earlier_rows(self, epoch: int) -> list[dict[str, Any]]:
        """Rows of earlier epochs; after a resumption those in the file."""
        if not self._rows and self.path.is_file():
            self._rows = read_csv(self.path)
        return [row for row in self._rows if int(row["epoch"]) < epoch]


def _duration(seconds: float) -> str:
    """In the largest unit of which there are two or more.

    Example:
        >>> [_duration(seconds) for seconds in (12.3, 119, 500, 9000)]
        ['12 s', '119 s', '8 min', '2.5 h']
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _peak_memory_mib() -> float:
    """Peak memory so far, of the GPU if one is in use, otherwise of the process; NaN where the system does not tell."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated() / 2**20
    if resource is None:
        return math.nan
    unit = 1 if sys.platform == "darwin" else 2**10  # ru_maxrss: bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
