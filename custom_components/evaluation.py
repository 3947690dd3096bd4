"""Scores of an evaluation run, gathered while it segments: a row a bone, a row a slice, and a summary."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Engine, Events
from monai.utils.enums import CommonKeys as Keys

from custom_components.checkpoints import TrainedModel
from custom_components.domains import PLANES, Domain
from custom_components.engines import failure_of
from custom_components.errors import InputError
from custom_components.files import write_atomically
from custom_components.metrics import score_case, slice_dice
from custom_components.scores import format_summary, score_rows, write_scores_csv
from custom_components.splits import Split
from custom_components.volumes import read_label, to_canonical

__all__ = ["ScoreHandler", "check_evaluation"]

_logger = logging.getLogger(__name__)


class ScoreHandler:
    """Score each segmented case against its reference on the source grid, a bone at a time, in millimetres.

    At the end writes `metrics.csv` (columns case, subject, domain, label, dice, assd_mm, mssd_mm, status),
    `metrics_before.csv` (the same of the prediction before post-processing, if the item holds it as `pred_before`),
    `slices.csv` (2D Dice and areas of every bone and slice of the acquisition plane, counted in RAS+ order) and
    `summary.txt` (means with n and misses), and logs the summary.

    Args:
        output_dir: where the files go.
        model: the trained model.
        border: surface convention at the edge of the field of view; see `surface_distances.surface_voxels`.
    """

    def __init__(self, output_dir: str | Path, *, model: TrainedModel, border: str = "inside") -> None:
        self.output_dir = Path(output_dir)
        self.model = model
        self.border = border
        self.rows: list[dict[str, Any]] = []
        self._rows_before: list[dict[str, Any]] = []
        self._slices: list[dict[str, Any]] = []

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
        exam = {"case": item["case"], "subject": item["subject"], "domain": domain.name}
        how = {"domain": domain, "spacing_mm": source.spacing_mm, "border": self.border}
        self.rows += score_rows(score_case(prediction, reference, **how), **exam)
        if "pred_before" in item:
            before = np.asarray(item["pred_before"])[0]
            self._rows_before += score_rows(score_case(before, reference, **how), **exam)
        masks = [to_canonical(classes, source.affine) for classes in (prediction, reference)]
        self._slices += [exam | row for row in _slice_rows(*masks, domain=domain)]

    def _report(self, engine: Any) -> None:
        if not self.rows:
            return
        write_scores_csv(self.output_dir / "metrics.csv", self.rows)
        if self._rows_before:
            write_scores_csv(self.output_dir / "metrics_before.csv", self._rows_before)
        text = io.StringIO(newline="")
        table = csv.DictWriter(text, list(self._slices[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(self._slices)
        write_atomically(self.output_dir / "slices.csv", text.getvalue().encode())
        summary = format_summary(self.rows, border=self.border)
        write_atomically(self.output_dir / "summary.txt", (summary + "\n").encode())
        _logger.info("%d cases\n%s", len({(row["domain"], row["case"]) for row in self.rows}), summary)


def _slice_rows(prediction: np.ndarray, reference: np.ndarray, *, domain: Domain) -> Iterator[dict[str, Any]]:
    for index, label in enumerate(domain.labels.values(), start=1):
        scores = slice_dice(prediction == index, reference == index, slice_axis=PLANES[domain.plane])
        for number, (dice, *areas) in enumerate(zip(*scores, strict=True)):
            yield {
                "label": label,
                "slice": number,
                "dice": f"{dice:.9g}",
                "prediction_area": int(areas[0]),
                "reference_area": int(areas[1]),
            }


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
