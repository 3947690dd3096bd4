"""Channels of a slice as a network sees them: those of the image, neighbouring slices, and coordinates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from custom_components.data.preprocessing import Preprocessing, pixel_spacing_mm, slice_spacing_mm, stack_slices
from custom_components.domains import Domain
from custom_components.errors import InputError
from custom_components.io.volumes import Volume, on_grid, read_volume
from torch import Tensor


def read_channels(paths: Sequence[str | Path]) -> list[Volume]:
    """Read the channels of a scan, the second and later ones in the axis order of the first and with its affine.

    Raises:
        InputError: a file cannot be used, see `read_volume`, or lies on another grid than the first.
    """
    first, *rest = (read_volume(path) for path in paths)
    return [first, *(on_grid(channel, first, kind="channel") for channel in rest)]


def check_channels(count: int, domain: Domain, *, scan: str) -> None:
    """Raise `InputError` for a scan with more or fewer channels than the images of its domain have."""
    if count != domain.num_channels:
        names = f" ({', '.join(domain.channels)})" if domain.channels else ""
        few = domain.channels[count:] and f"; {domain.channels[count]} is missing"
        remedy = few or "; give the files of one scan" if domain.channels else "; give the file of one channel"
        raise InputError(
            f"scan {scan} must have {domain.num_channels} channel{'s' * (domain.num_channels > 1)}{names} for domain "
            f"{domain.name}, got {count}{remedy}"
        )


def stack_channels(
    arrays: Sequence[np.ndarray], affine: np.ndarray, *, plane: str, settings: Preprocessing, name: str = "volume"
) -> list[Tensor]:
    """Slices of each channel of a scan, normalised by itself; see `stack_slices`."""
    return [stack_slices(array, affine, plane=plane, settings=settings, name=name) for array in arrays]


def context_offsets(settings: Preprocessing, *, slice_mm: float, pixel_mm: Sequence[float]) -> list[int]:
    """Slices that a slice is seen with, relative to it, in the order of the channels.

    Args:
        settings: with `context` and `context_mm`.
        slice_mm: from one slice to the next.
        pixel_mm: size of a pixel of the resized slices (rows, columns).

    Example:
        >>> context_offsets(Preprocessing((8, 8), context=2, context_mm=4.0), slice_mm=3.0, pixel_mm=(1.0, 1.0))
        [-3, -1, 0, 1, 3]
        >>> context_offsets(Preprocessing((8, 8), context=2, context_mm="auto"), slice_mm=1.0, pixel_mm=(1.5, 2.5))
        [-4, -2, 0, 2, 4]
    """
    apart = sum(pixel_mm) / 2 if isinstance(settings.context_mm, str) else settings.context_mm
    ahead = [max(step, round(step * apart / slice_mm)) for step in range(1, settings.context + 1)]
    return [-offset for offset in reversed(ahead)] + [0, *ahead]


def with_context(stacks: Sequence[Tensor], numbers: Sequence[int], *, offsets: Sequence[int]) -> Tensor:
    """Slices with their neighbours as channels, see `context_offsets`, channel after channel of the image.

    Shape:
        A stack (n, rows, columns) for each channel of the image to (len(numbers), channels * num_slices, ...).
    """
    if len(stacks) > 1:
        return torch.cat([with_context([stack], numbers, offsets=offsets) for stack in stacks], dim=1)
    [stack] = stacks
    if len(offsets) == len(numbers) == 1:  # a view, as a training draws slice after slice
        return stack[numbers[0]][None, None]
    return stack[(torch.as_tensor(numbers)[:, None] + torch.tensor(offsets)).clamp(0, len(stack) - 1)]


def position_channels(
    number: int, *, num_slices: int, size: Sequence[int], slice_mm: float, pixel_mm: Sequence[float]
) -> Tensor:
    """Row, column and slice coordinates of a slice's pixels from the volume's centre, in dm, shape (3, rows, columns).

    Example:
        >>> position_channels(0, num_slices=3, size=(1, 2), slice_mm=5.0, pixel_mm=(1.0, 20.0))[:, 0].tolist()
        [[0.0, 0.0], [-0.10000000149011612, 0.10000000149011612], [-0.05000000074505806, -0.05000000074505806]]
    """
    rows, columns = (
        (torch.arange(count) - (count - 1) / 2) * mm / 100 for count, mm in zip(size, pixel_mm, strict=True)
    )
    along = torch.tensor((number - (num_slices - 1) / 2) * slice_mm / 100)
    return torch.stack([rows[:, None].expand(*size), columns.expand(*size), along.expand(*size)])


def network_channels(
    stacks: Sequence[Tensor], *, affine: np.ndarray, shape: Sequence[int], plane: str, settings: Preprocessing
) -> Tensor:
    """All channels of all slices as a network sees them: channel after channel with its neighbours, then coordinates.

    `affine` and `shape` are those of the volume, see `stack_slices`. Of one channel without context and position, it is
    a view.

    Shape:
        A stack (n, rows, columns) for each channel of the image to (n, in_channels, rows, columns).
    """
    stack = stacks[0]
    if settings.in_channels == len(stacks) == 1:
        return stack[:, None]
    how: dict[str, Any] = {
        "slice_mm": slice_spacing_mm(affine, plane=plane),
        "pixel_mm": pixel_spacing_mm(shape, affine, plane=plane, settings=settings).tolist(),
    }
    channels = with_context(stacks, range(len(stack)), offsets=context_offsets(settings, **how))
    if not settings.position:
        return channels
    how |= {"num_slices": len(stack), "size": stack.shape[1:]}
    return torch.cat([channels, torch.stack([position_channels(k, **how) for k in range(len(stack))])], dim=1)
