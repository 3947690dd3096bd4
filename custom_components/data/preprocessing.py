"""Volumes to stacks of network slices and back, by the same functions in training and inference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from custom_components.domains import PLANES
from custom_components.errors import InputError
from custom_components.io.geometry import canonical_spacing_mm, to_canonical
from custom_components.system.threads import map_exactly
from torch import Tensor
from torch.nn.functional import interpolate

_MOST_PIXELS = 2**28  # 4096 slices of 256 x 256: a thin, long volume of few voxels must not take all memory
_CHUNK = 32  # slices restored at once on a GPU: bounds memory on a large scan


@dataclass(frozen=True)
class Preprocessing:
    """Settings that must be the same in training and in inference.

    Args:
        image_size: slices are resized to this many pixels (rows, columns).
        normalization: "volume" gives each volume zero mean and unit variance, "slice" each slice. The paper does not
            say which; "volume" is the default because a slice of pure air would otherwise become amplified noise.
    """

    image_size: tuple[int, int]
    normalization: str = "volume"

    def __post_init__(self) -> None:
        object.__setattr__(self, "image_size", tuple(int(size) for size in self.image_size))
        if len(self.image_size) != 2 or min(self.image_size) < 1:
            raise InputError(f"image_size must be two positive whole numbers, got {list(self.image_size)}")
        if self.normalization not in ("volume", "slice"):
            raise InputError(f"normalization must be 'volume' or 'slice', got {self.normalization!r}")


def stack_slices(
    array: np.ndarray, affine: np.ndarray, *, plane: str, settings: Preprocessing, name: str = "volume"
) -> Tensor:
    """Turn a volume into normalised slices of one size.

    The volume is brought to the closest RAS+ axis order (no interpolation), so that any storage order gives the same
    slices; slices are taken along the plane's normal and resized linearly with anti-aliasing. The number of threads
    changes no bit.

    Shape:
        array (X, Y, Z) in any axis order, affine (4, 4) in mm; the result (num_slices, rows, columns), float32.

    Raises:
        InputError: so many slices that they would have over 2**28 pixels, 1 GiB.

    Source:
        Boutillon et al. 2021, section 3.1.
    """
    stack = _canonical_stack(array, affine, plane)
    most = _MOST_PIXELS // math.prod(settings.image_size)
    if len(stack) > most:
        raise InputError(
            f"{name} must have at most {most} {plane} slices, got {len(stack)}; crop it or check its header"
        )
    images = _resized(stack, torch.float32, settings, mode="bilinear", align_corners=False, antialias=True)
    dims = (0, 1, 2) if settings.normalization == "volume" else (1, 2)
    # One item, so on one thread: a sum in several parts would be rounded otherwise.
    [(deviation, mean)] = map_exactly(partial(torch.std_mean, dim=dims, keepdim=True, correction=0), [images])
    images -= mean
    images /= deviation.clamp(min=1e-6)
    return images


def stack_labels(array: np.ndarray, affine: np.ndarray, *, plane: str, settings: Preprocessing) -> Tensor:
    """Turn a class-index volume into slices by nearest neighbour; shapes as in `stack_slices`, dtype uint8."""
    return _resized(_canonical_stack(array, affine, plane), torch.uint8, settings, mode="nearest-exact")


def slice_size(shape: Sequence[int], affine: np.ndarray, *, plane: str) -> tuple[int, int]:
    """Rows and columns of the slices of a volume of this shape (X, Y, Z), before they are resized."""
    rows, columns = _canonical_stack(np.broadcast_to(np.uint8(0), shape), affine, plane).shape[1:]
    return rows, columns


def classes_at(logits: Tensor, size: Sequence[int]) -> Tensor:
    """The likeliest channel of each pixel of slices brought to another size.

    Logits are interpolated linearly and the largest wins, which places a boundary between pixels where a label map
    resized by nearest neighbour would have steps.

    Shape:
        (N, channels, rows, columns) to channel indices (N, *size), uint8.
    """
    if tuple(logits.shape[2:]) != tuple(size):
        logits = interpolate(logits.float(), size=tuple(size), mode="bilinear", align_corners=False)
    return logits.max(dim=1).indices.to(torch.uint8)  # of equal ones the first, as argmax, and eight times as fast


def restore_stack(stack: Tensor, *, shape: Sequence[int], affine: np.ndarray, plane: str) -> np.ndarray:
    """Bring predictions back to the grid of the source volume, of which shape and affine are given.

    Shape:
        logits (num_slices, channels, rows, columns), see `classes_at`, or channel indices (num_slices,
        *slice_size(...)), uint8, to channel indices (X, Y, Z) in the source's axis order, uint8.

    Raises:
        ValueError: more or fewer slices than the source has along the plane's normal, or indices of another size.
    """
    result = np.empty(shape, dtype=np.uint8)
    target = _canonical_stack(result, affine, plane)  # a view: writing to it writes to `result`
    if len(stack) != len(target):
        raise ValueError(f"stack must have one slice for each of the {len(target)} of the source, got {len(stack)}")
    if stack.dtype == torch.uint8:
        if stack.shape[1:] != target.shape[1:]:
            raise ValueError(f"indices must have slices of {target.shape[1:]}, got {tuple(stack.shape[1:])}")
        target[...] = stack.numpy()
        return result

    def restore(part: slice) -> None:
        target[part] = classes_at(stack[part], target.shape[1:]).cpu().numpy()

    if stack.device.type == "cpu":
        map_exactly(restore, [slice(index, index + 1) for index in range(len(stack))])
    else:
        for first in range(0, len(stack), _CHUNK):
            restore(slice(first, first + _CHUNK))
    return result


def pixel_spacing_mm(shape: Sequence[int], affine: np.ndarray, *, plane: str, settings: Preprocessing) -> np.ndarray:
    """Size in mm of a pixel (row step, column step) of the resized slices of a volume of this shape (X, Y, Z)."""
    spacing = np.asarray(canonical_spacing_mm(affine))
    size = np.asarray(to_canonical(np.empty(shape, dtype=bool), affine).shape)
    in_plane = [axis for axis in range(3) if axis != PLANES[plane]]
    return spacing[in_plane] * size[in_plane] / np.asarray(settings.image_size)


def _canonical_stack(array: np.ndarray, affine: np.ndarray, plane: str) -> np.ndarray:
    return np.moveaxis(to_canonical(array, affine), PLANES[plane], 0)


def _resized(stack: np.ndarray, dtype: torch.dtype, settings: Preprocessing, **how: Any) -> Tensor:
    resized = torch.empty((len(stack), *settings.image_size), dtype=dtype)
    kind = np.float32 if dtype == torch.float32 else np.uint8

    def resize(index: int) -> None:
        image = torch.from_numpy(np.ascontiguousarray(stack[index], dtype=kind))
        if tuple(image.shape) != settings.image_size:
            image = interpolate(image[None, None], size=settings.image_size, **how)[0, 0]
        resized[index] = image

    map_exactly(resize, range(len(stack)))
    return resized
