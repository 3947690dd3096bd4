"""The paper's augmentation (flip, translation, rotation) in one resampling, rigid in millimetres."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from custom_components.errors import InputError
from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable
from torch import Tensor
from torch.nn.functional import grid_sample


class RandFlipRotateTranslated(Randomizable, MapTransform):
    """Randomly flip, rotate and translate a slice and its label together, resampling once.

    The slice is rotated (a positive angle as `torch.rot90` with k = 1), then flipped, then shifted (positive towards
    higher indices). Resized pixels need not be square; the rotation is rigid in millimetres, by the item's
    `pixel_spacing`. What enters from outside the field of view is air (the slice's minimum) and background.

    Args:
        keys: the image, then the label.
        flip_axes: in-plane axes (0 rows, 1 columns) that are mirrored with probability 1/2 each; empty for label sets
            that mirroring confuses.
        max_translation: largest shift along either axis, as a fraction of the slice.
        max_rotation: largest rotation either way, in degrees.

    Shape:
        image (1, H, W) float, label (1, H, W) integer; `pixel_spacing` (2,) in mm (rows, columns) in the same item.

    Source:
        Boutillon et al. 2021, section 3.2: random flip, translation +-25 %, rotation +-45 degrees, both directions.
    """

    def __init__(
        self,
        keys: KeysCollection = ("image", "label"),
        *,
        flip_axes: Sequence[int] = (0, 1),
        max_translation: float = 0.25,
        max_rotation: float = 45.0,
    ) -> None:
        super().__init__(keys)
        if not set(flip_axes) <= {0, 1}:
            raise InputError(f"flip_axes must be within [0, 1] (rows, columns), got {list(flip_axes)}")
        if not 0 <= max_translation <= 1:
            raise InputError(f"max_translation must be a fraction from 0 to 1, got {max_translation}")
        if not 0 <= max_rotation <= 180:
            raise InputError(f"max_rotation must be from 0 to 180 degrees, got {max_rotation}")
        self.flip_axes = tuple(flip_axes)
        self.max_translation = max_translation
        self.max_rotation = max_rotation

    def randomize(self, data: Any = None) -> tuple[float, np.ndarray, np.ndarray]:
        """Draw an angle (radians), a shift (rows, columns as fractions) and a sign for each axis."""
        angle = np.deg2rad(self.R.uniform(-self.max_rotation, self.max_rotation))
        shift = self.R.uniform(-self.max_translation, self.max_translation, size=2)
        signs = np.where(self.R.uniform(size=2) < 0.5, -1.0, 1.0)
        signs[[axis for axis in range(2) if axis not in self.flip_axes]] = 1.0
        return float(angle), shift, signs

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Transform one item; see the class."""
        item = dict(data)
        image_key, label_key = self.keys
        image, label = item[image_key], item[label_key]
        theta = _sampling_matrix(*self.randomize(), np.asarray(item["pixel_spacing"]), image.shape[-2:])
        grid = _sampling_grid(theta, image.shape[-2:])
        air = image.amin()
        moved = grid_sample((image - air)[None], grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        item[image_key] = moved[0].add_(air)
        moved = grid_sample(label[None].float(), grid, mode="nearest", padding_mode="zeros", align_corners=False)
        item[label_key] = moved[0].to(label.dtype)
        return item


def _sampling_matrix(
    angle: float, shift: np.ndarray, signs: np.ndarray, spacing_mm: np.ndarray, shape: Sequence[int]
) -> Tensor:
    """Matrix (2, 3) from output to input coordinates in [-1, 1], ordered (columns, rows) as `affine_grid` wants."""
    half_extent_mm = (np.asarray(shape) * spacing_mm / 2)[::-1]
    cosine, sine = np.cos(angle), np.sin(angle)
    rigid = np.array([[cosine, -sine], [sine, cosine]]) @ np.diag(signs[::-1])
    linear = np.diag(1 / half_extent_mm) @ rigid @ np.diag(half_extent_mm)
    offset = linear @ (-2 * shift[::-1])
    return torch.from_numpy(np.column_stack([linear, offset])).float()


def _sampling_grid(theta: Tensor, shape: Sequence[int]) -> Tensor:
    """What `affine_grid` gives, up to rounding, in a matrix product without its strides: far faster."""
    rows, columns = shape
    return (theta @ _pixel_centres(rows, columns)).view(1, 2, rows, columns).permute(0, 2, 3, 1)


@lru_cache(maxsize=4)
def _pixel_centres(rows: int, columns: int) -> Tensor:
    """Homogeneous coordinates (column, row, 1) of all pixels, row by row, in [-1, 1], shape (3, rows * columns)."""
    y, x = (torch.linspace(-1, 1, count) * (count - 1) / count for count in (rows, columns))
    return torch.stack([x.expand(rows, -1), y[:, None].expand(-1, columns), torch.ones(rows, columns)]).view(3, -1)
