"""Test-time augmentation: a network's mean answer to several views of each slice."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from custom_components.errors import InputError
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

VIEWS: dict[str, tuple[float, float]] = {
    "flip-rows": (-1.0, 1.0),
    "flip-columns": (1.0, -1.0),
    "smaller": (0.85, 0.85),
    "larger": (1.15, 1.15),
}
"""Name of a view -> factors of the size along rows and columns, about the centre; a negative one mirrors."""


def check_views(views: Sequence[str]) -> None:
    """Raise an `InputError` that names an unknown view."""
    unknown = [view for view in views if view not in VIEWS]
    if isinstance(views, str) or unknown:
        raise InputError(f"test_time_augmentation must be a list of {', '.join(VIEWS)}, got {unknown or views!r}")


def answer_views(
    network: Callable[[Tensor], Tensor], images: Tensor, *, views: Sequence[str], fixed_channels: int = 0
) -> Tensor:
    """Logarithm of the mean probability over the images as they are and their views, brought back to their place.

    Parts of a slice that a view does not show (the border of a larger one) are left to the others; outside of it is
    air, the slice's minimum. The last `fixed_channels` channels of the images, which state positions, stay.

    Shape:
        images (N, C, rows, columns) to log-probabilities (N, channels, rows, columns).
    """
    total = network(images).softmax(dim=1)
    weight = torch.ones_like(total[:, :1])
    moving = images[:, : images.shape[1] - fixed_channels]
    air = moving.amin(dim=(1, 2, 3), keepdim=True)
    for view in views:
        rows, columns = VIEWS[view]
        there, back = (_grid(images, *factors) for factors in ((1 / rows, 1 / columns), (rows, columns)))
        seen = grid_sample(moving - air, there, padding_mode="zeros", align_corners=False) + air
        answer = network(torch.cat([seen, images[:, moving.shape[1] :]], dim=1)).softmax(dim=1)
        total = total + grid_sample(answer, back, padding_mode="zeros", align_corners=False)
        weight = weight + grid_sample(torch.ones_like(weight), back, padding_mode="zeros", align_corners=False)
    return (total / weight).clamp(min=1e-12).log()


def _grid(images: Tensor, rows: float, columns: float) -> Tensor:
    theta = images.new_tensor([[columns, 0, 0], [0, rows, 0]]).expand(len(images), 2, 3)
    return affine_grid(theta, [len(images), 1, *images.shape[2:]], align_corners=False)
