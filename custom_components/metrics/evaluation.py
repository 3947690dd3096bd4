"""Scores of an evaluation run, gathered while it segments: a row a bone, a row a slice, and a summary."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from custom_components.data.cases import as_case
from custom_components.data.splits import ALL, Split
from custom_components.domains import PLANES, Domain
from custom_components.errors import InputError, failure_of, show_path
from custom_components.io.geometry import to_canonical
from custom_components.io.records import read_record
from custom_components.io.volumes import read_label
from custom_components.metrics.bone_scores import dice_as_one, score_predictions, slice_dice
from custom_components.metrics.score_summaries import format_summary, write_summary_csv
from custom_components.metrics.score_tables import score_rows, write_scores_csv
from custom_components.metrics.surface_distances import check_border
from custom_components.models.checkpoints import check_domains
from custom_components.models.ensembles import weights_digest
from custom_components.models.seen import seen_by
from custom_components.models.trained_model import TrainedModel
from custom_components.quality.flags import FlagRules
from custom_components.quality.tables import QUALITY_COLUMNS, QUALITY_TABLE, quality_rows
from custom_components.system.files import write_atomically, write_csv
from custom_components.system.terminal import attach_bar, count, log_lines
from ignite.engine import Engine, Events
from monai.utils.enums import CommonKeys as Keys

_logger = logging.getLogger(__name__)
WEIGHTS = "scored_weights.txt"
"""File of an evaluation with the digest of the weights that were scored, see `ensembles.weights_digest`."""
_FILES = ("metrics.csv", "metrics_before.csv", "slices.csv", "summary.csv", "summary.txt", QUALITY_TABLE, WEIGHTS)


class ScoreHandler:
    """Score each segmented case against its reference on the source grid, a bone at a time, in millimetres.

    At the end writes

    - `metrics.csv`: the scores, the conventions of their distances (`score_tables.COLUMNS`), and how the bones were
      named (`score_tables.NAMING`),
    - `metrics_before.csv`: the same before post-processing, if the item holds that prediction as `pred_before`,
    - `slices.csv`: 2D Dice and areas of every bone and slice of the acquisition plane, counted in RAS+ order,
    - `quality.csv`: quality measures of each bone and its Dice, for items whose `saved` label map has a record,
    - `summary.csv` and `summary.txt`: means with n, misses, false finds and the cases that could not be scored,
    - `scored_weights.txt`: which weights were scored.

    It also logs the summary. Tables of an earlier run are removed at the start, so no number outlives its run. When no
    case could be scored, only the summaries are written, and say so.

    Args:
        output_dir: where the files go.
        model: the trained model.
        border: surface convention at the edge of the field of view; see `surface_distances.surface_voxels`.
        rules: when a bone is flagged.

    Raises:
        InputError: `border` is unknown.
    """

    def __init__(
        self, output_dir: str | Path, *, model: TrainedModel, border: str = "inside", rules: FlagRules | None = None
    ) -> None:
        check_border(border)
        self.output_dir = Path(output_dir)
        self.model = model
        self.border = border
        self.rules = rules or FlagRules()
        self._reset()

    def _reset(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self._rows_before: list[dict[str, Any]] = []
        self._slices: list[dict[str, Any]] = []
        self._quality: list[dict[str, Any]] = []
        self._failures: list[tuple[str, str]] = []

    def attach(self, engine: Engine) -> None:
        """Register with a `VolumeEvaluator`."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._score)
        attach_bar(engine, "scans")
        engine.add_event_handler(Events.COMPLETED, self._report)

    def _start(self) -> None:
        self._reset()
        for name in _FILES:
            (self.output_dir / name).unlink(missing_ok=True)

    def _score(self, engine: Any) -> None:
        item = engine.state.output
        if "failure" not in item:
            try:
                self._add(item)
            except Exception as error:
                engine.record_failure(item, failure_of(error))
        if "failure" in item:
            self._failures.append((item["domain"], item["case"]))

    def _add(self, item: dict[str, Any]) -> None:
        domain, source = self.model.domain(item["domain"]), item["source"]
        label = read_label(item["reference"], like=source)
        reference = domain.encode(label.array, source=show_path(item["reference"]))
        prediction = domain.encode(np.asarray(item[Keys.PRED])[0], source="the prediction")
        exam = {"case": item["case"], "subject": item["subject"], "domain": domain.name}
        how: dict[str, Any] = {"spacing_mm": source.spacing_mm, "border": self.border}

        predictions = [prediction]
        if "pred_before" in item:
            predictions.append(np.asarray(item["pred_before"])[0])
        scores = score_predictions(predictions, reference, domain=domain, **how)
        after, *before = (
            score_rows(each, **exam, **how, dice_as_one=dice_as_one(found, reference))
            for each, found in zip(scores, predictions, strict=True)
        )
        masks = [to_canonical(classes, source.affine) for classes in (prediction, reference)]
        slices = [exam | row for row in _slice_rows(*masks, domain=domain)]
        record = read_record(item["saved"]) if "saved" in item else {}
        dice = {row["label"]: f"{row['dice']:.6g}" for row in after}
        quality = quality_rows(record, case=item["case"], rules=self.rules)
        # Only now: a case that fails half-way leaves nothing behind.
        self.rows += after
        self._rows_before += before[0] if before else []
        self._slices += slices
        self._quality += [row | {"dice": dice[row["bone"]]} for row in quality]

    def _report(self, engine: Any) -> None:
        if self.rows:
            write_scores_csv(self.output_dir / "metrics.csv", self.rows)
            write_csv(self.output_dir / "slices.csv", list(self._slices[0]), self._slices)
            write_atomically(self.output_dir / WEIGHTS, f"{weights_digest(self.model)}\n".encode())
        if self._rows_before:
            write_scores_csv(self.output_dir / "metrics_before.csv", self._rows_before)
        if self._quality:
            write_csv(self.output_dir / QUALITY_TABLE, (*QUALITY_COLUMNS, "dice"), self._quality)
        how: dict[str, Any] = {"border": self.border, "failures": self._failures}
        write_summary_csv(self.output_dir / "summary.csv", self.rows, **how)
        summary = format_summary(self.rows, **how)
        write_atomically(self.output_dir / "summary.txt", (summary + "\n").encode())
        scored = len({(row["domain"], row["case"]) for row in self.rows})
        log_lines(_logger, [f"{count(scored, 'case')} scored", *summary.split("\n")])


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


