"""Test-time augmentation: a network's mean answer to several views of each slice."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from custom_components.data.sides import mirrored_classes, mirrored_names
from custom_components.errors import InputError
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

if TYPE_CHECKING:
    from custom_components.models.trained_model import TrainedModel

VIEWS: dict[str, tuple[float, float, float]] = {
    "flip-rows": (-1.0, 1.0, 0.0),
    "flip-columns": (1.0, -1.0, 0.0),
    "smaller": (0.85, 0.85, 0.0),
    "larger": (1.15, 1.15, 0.0),
    "rotate-left": (1.0, 1.0, 5.0),
    "rotate-right": (1.0, 1.0, -5.0),
}
"""Name of a view -> factors of the size along rows and columns, about the centre, where a negative one mirrors; and an
angle in degrees."""

SAFE = "auto"
"""Value of `test_time_augmentation` that takes small rotations, and the mirror of left and right where that is safe."""

_SIDES = "flip-rows"  # rows run to the right in coronal and axial slices, see `preprocessing.stack_slices`
_ROTATIONS = ("rotate-left", "rotate-right")


def check_views(views: Sequence[str] | str) -> None:
    """Raise an `InputError` that names an unknown view."""
    if views == SAFE:
        return
    unknown = views if isinstance(views, str) else [view for view in views if view not in VIEWS]
    if unknown:
        rule = f"test_time_augmentation must be {SAFE} or a list of {', '.join(VIEWS)}"
        raise InputError(f"{rule}, got {unknown!r}; correct it")


def choose_views(
    views: Sequence[str] | str, *, model: TrainedModel | None, domain: str | None
) -> dict[str, list[int] | None]:
    """The views of a domain's slices, each with the output channel that a channel's answer belongs to, None for itself.

    A mirror of the patient's left and right exchanges the channels of paired labels (`sides.mirrored_names`). `SAFE`
    has it only where slices show both sides (coronal and axial), every label with a side has a partner, and the model
    was trained on mirrored slices.

    Args:
        views: names, or `SAFE`.
        model: the trained model; without it no label is known to have a side.
        domain: of the slices.

    Raises:
        InputError: a mirror of left and right is asked for by name, and a label has no partner.
    """
    names = [*_ROTATIONS] if views == SAFE else list(views)
    if model is None:
        return dict.fromkeys(names)
    own = model.domain(domain)
    labels = list(own.labels.values())
    classes = mirrored_classes(labels)
    crosses = own.plane != "sagittal"
    if views == SAFE and crosses and classes is not None and _was_mirrored(model):
        names.insert(0, _SIDES)
    if crosses and classes is None and _SIDES in names:
        alone = ", ".join(mirrored_names(labels)[1])
        raise InputError(
            f"test_time_augmentation must not mirror left and right of {own.name}, got {_SIDES}: these labels have no "
            f"other side: {alone}; leave it out"
        )
    chosen: dict[str, list[int] | None] = dict.fromkeys(names)
    if crosses and _SIDES in names and classes is not None and classes != sorted(classes):
        channels = model.channels(own.name)
        exchange = list(range(max(channel for each in model.domains for channel in model.channels(each.name)) + 1))
        exchange = exchange if model.network["head"] == "shared" else exchange[: own.num_classes]
        for channel, mirrored in zip(channels, classes, strict=True):
            exchange[channel] = channels[mirrored]
        chosen[_SIDES] = exchange
    return chosen


def _was_mirrored(model: TrainedModel) -> bool:
    axes = [each.training.get("flip_axes", "sides") for each in (model.members or (model,))]
    return all(each == "sides" or 0 in each for each in axes)


def answer_views(
    network: Callable[[Tensor], Tensor],
    images: Tensor,
    *,
    views: Sequence[str] | Mapping[str, Sequence[int] | None],
    fixed_channels: int = 0,
    pixel_mm: Sequence[float] = (1.0, 1.0),
) -> Tensor:
    """Logarithm of the mean probability over the images as they are and their views, brought back to their place.

    Parts of a slice that a view does not show (the border of a larger one) are left to the others; outside of it is
    air, the slice's minimum. The last `fixed_channels` channels of the images, which state positions, stay. `views` may
    say which channel the answer of each belongs to, see `choose_views`; `pixel_mm` is the size of a pixel along rows
    and columns.

    Shape:
        images (N, C, rows, columns) to log-probabilities (N, channels, rows, columns).
    """
    total = network(images).softmax(dim=1)
    weight = torch.ones_like(total[:, :1])
    moving = images[:, : images.shape[1] - fixed_channels]
    air = moving.amin(dim=(1, 2, 3), keepdim=True)
    for view, exchange in (views if isinstance(views, Mapping) else dict.fromkeys(views)).items():
        there = _matrix(view, size=images.shape[2:], pixel_mm=pixel_mm)
        to, back = (_grid(images, matrix) for matrix in (there, np.linalg.inv(there)))
        seen = grid_sample(moving - air, to, padding_mode="zeros", align_corners=False) + air
        answer = network(torch.cat([seen, images[:, moving.shape[1] :]], dim=1)).softmax(dim=1)
        answer = answer if exchange is None else answer[:, list(exchange)]
        total = total + grid_sample(answer, back, padding_mode="zeros", align_corners=False)
        weight = weight + grid_sample(torch.ones_like(weight), back, padding_mode="zeros", align_corners=False)
    return (total / weight).clamp(min=1e-12).log()


def _matrix(view: str, *, size: Sequence[int], pixel_mm: Sequence[float]) -> np.ndarray:
    """Matrix (2, 2) from coordinates of the view to those of the slice, both in [-1, 1], ordered (columns, rows)."""
    rows, columns, degrees = VIEWS[view]
    half_mm = np.array([size[1] * pixel_mm[1], size[0] * pixel_mm[0]])
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    rigid = np.array([[cosine, -sine], [sine, cosine]]) @ np.diag([1 / columns, 1 / rows])
    return rigid * half_mm / half_mm[:, None]


def _grid(images: Tensor, matrix: np.ndarray) -> Tensor:
    theta = images.new_tensor(np.column_stack([matrix, [0, 0]])).expand(len(images), 2, 3)
    return affine_grid(theta, [len(images), 1, *images.shape[2:]], align_corners=False)
