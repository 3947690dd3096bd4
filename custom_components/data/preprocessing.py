"""Volumes to stacks of network slices and back, by the same functions in training and inference."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from custom_components.domains import PLANES, Domain
from custom_components.errors import InputError
from custom_components.io.geometry import canonical_spacing_mm, to_canonical
from custom_components.system.threads import map_exactly
from torch import Tensor
from torch.nn.functional import interpolate

_MOST_PIXELS = 2**28  # 4096 slices of 256 x 256: a thin, long volume of few voxels must not take all memory
_CHUNK = 32  # slices restored at once on a GPU: bounds memory on a large scan
_PLAIN = (2.0**-40, 2.0**60)  # a volume whose largest value lies between them is normalised as it is


@dataclass(frozen=True)
class Preprocessing:
    """Settings that must be the same in training and in inference.

    Args:
        image_size: slices are resized to this many pixels (rows, columns); or domain name -> size, one for each.
        normalization: "volume" gives each volume zero mean and unit variance, "slice" each slice. The paper does not
            say which; "volume" is the default because a slice of pure air would otherwise become amplified noise.
        context: neighbouring slices on either side that the network sees as further channels; the last is repeated at
            the border.
        context_mm: distance between them in mm, rounded to whole slices, at least one; or "auto" for the size of a
            pixel of the resized slice, so that the network sees as finely across slices as within them.
        position: whether the network also sees where it looks: rows, columns and slice as three channels, the
            distance from the volume's centre in dm.
    """

    image_size: tuple[int, int] | Mapping[str, tuple[int, int]]
    normalization: str = "volume"
    context: int = 0
    context_mm: float | str = 4.0
    position: bool = False

    def __post_init__(self) -> None:
        given = self.image_size
        sizes = {name: _size(size) for name, size in given.items()} if isinstance(given, Mapping) else _size(given)
        object.__setattr__(self, "image_size", sizes)
        if isinstance(self.context, bool) or not isinstance(self.context, int) or not 0 <= self.context <= 32:
            raise InputError(f"context must be a whole number of slices from 0 to 32, got {self.context!r}")
        apart = self.context_mm
        if apart != "auto" and (isinstance(apart, bool | str) or not 0 < apart < 1000):
            raise InputError(f"context_mm must be auto or a positive distance, got {apart!r}")
        if self.normalization not in ("volume", "slice"):
            raise InputError(f"normalization must be 'volume' or 'slice', got {self.normalization!r}")

    @property
    def num_slices(self) -> int:
        """Slices that a slice is seen with, itself included."""
        return 2 * self.context + 1

    @property
    def in_channels(self) -> int:
        """Channels that the network sees of an image of one channel."""
        return self.num_slices + self.num_positions

    def in_channels_of(self, domains: Sequence[Domain]) -> int | list[int]:
        """Channels that the network sees: one number, or, where channels differ in number or name, one a domain.

        Example:
            >>> domains = [Domain("a", {1: "tibia"}, "axial", "MR", names) for names in ((), ("water", "fat"))]
            >>> Preprocessing((8, 8), context=1).in_channels_of(domains)
            [3, 6]
        """
        counts = [domain.num_channels * self.num_slices + self.num_positions for domain in domains]
        return counts[0] if len({tuple(domain.channels) for domain in domains}) == 1 else counts

    @property
    def num_positions(self) -> int:
        """Channels that hold coordinates, the last ones."""
        return 3 if self.position else 0

    def size_of(self, domain: str | None = None) -> tuple[int, int]:
        """Rows and columns of a domain's slices; None will do where all have one size.

        Raises:
            InputError: sizes differ, and `domain` is none of theirs.
        """
        if not isinstance(self.image_size, Mapping):
            return self.image_size
        if domain is None or domain not in self.image_size:
            sizes = set(self.image_size.values())
            if domain is None and len(sizes) == 1:
                return sizes.pop()
            known = ", ".join(self.image_size)
            raise InputError(f"image_size must be given for domain {domain}, got those of {known}; name each domain")
        return self.image_size[domain]

    def sizes_with(self, added: Sequence[str], *, like: str | None = None) -> Any:
        """`image_size` for further domains too, where each has its own: that of domain `like`, or else the largest."""
        if not isinstance(self.image_size, Mapping):
            return self.image_size
        size = max(self.image_size.values(), key=math.prod) if like is None else self.size_of(like)
        return {**self.image_size, **dict.fromkeys(added, size)}

    def for_domain(self, domain: str) -> Preprocessing:
        """The same settings with the domain's own size only."""
        return replace(self, image_size=self.size_of(domain))

    def for_domains(self, domains: Sequence[str]) -> Preprocessing:
        """The same settings with the sizes of these domains only; one size where it is that of all."""
        sizes = {name: self.size_of(name) for name in domains}
        return self.for_domain(domains[0]) if len(set(sizes.values())) == 1 else replace(self, image_size=sizes)

    def to_dict(self) -> dict[str, Any]:
        """Plain arguments that build these settings again; those at their defaults are left out."""
        size = self.image_size
        plain = {name: list(own) for name, own in size.items()} if isinstance(size, Mapping) else list(size)
        found: dict[str, Any] = {"image_size": plain, "normalization": self.normalization}
        if self.context:
            found |= {"context": self.context, "context_mm": self.context_mm}
        return found | ({"position": True} if self.position else {})