def check_evaluation(
    *, model: TrainedModel, split: Split, domains: Sequence[Domain], tested: Sequence[Any] | None = None
) -> None:
    """Refuse data sets the checkpoint does not fit, and a case of somebody whom it, or its start, has seen.

    Args:
        model: to be scored.
        split: of the evaluation.
        domains: of its data sets.
        tested: cases to score, or items as `as_case` takes them; those that the split tests if None.

    A model that does not name all its subjects, as a packaged one, is only warned of.

    Raises:
        InputError: naming the domain, or the subject and the fold the checkpoint was trained with.
    """
    check_domains(model, domains=domains)
    seen = seen_by(model.training)
    if not seen.complete:
        _logger.warning("this model does not say whom it was trained on: test only people that it has not seen")
    only = domains[0].name if len(domains) == 1 else None
    for case in (as_case(item, domain=only) for item in (split.testing if tested is None else tested)):
        if (case.domain, case.subject) in seen.everybody:
            fold = model.training.get("split", {}).get("fold")
            own_fold = f"give the --fold ({fold}) and --num_folds of its training"
            raise InputError(
                f"test subject {case.subject} ({case.domain}) must be unseen by the checkpoint, but it was trained or "
                f"validated on; {own_fold if fold not in (None, ALL) else 'give a manifest of other people as tested'}"
            )
