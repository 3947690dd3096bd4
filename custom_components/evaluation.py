"""Scores of an evaluation run, gathered while it segments: `metrics.csv` and a summary."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Engine, Events
from monai.utils.enums import CommonKeys as Keys

from custom_components.checkpoints import TrainedModel
from custom_components.domains import Domain
from custom_components.engines import failure_of
from custom_components.errors import InputError
from custom_components.files import write_atomically
from custom_components.metrics import score_case
from custom_components.scores import format_summary, score_rows, write_scores_csv
from custom_components.splits import Split
from custom_components.volumes import read_label

__all__ = ["ScoreHandler", "check_evaluation"]

_logger = logging.getLogger(__name__)


class ScoreHandler:
    """Score each segmented case against its reference on the source grid, a bone at a time, in millimetres.

    At the end writes `metrics.csv` (columns case, subject, domain, label, dice, assd_mm, mssd_mm, status) and
    `summary.txt` (means with n and misses), and logs the summary.

    Args:
        output_dir: where the two files go.
        model: the trained model.
        border: surface convention at the edge of the field of view; see `surface_distances.surface_voxels`.
    """

    def __init__(self, output_dir: str | Path, *, model: TrainedModel, border: str = "inside") -> None:
        self.output_dir = Path(output_dir)
        self.model = model
        self.border = border
        self.rows: list[dict[str, Any]] = []

    def attach(self, engine: Engine) -> None:
        """Register with a `VolumeEvaluator`."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._score)
        engine.add_event_handler(Events.COMPLETED, self._report)

    def _score(self, engine: Any) -> None:
        item = engine.state.output
        if "failure" in item:
            return
        domain, source = self.model.domain(item["domain"]), item["source"]
        try:
            label = read_label(item["reference"], like=source)
            reference = domain.encode(label.array, source=str(item["reference"]))
        except InputError as error:
            engine.record_failure(item, failure_of(error))
            return
        prediction = domain.encode(np.asarray(item[Keys.PRED])[0], source="the prediction")
        scores = score_case(prediction, reference, domain=domain, spacing_mm=source.spacing_mm, border=self.border)
        self.rows += score_rows(scores, case=item["case"], subject=item["subject"], domain=domain.name)

    def _report(self, engine: Any) -> None:
        if not self.rows:
            return
        write_scores_csv(self.output_dir / "metrics.csv", self.rows)
        summary = format_summary(self.rows, border=self.border)
        write_atomically(self.output_dir / "summary.txt", (summary + "\n").encode())
        _logger.info("%d cases\n%s", len({(row["domain"], row["case"]) for row in self.rows}), summary)


def check_evaluation(*, model: TrainedModel, split: Split, domains: Sequence[Domain]) -> None:
    """Refuse data sets the checkpoint does not fit, and a test case that it was trained or validated on.

    Raises:
        InputError: naming the domain, or the subject and the fold the checkpoint was trained with.
    """
    for domain in domains:
        known = model.domain(domain.name)
        if (dict(known.labels), known.plane) != (dict(domain.labels), domain.plane):
            raise InputError(
                f"domain {domain.name} must have the labels and plane of the checkpoint "
                f"({dict(known.labels)}, {known.plane}), got {dict(domain.labels)}, {domain.plane}; "
                "use the manifest it was trained with"
            )
    seen = {
        (row["domain"], row["subject"]) for side in ("training", "validation") for row in model.training["split"][side]
    }
    for case in split.testing:
        if (case.domain, case.subject) in seen:
            raise InputError(
                f"test subject {case.subject} ({case.domain}) must be unseen by the checkpoint, but it was trained or "
                f"validated on; give the --fold ({model.training['split']['fold']}) and --num_folds of its training"
            )
