"""Probabilities of bones in 256 steps, gathered while a volume is segmented, and their mean over planes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from custom_components.domains import PLANES
from custom_components.quality.expected_dice import ExpectedDice
from torch import Tensor
from torch.nn.functional import interpolate


class ProbabilityMaps:
    """A map a bone at the resolution of the source's slices, a byte a voxel.

    The logits of a slice are interpolated as for its labels (`preprocessing.classes_at`) before they become
    probabilities, so a voxel whose label is a bone has no larger probability elsewhere. Slices may be added in any
    order and from several threads.

    Args:
        channels: the network's output channel of each bone.
        num_slices: of the volume.
        size: rows and columns of the source's slices.

    Attributes:
        values: 255 times the probability, rounded, uint8, (bones, num_slices, rows, columns).

    Example:
        >>> maps = ProbabilityMaps([1], num_slices=1, size=(1, 2))
        >>> maps.add(0, torch.tensor([[[[0.0, 9.0]], [[0.0, -9.0]]]]))
        >>> maps.values.flatten().tolist()
        [128, 0]
    """

    def __init__(self, channels: Sequence[int], *, num_slices: int, size: Sequence[int]) -> None:
        self._channels = list(channels)
        self.values = torch.empty((len(self._channels), num_slices, *size), dtype=torch.uint8)

    def add(self, index: int, logits: Tensor) -> None:
        """Add consecutive slices, the first at `index`; logits (N, channels, rows, columns) of the network's size."""
        size = tuple(self.values.shape[2:])
        if tuple(logits.shape[2:]) != size:
            logits = interpolate(logits.float(), size=size, mode="bilinear", align_corners=False)
        own = logits.float().softmax(dim=1)[:, self._channels]
        self.values[:, index : index + len(logits)] = (255 * own).round().to(torch.uint8).movedim(1, 0).cpu()


def average_planes(stacks: Sequence[Tensor], planes: Sequence[str], expected: ExpectedDice) -> tuple[Tensor, Tensor]:
    """Mean of the probabilities that a volume got in several planes, on the slices of the first.

    Args:
        stacks: `ProbabilityMaps.values` in each plane.
        planes: names of the planes, keys of `domains.PLANES`.
        expected: accumulates the mean.

    Returns:
        The likeliest class of each voxel, uint8 (1, rows, columns, num_slices); and the mean, rounded, as
        `ProbabilityMaps.values`.

    Example:
        >>> sure, unsure = (torch.full((1, 1, 1, 1), value, dtype=torch.uint8) for value in (255, 51))
        >>> classes, mean = average_planes([sure, unsure], ["axial", "coronal"], ExpectedDice())
        >>> int(classes), int(mean)
        (1, 153)
    """
    first = PLANES[planes[0]] + 1  # an axis of (bones, X, Y, Z)
    aligned = [
        stack.movedim(1, PLANES[plane] + 1).movedim(first, 1) for stack, plane in zip(stacks, planes, strict=True)
    ]
    mean = torch.empty_like(stacks[0])
    classes = torch.empty(stacks[0].shape[1:], dtype=torch.uint8)
    for index in range(len(classes)):  # slice by slice: sums take more bytes than their terms
        total = torch.stack([each[:, index] for each in aligned]).sum(dim=0, dtype=torch.int32)
        with_background = torch.cat([255 * len(stacks) - total.sum(dim=0, keepdim=True), total]).clamp_min(0)
        classes[index] = with_background.argmax(dim=0)
        expected.add(index, with_background.double().log()[None])
        mean[:, index] = (total / len(stacks)).round()
    return classes.movedim(0, 2)[None], mean
