"""Curves and pictures of a training in TensorBoard and in MLflow."""

from __future__ import annotations

import hashlib
import logging
import math
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from custom_components.data.datasets import SliceDataset
from custom_components.distributed import first_rank_only
from custom_components.domains import PLANES, Domain, output_channels
from custom_components.io.pictures import draw_plane, grey_limits
from custom_components.io.planes import plane_edges
from custom_components.workflows.monai_workarounds import as_list, find_mlflow_handlers
from ignite.engine import Engine, Events
from monai.engines import SupervisedEvaluator
from monai.handlers import TensorBoardStatsHandler
from monai.utils.enums import CommonKeys as Keys

_LOG = logging.getLogger(__name__)
_NUM_SLICES = 3  # of a domain
_LEAST = 256  # pixels of the longer side of a picture


def name_run(output_dir: str | Path) -> str:
    """Name a run in MLflow after its folder, with six letters that tell apart folders of one name.

    A resumed run has the same name, so MONAI's handler continues the same record.

    Example:
        >>> name_run("runs/x")[:2], len(name_run("runs/x"))
        ('x-', 8)
    """
    path = Path(output_dir).resolve()
    return f"{path.name}-{hashlib.blake2b(os.fsencode(path), digest_size=3).hexdigest()}"


@dataclass(eq=False)
class Tracking:
    """Draw curves with MONAI's TensorBoard handler, and pictures of some validation slices.

    The curves are the metrics of the trainer, which `EpochLog` sets, and those of the validation. MONAI's own
    `--tracking mlflow` adds an `MLFlowHandler` for the same metrics; pictures go to it as well. They show the same
    slices at each validation: of the first validation case of each domain those at a quarter, half and three quarters
    of the slices with bone. The prediction, before post-processing, is in colour, the reference in white. Of several
    processes only the first one tracks. TensorBoard's files, unless switched off, go to `tensorboard/` in `output_dir`.
    Evaluator and data set are those of the validation, the head, "domain" or "shared", is the network's.
    """

    output_dir: Path
    evaluator: SupervisedEvaluator
    dataset: SliceDataset
    domains: Sequence[Domain]
    head: str = "domain"
    tensorboard: bool = True

    def __post_init__(self) -> None:
        self._shown = _choose_slices(self.dataset)
        self._channels = output_channels([domain.num_classes for domain in self.domains], self.head)
        self._drawn: dict[tuple[int, int], np.ndarray] = {}
        self._make_writer: Callable[..., Any] | None = None
        self._writer: Any = None  # a `SummaryWriter`
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # MLflow reports its use to its makers
        if "mlflow" in sys.modules:
            from mlflow.telemetry import set_telemetry_client

            set_telemetry_client()

    def attach(self, engine: Engine) -> None:
        """Register with a trainer, after the log."""
        engine.add_event_handler(Events.STARTED, self._open)
        engine.add_event_handler(Events.ITERATION_COMPLETED, as_list)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._add_curves)
        engine.add_event_handler(Events.COMPLETED, self._close)
        self.evaluator.add_event_handler(Events.ITERATION_COMPLETED, self._draw)
        self.evaluator.add_event_handler(Events.EPOCH_COMPLETED, self._add_curves)
        self.evaluator.add_event_handler(Events.EPOCH_COMPLETED, self._add_pictures, engine)

    @first_rank_only
    def _open(self) -> None:
        if self.tensorboard:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                _LOG.warning("no curves in TensorBoard, which is not installed: pip install 'multijoint[tracking]'")
            else:
                self._make_writer = partial(SummaryWriter, str(Path(self.output_dir) / "tensorboard"))

    def _writer_from(self, epoch: int) -> Any:
        """The writer, if there is one; what an earlier process drew of its first epoch and later is drawn anew."""
        if self._writer is None and self._make_writer is not None:
            self._writer = self._make_writer(purge_step=epoch)
        return self._writer

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()

    def _add_curves(self, engine: Engine) -> None:
        if (writer := self._writer_from(engine.state.epoch)) is not None:
            TensorBoardStatsHandler(writer, iteration_log=False).epoch_completed(engine)

    def _draw(self, evaluator: Engine) -> None:
        batch, logits = evaluator.state.batch, evaluator.state.output[Keys.PRED][0]
        images, labels, logits = (_rows(each) for each in (batch[Keys.IMAGE], batch[Keys.LABEL], logits))
        for row, place in enumerate(zip(batch["case"].tolist(), batch["slice"].tolist(), strict=True)):
            if place in self._shown:
                domain = self._shown[place]
                classes = _classes(logits[row], self._channels[domain])
                image, label = images[row][self.dataset.preprocessing.context], labels[row][0]
                slices = (each.cpu().numpy() for each in (image.float(), classes, label))
                self._drawn[place] = draw_slice(*slices, plane=self.domains[domain].plane)

    def _add_pictures(self, evaluator: Engine, trainer: Engine) -> None:
        epoch = evaluator.state.epoch
        for index, domain in enumerate(self.domains):
            places = [place for place, owner in self._shown.items() if owner == index]
            if drawn := [self._drawn[place] for place in places if place in self._drawn]:
                name, picture = f"validation/{domain.name}", np.concatenate(drawn, axis=1)
                if (writer := self._writer_from(epoch)) is not None:
                    writer.add_image(name, picture, epoch, dataformats="HWC")
                for handler in find_mlflow_handlers(trainer):
                    handler.client.log_image(handler.cur_run.info.run_id, picture, key=name, step=epoch)
        self._drawn.clear()