def _size(given: Any) -> tuple[int, int]:
    size = [int(length) for length in given] if isinstance(given, Sequence) and not isinstance(given, str) else []
    if len(size) != 2 or min(size) < 1:
        raise InputError(f"image_size must be two positive whole numbers, got {size or given!r}")
    return size[0], size[1]


def stack_slices(
    array: np.ndarray, affine: np.ndarray, *, plane: str, settings: Preprocessing, name: str = "volume"
) -> Tensor:
    """Turn a volume into normalised slices of one size.

    The volume is brought to the closest RAS+ axis order (no interpolation), so that any storage order gives the same
    slices; slices are taken along the plane's normal and resized linearly with anti-aliasing. The number of threads
    changes no bit, nor does the unit of the intensities: a volume of very small or large values is first multiplied by
    a power of two. What is constant, such as a slice of zeros that is normalised by itself, becomes 0.

    Shape:
        array (X, Y, Z) in any axis order, affine (4, 4) in mm; the result (num_slices, rows, columns), float32.

    Raises:
        InputError: so many slices that they would have over 2**28 pixels, 1 GiB.

    Source:
        Boutillon et al. 2021, section 3.1.
    """
    stack = _canonical_stack(array, affine, plane)
    most = _MOST_PIXELS // math.prod(settings.size_of())
    if len(stack) > most:
        rule = f"{name} must have at most {most} {plane} slices, got {len(stack)}"
        raise InputError(f"{rule}; crop it or check its header")
    axes = None if settings.normalization == "volume" else (1, 2)
    low, high = stack.min(axis=axes, keepdims=True), stack.max(axis=axes, keepdims=True)
    how: Any = {"mode": "bilinear", "align_corners": False, "antialias": True, "exponent": _scaling_of(low, high)}
    images = _resized(stack, torch.float32, settings, **how)
    # One item, so on one thread: a sum in several parts would be rounded otherwise.
    measure = partial(torch.std_mean, dim=axes or (0, 1, 2), keepdim=True, correction=0)
    [(deviation, mean)] = map_exactly(measure, [images])
    images -= mean
    images /= torch.where(torch.from_numpy(low < high) & (deviation > 0), deviation, torch.inf)
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
    return spacing[in_plane] * size[in_plane] / np.asarray(settings.size_of())


def slice_spacing_mm(affine: np.ndarray, *, plane: str) -> float:
    """Distance in mm between neighbouring slices."""
    return float(np.asarray(canonical_spacing_mm(affine))[PLANES[plane]])


def _canonical_stack(array: np.ndarray, affine: np.ndarray, plane: str) -> np.ndarray:
    return np.moveaxis(to_canonical(array, affine), PLANES[plane], 0)


def _resized(
    stack: np.ndarray, dtype: torch.dtype, settings: Preprocessing, *, exponent: int = 0, **how: Any
) -> Tensor:
    """The slices in the network's size, multiplied by two to the power of `exponent`."""
    size = settings.size_of()
    resized = torch.empty((len(stack), *size), dtype=dtype)
    kind = np.float32 if dtype == torch.float32 else np.uint8

    def resize(index: int) -> None:
        values = np.ldexp(stack[index], exponent) if exponent else stack[index]
        image = torch.from_numpy(np.ascontiguousarray(values, dtype=kind))
        if tuple(image.shape) != size:
            image = interpolate(image[None, None], size=size, **how)[0, 0]
        resized[index] = image

    map_exactly(resize, range(len(stack)))
    return resized


def _scaling_of(low: np.ndarray, high: np.ndarray) -> int:
    """Exponent of the power of two that brings values near 1, which changes no normalised bit; 0 if none is needed."""
    largest = max(-float(low.min()), float(high.max()))
    return 0 if largest == 0 or _PLAIN[0] <= largest <= _PLAIN[1] else -math.frexp(largest)[1]
