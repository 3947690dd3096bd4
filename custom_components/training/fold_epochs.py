"""Length of a training on all cases, taken from the trainings of a cross-validation."""

from __future__ import annotations

import logging
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from custom_components.errors import InputError, show_path
from custom_components.models.checkpoints import load_checkpoint, model_file
from custom_components.system.terminal import count

_logger = logging.getLogger(__name__)


def epochs_of_runs(runs: Sequence[str | Path], *, otherwise: Any) -> Any:
    """The median of the best epochs of finished runs, rounded up; `otherwise` without any runs.

    Where no case validates, no score tells when to stop. The best epochs of the folds do, as those networks were
    trained on nearly the same cases. The schedule of the learning rate is as long as the training, so it is run through
    to its end.

    Args:
        runs: folders with a `model.pt`, or such files.
        otherwise: `max_epochs` as given.

    Raises:
        InputError: a run has no model, or one that does not state its epoch.
    """
    if isinstance(runs, str):
        raise InputError(f"epochs_of must be a list of runs, got {runs!r}; write [{runs}]")
    if not runs:
        return otherwise
    epochs = [_best_epoch(Path(run)) for run in runs]
    chosen = math.ceil(statistics.median(epochs))
    shown = ", ".join(map(str, epochs))
    _logger.info("max_epochs %d: the median of the best epochs of %s (%s)", chosen, count(len(epochs), "run"), shown)
    return chosen


def _best_epoch(run: Path) -> int:
    path = run / "model.pt" if run.is_dir() and (run / "model.pt").is_file() else model_file(run)
    epoch = load_checkpoint(path).get("training", {}).get("epoch")
    if isinstance(epoch, bool) or not isinstance(epoch, int) or epoch < 1:
        raise InputError(f"run {show_path(run)} of epochs_of must state its best epoch, got {epoch!r}; leave it out")
    return epoch