def draw_slice(image: np.ndarray, prediction: np.ndarray, reference: np.ndarray, *, plane: str) -> np.ndarray:
    """Draw a slice with the outline of the reference in white and, over it, each predicted bone in its colour.

    Intensities may have any range; in prediction and reference, which hold class indices, 0 is background. As in every
    picture, the patient's right, or front, is at the left; letters at the edges say so.

    Shape:
        all (H, W), rows along the first axis of the plane in RAS+ order; the result (rows, columns, 3), uint8, with the
        first axis to the left and the second upwards, a whole number of pixels a voxel, 256 or more along the longer
        side.

    Example:
        >>> empty = np.zeros((64, 32))
        >>> draw_slice(empty, empty, empty, plane="axial").shape
        (128, 256, 3)
    """
    scale = math.ceil(_LEAST / max(image.shape))
    grey, classes, truth = (each.T[::-1, ::-1] for each in (image, prediction, reference))
    size = (image.shape[0] * scale, image.shape[1] * scale)
    edges = plane_edges(PLANES[plane])
    return np.asarray(draw_plane(grey, classes, size=size, limits=grey_limits(image), reference=truth, edges=edges))


def _rows(batch: torch.Tensor | Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Slices of a batch, which is a list where domains have their own sizes; see `batches.collate_slices`."""
    return list(batch) if isinstance(batch, torch.Tensor) else [row for own in batch for row in own]


def _choose_slices(dataset: SliceDataset) -> dict[tuple[int, int], int]:
    """Domain of each slice to draw, by (case, slice)."""
    shown: dict[tuple[int, int], int] = {}
    first = {domain: case for case, domain in reversed(list(enumerate(dataset.case_domains)))}
    for domain, case in sorted(first.items()):
        slices = dataset.slices_with_bone(case)
        for part in range(1, _NUM_SLICES + 1):
            if slices:
                shown[case, slices[part * len(slices) // (_NUM_SLICES + 1)]] = domain
    return shown


def _classes(logits: torch.Tensor, own: Sequence[int]) -> torch.Tensor:
    """Class indices of a domain from the likeliest channel; other domains' channels are background."""
    channel = logits.argmax(dim=0)
    classes = torch.zeros_like(channel)
    for index, wanted in enumerate(own):
        classes[channel == wanted] = index
    return classes
