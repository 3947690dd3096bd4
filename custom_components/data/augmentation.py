"""Augmentation of slices: flip, rotation, scaling and translation in one resampling; and the look of the image."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from custom_components.data.sides import mirrored_classes, mirrored_names
from custom_components.domains import Domain
from custom_components.errors import InputError
from custom_components.postprocessing.rows import find_row
from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable
from torch import Tensor
from torch.nn.functional import conv2d, grid_sample, interpolate, pad

_logger = logging.getLogger(__name__)


class RandFlipRotateTranslated(Randomizable, MapTransform):
    """Randomly flip, rotate, scale and translate a slice and its label together, resampling once.

    The slice is rotated (a positive angle as `torch.rot90` with k = 1), then flipped, then shifted (positive towards
    higher indices). Resized pixels need not be square; the rotation is rigid in millimetres, by the item's
    `pixel_spacing`. What enters from outside the field of view is air (the slice's minimum, of each channel of the
    image) and background. All channels, neighbouring slices among them, move alike.

    Args:
        keys: the image, then the label.
        flip_axes: axes that are mirrored with probability 1/2 each: 0 rows, 1 columns, 2 the slices, which mirrors the
            order of the neighbours; empty for label sets that mirroring confuses. "sides" is the axis from left to
            right, by the item's `side_axis`: people are nearly symmetrical, and so are the left and the right joint.
        max_translation: largest shift along either axis, as a fraction of the slice.
        max_rotation: largest rotation either way, in degrees.
        scaling: smallest and largest factor of size, about the centre; their logarithms are drawn evenly.
        keep_labels: None, or a margin as a fraction of the slice: it is moved no farther than all labels of its case,
            in any slice, stay within the slice by this margin. A row of vertebrae (see `rows.find_row`) may leave by
            its head, as scans cut it anywhere there; but it is counted from the sacrum, so its foot stays.
        domains: of the items, whose `domain` is an index into them; None if no label name tells left from right, or
            names a vertebra.
        exchange_sides: a slice mirrored from left to right has its left and right labels exchanged, see
            `sides.mirrored_names`, and is not mirrored if one of them has no partner; false mirrors all the same.

    Shape:
        image (C, H, W) float, label (1, H, W) integer; `pixel_spacing` (2,) in mm (rows, columns) in the same item. For
        "sides" and for `domains` also `side_axis`, the axis from left to right as in `flip_axes`; for `keep_labels`
        `label_box` (2, 2): first and last row, first and last column with a label, as fractions of the slice. An item
        with `mirrored` is told there whether the order of its slices was. Of an image of several channels, item
        `num_channels` says how many; each has as many slices, one channel after the other.

    Source:
        Boutillon et al. 2021, section 3.2: random flip, translation +-25 %, rotation +-45 degrees, both directions.
    """

    def __init__(
        self,
        keys: KeysCollection = ("image", "label"),
        *,
        flip_axes: Sequence[int] | str = (0, 1),
        max_translation: float = 0.25,
        max_rotation: float = 45.0,
        scaling: Sequence[float] = (1.0, 1.0),
        keep_labels: float | None = None,
        domains: Sequence[Domain] | None = None,
        exchange_sides: bool = True,
    ) -> None:
        super().__init__(keys)
        is_list = isinstance(flip_axes, Sequence) and not isinstance(flip_axes, str)
        if flip_axes != "sides" and not (is_list and set(flip_axes) <= {0, 1, 2}):
            raise InputError(f"flip_axes must be sides or within [0, 1, 2] (rows, columns, slices), got {flip_axes!r}")
        if not 0 <= max_translation <= 1:
            raise InputError(f"max_translation must be a fraction from 0 to 1, got {max_translation}")
        if not 0 <= max_rotation <= 180:
            raise InputError(f"max_rotation must be from 0 to 180 degrees, got {max_rotation}")
        is_pair = np.shape(scaling) == (2,) and not isinstance(scaling[0], str)
        if not is_pair or not 0.1 <= scaling[0] <= scaling[1] <= 10:
            raise InputError(f"scaling must be the smallest and the largest factor, 0.1 to 10, got {scaling}")
        if keep_labels is not None and not 0 <= keep_labels < 0.5:
            raise InputError(f"keep_labels must be null or a margin from 0 to less than 0.5, got {keep_labels}")
        self.flip_axes = flip_axes if isinstance(flip_axes, str) else tuple(flip_axes)
        self._axes: tuple[int, ...] = () if isinstance(self.flip_axes, str) else self.flip_axes
        self.max_translation = max_translation
        self.max_rotation = max_rotation
        self.scaling = (float(scaling[0]), float(scaling[1]))
        self.keep_labels = keep_labels
        self._counted = [
            domain.plane != "axial" and bool(find_row(list(domain.labels.values()))) for domain in domains or []
        ]
        self._exchanges = [_exchange(domain) for domain in domains or [] if exchange_sides]

    def randomize(self, data: Any = None) -> tuple[float, np.ndarray, np.ndarray, float]:
        """Draw an angle (radians), a shift (rows, columns as fractions), a sign for each axis, and a factor of size."""
        angle = np.deg2rad(self.R.uniform(-self.max_rotation, self.max_rotation))
        shift = self.R.uniform(-self.max_translation, self.max_translation, size=2)
        signs = np.where(self.R.uniform(size=2 if 2 not in self._axes else 3) < 0.5, -1.0, 1.0)
        signs[[axis for axis in range(len(signs)) if axis not in self._axes]] = 1.0
        low, high = np.log(self.scaling)
        return float(angle), shift, signs, float(np.exp(self.R.uniform(low, high) if low < high else low))

    def _keep_inside(self, shift: np.ndarray, linear: np.ndarray, box: np.ndarray, *, head: int = 0) -> np.ndarray:
        """A drawn shift, brought from its whole range evenly into the part of it that keeps the box inside.

        `head` is where along the columns the head lies that may leave: 1 at the last, -1 at the first, 0 if none may.
        """
        corners = np.array([[column, row] for row in box[0] for column in box[1]]) * 2 - 1
        moved = (corners @ np.linalg.inv(linear).T)[:, ::-1] / 2  # as fractions from the centre, (rows, columns)
        margin, most = float(self.keep_labels or 0), self.max_translation
        low = np.maximum(-0.5 + margin - moved.min(axis=0), -most)
        high = np.minimum(0.5 - margin - moved.max(axis=0), most)
        if head:
            (high if head > 0 else low)[1] = head * most
        middle = np.clip((low + high) / 2, -most, most)
        low, high = np.where(low <= high, low, middle), np.where(low <= high, high, middle)
        return low + (shift + most) / (2 * most) * (high - low) if most else shift

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Transform one item; see the class."""
        item = dict(data)
        image_key, label_key = self.keys
        image, label = item[image_key], item[label_key]
        channels = image.chunk(item.get("num_channels", 1))
        if isinstance(self.flip_axes, str):
            self._axes = (int(item["side_axis"]),)
        angle, shift, signs, scale = self.randomize()
        if self._exchanges and item["side_axis"] < len(signs) and signs[item["side_axis"]] < 0:
            exchange = self._exchanges[item["domain"]]
            if exchange is None:
                signs[item["side_axis"]] = 1.0
            elif item["side_axis"] < 2 or len(channels[0]) > 1:  # one slice alone shows no side across it
                label = exchange[label.long()].to(label.dtype)
        if len(signs) == 3 and signs[2] < 0:
            image = torch.cat([own.flip(0) for own in channels])
            if "mirrored" in item:
                item["mirrored"] = True
        linear = _linear_part(angle, signs[:2], scale, np.asarray(item["pixel_spacing"]), image.shape[-2:])
        if self.keep_labels is not None:
            head = int(signs[1]) if self._counted and self._counted[item["domain"]] else 0
            shift = self._keep_inside(shift, linear, np.asarray(item["label_box"]), head=head)
        theta = _sampling_matrix(linear, shift)
        grid = _sampling_grid(theta, image.shape[-2:])
        air = torch.cat([own.amin().expand(len(own), 1, 1) for own in channels])
        moved = grid_sample((image - air)[None], grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        item[image_key] = moved[0].add_(air)
        moved = grid_sample(label[None].float(), grid, mode="nearest", padding_mode="zeros", align_corners=False)
        item[label_key] = moved[0].to(label.dtype)
        return item


def _exchange(domain: Domain) -> Tensor | None:
    """Class of each class of a domain in a mirror; None if there is none, which is said."""
    names = list(domain.labels.values())
    classes = mirrored_classes(names)
    if classes is None:
        text = "%s: not mirrored from left to right, for these labels have no other side: %s"
        _logger.warning(text, domain.name, ", ".join(mirrored_names(names)[1]))
    return None if classes is None else torch.tensor(classes)


class RandIntensityd(Randomizable, MapTransform):
    """Randomly change the look of a slice as another scanner, coil or sequence would; its shape stays.

    With a chance of each: gain and offset; gamma, of the intensities between the slice's minimum and maximum; a smooth
    bias field, which multiplies what lies above the minimum; blur; a lower resolution; Gaussian noise. The image is
    normalised (mean 0, deviation 1), and neighbouring slices change alike but for the noise; each channel of the image
    changes by itself.

    One transform in tensors: MONAI's seven in a row take 2.7 times as long (5.4 ms instead of 2.0 if all changes
    happen, for a slice of 112 x 112 with four neighbours, on one core of an AMD EPYC).

    Args:
        keys: images.
        strength: 0 for none to 1; scales the chance of each change.

    Shape:
        image (C, H, W) float, which is not changed in place; `num_channels` as for `RandFlipRotateTranslated`.

    Source:
        Ranges after nnU-Net (Isensee et al., Nature Methods 2021, supplementary note 4), the bias field after
        Sudre et al., IPMI 2017, with a coarse grid of random values instead of polynomials.
    """

    def __init__(self, keys: KeysCollection = ("image",), *, strength: float = 1.0) -> None:
        super().__init__(keys)
        if not 0 <= strength <= 1:
            raise InputError(f"intensity_augmentation must be from 0 to 1, got {strength}")
        self.strength = strength

    def _happens(self, chance: float) -> bool:
        return bool(self.R.uniform() < chance * self.strength)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Transform one item; see the class."""
        item = dict(data)
        for key in self.key_iterator(item):
            item[key] = torch.cat([self._change(own) for own in item[key].chunk(item.get("num_channels", 1))])
        return item

    def _change(self, image: Tensor) -> Tensor:
        size = image.shape[-2:]
        if self._happens(0.6):
            image = image * float(np.exp(self.R.uniform(-0.3, 0.3))) + float(self.R.uniform(-0.3, 0.3))
        if self._happens(0.6):
            low, high = image.aminmax()
            extent = (high - low).clamp(min=1e-5)
            image = ((image - low) / extent) ** float(np.exp(self.R.uniform(-0.5, 0.5))) * extent + low
        if self._happens(0.5):
            grid = torch.from_numpy(self.R.normal(0.0, 0.35, size=(1, 1, 4, 4))).float()
            low = image.amin()
            image = (image - low) * interpolate(grid, size, mode="bicubic", align_corners=True)[0].exp() + low
        if self._happens(0.2):
            image = _blur(image, deviation=float(self.R.uniform(0.4, 1.0)))
        if self._happens(0.3):
            small = [max(2, round(length * self.R.uniform(0.4, 0.9))) for length in size]
            reduced = interpolate(image[None], small, mode="bilinear", antialias=True)
            image = interpolate(reduced, size, mode="bilinear")[0]
        if self._happens(0.4):
            generator = torch.Generator().manual_seed(int(self.R.randint(2**31)))
            image = image + torch.randn(image.shape, generator=generator) * float(self.R.uniform(0, 0.15))
        return image


def _blur(image: Tensor, *, deviation: float) -> Tensor:
    """Gaussian blur in plane of (C, H, W), the border repeated; deviation in pixels."""
    reach = 3
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / deviation) ** 2)
    weights = weights / weights.sum()
    padded = pad(image[:, None], [reach] * 4, mode="replicate")
    return conv2d(conv2d(padded, weights.view(1, 1, -1, 1)), weights.view(1, 1, 1, -1))[:, 0]


def _linear_part(
    angle: float, signs: np.ndarray, scale: float, spacing_mm: np.ndarray, shape: Sequence[int]
) -> np.ndarray:
    """Matrix (2, 2) from output to input coordinates in [-1, 1], ordered (columns, rows) as `affine_grid` wants."""
    half_extent_mm = (np.asarray(shape) * spacing_mm / 2)[::-1]
    cosine, sine = np.cos(angle), np.sin(angle)
    rigid = np.array([[cosine, -sine], [sine, cosine]]) @ np.diag(signs[::-1]) / scale
    return np.diag(1 / half_extent_mm) @ rigid @ np.diag(half_extent_mm)


def _sampling_matrix(linear: np.ndarray, shift: np.ndarray) -> Tensor:
    """The same with a shift (rows, columns as fractions), shape (2, 3)."""
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
