"""The scores of `metrics` as a MONAI metric: fed batch by batch, summarised by class with the misses counted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from custom_components.errors import InputError
from custom_components.metrics.bone_scores import STATUSES, BoneMeasures, check_classes, measure_bones
from monai.metrics import CumulativeIterationMetric
from monai.utils import convert_to_numpy

__all__ = ["BoneMetrics", "ClassSummary"]

_PRESENCE = {status: presence for presence, status in STATUSES.items()}


@dataclass(frozen=True)
class ClassSummary:
    """Means over the cases of one class, with their counts; a mean over no case is NaN.

    Args:
        dice: mean over the `n + false_finds` cases that have the bone anywhere; missed and false finds count as 0.
        assd_mm: mean over the `n_distance` cases that have both surfaces, in mm.
        mssd_mm: mean over the same cases, in mm.
        n: cases whose reference has the bone.
        n_distance: cases whose distances are defined.
        missed: cases whose reference has the bone and whose prediction has not.
        false_finds: cases whose prediction has the bone and whose reference has not.
        absent: cases without the bone, not counted in any mean.
    """

    dice: float
    assd_mm: float
    mssd_mm: float
    n: int
    n_distance: int
    missed: int
    false_finds: int
    absent: int


class BoneMetrics(CumulativeIterationMetric):
    """Dice, ASSD and MSSD of each class over many cases, as a MONAI metric.

    Call it with `metric(y_pred, y, spacing=...)`, read `aggregate()`, start anew with `reset()`. Unlike MONAI's surface
    metrics it never turns a missing bone into a distance of 0 mm. MONAI's `IgniteMetricHandler` passes no spacing:
    call this one from the evaluator's own handler.

    Args:
        num_classes: number of classes, background included.
        include_background: whether class 0 is scored too.
        border: surface convention, see `surface_distances.BORDERS`.

    Shape:
        y_pred, y: a batch (B, 1, H, W, D) of class indices or (B, num_classes, H, W, D) one-hot, or a list of such
            items without the batch axis.
        spacing: mm along each axis, one sequence for all or one for each item.
        result of a call: (B, C, 3): Dice, ASSD (mm) and MSSD (mm) of each scored class, NaN where undefined.

    Raises:
        InputError: shapes, values or spacing are unusable, or `aggregate` is called before any case.

    Example:
        >>> metric = BoneMetrics(num_classes=2)
        >>> reference = torch.zeros(1, 1, 4, 4, 4)
        >>> reference[..., 1:3, 1:3, 1:3] = 1
        >>> metric(reference, reference, spacing=(1.0, 1.0, 1.0))
        tensor([[[1., 0., 0.]]])
        >>> metric.aggregate()[1].n
        1
    """

    def __init__(self, num_classes: int, *, include_background: bool = False, border: str = "inside") -> None:
        super().__init__()
        self.num_classes = num_classes
        self.border = border
        self.classes = range(0 if include_background else 1, num_classes)

    def __call__(self, y_pred: Any, y: Any = None, **kwargs: Any) -> torch.Tensor:
        """Score a batch and keep the result for `aggregate`."""
        # The second buffer tells a missed bone from a false find.
        return super().__call__(y_pred, y, **kwargs)[0]

    def aggregate(self) -> dict[int, ClassSummary]:
        """Summarise all cases since `reset`: class index -> means and counts."""
        buffers = self.get_buffer()
        if buffers is None:
            raise InputError("metric must have scored a case before it aggregates, got none; call it on a batch first")
        scores, presence = (convert_to_numpy(buffer) for buffer in buffers)
        return {c: _summarise_class(scores[:, i], presence[:, i]) for i, c in enumerate(self.classes)}

    def _compute_tensor(self, y_pred: torch.Tensor, y: torch.Tensor | None = None, **kwargs: Any) -> list[torch.Tensor]:
        if y is None or y.shape[0] != y_pred.shape[0] or y.shape[2:] != y_pred.shape[2:]:
            raise InputError(
                f"y must have the batch and spatial shape of y_pred {tuple(y_pred.shape)}, "
                f"got {None if y is None else tuple(y.shape)}"
            )
        spacings = _check_spacings(kwargs.get("spacing"), y.shape[0], y.dim() - 2)
        predictions, references = self._values("y_pred", y_pred), self._values("y", y)
        measures = [self._measure(*each) for each in zip(predictions, references, spacings, strict=True)]
        scores = [[each[:3] for each in bones] for bones in measures]
        presence = [[_PRESENCE[each.status] for each in bones] for bones in measures]
        shape = (len(spacings), len(self.classes))
        return [
            torch.as_tensor(scores, dtype=torch.float32, device=y_pred.device).reshape(*shape, 3),
            torch.as_tensor(presence, dtype=torch.uint8, device=y_pred.device).reshape(*shape, 2),
        ]

    def _compute_list(self, y_pred: Any, y: Any = None, **kwargs: Any) -> list[torch.Tensor]:
        if y is None or len(y) != len(y_pred) or not len(y):
            raise InputError(f"y must be as many items as y_pred ({len(y_pred)}), got {0 if y is None else len(y)}")
        spacings = _check_spacings(kwargs.get("spacing"), len(y), y[0].dim() - 1)
        items = [
            self._compute_tensor(p.detach()[None], r.detach()[None], spacing=spacing)
            for p, r, spacing in zip(y_pred, y, spacings, strict=True)
        ]
        return [torch.cat(part) for part in zip(*items, strict=True)]

    def _values(self, name: str, batch: torch.Tensor) -> np.ndarray:
        values = convert_to_numpy(batch)
        if values.shape[1] == 1:
            check_classes(name, values, self.num_classes)
        elif values.shape[1] != self.num_classes or not np.isin(values, (0, 1)).all():
            raise InputError(
                f"{name} must be class indices in one channel or one-hot (0 or 1) in {self.num_classes}, got "
                f"{values.shape[1]} channels of {values.min():g}..{values.max():g}; take the argmax of logits first"
            )
        return values

    def _measure(self, prediction: np.ndarray, reference: np.ndarray, spacing: np.ndarray) -> list[BoneMeasures]:
        """Measures of the scored classes of one item (C, H, W, D)."""
        how: dict[str, Any] = {"spacing_mm": spacing.tolist(), "border": self.border}
        if len(prediction) == len(reference) == 1:
            shift = 1 - self.classes.start  # background, if it is scored, is a bone like any other
            num_classes = self.num_classes + shift
            maps = [(each[0].astype(np.min_scalar_type(num_classes)) + shift) for each in (prediction, reference)]
            return measure_bones(maps[:1], maps[1], num_classes=num_classes, **how)[0]
        return [
            measure_bones([_mask(prediction, index)], _mask(reference, index), num_classes=2, **how)[0][0]
            for index in self.classes
        ]


def _mask(values: np.ndarray, index: int) -> np.ndarray:
    """Where one item (C, H, W, D) has a class, as 0 and 1."""
    return (values[0] == index if len(values) == 1 else values[index]).astype(np.uint8)


def _summarise_class(scores: np.ndarray, presence: np.ndarray) -> ClassSummary:
    columns = [column[~np.isnan(column)] for column in scores.T.astype(np.float64)]
    dice, assd_mm, mssd_mm = (float(column.mean()) if len(column) else math.nan for column in columns)
    statuses = [STATUSES[bool(prediction), bool(reference)] for prediction, reference in presence]
    return ClassSummary(
        dice=dice,
        assd_mm=assd_mm,
        mssd_mm=mssd_mm,
        n=statuses.count("ok") + statuses.count("missed"),
        n_distance=len(columns[1]),
        missed=statuses.count("missed"),
        false_finds=statuses.count("false_find"),
        absent=statuses.count("absent"),
    )


def _check_spacings(spacing: Any, num_items: int, num_axes: int) -> np.ndarray:
    values = np.asarray([] if spacing is None else spacing, dtype=np.float64)
    if values.shape not in ((num_axes,), (num_items, num_axes)):
        raise InputError(
            f"spacing must be {num_axes} numbers (mm) or {num_items} times {num_axes}, got {spacing}; "
            "pass spacing=... with each batch"
        )
    return np.broadcast_to(values, (num_items, num_axes))
