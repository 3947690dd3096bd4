"""Probabilities of bones in 256 steps, gathered while a volume is segmented."""

from __future__ import annotations

from collections.abc import Sequence

import torch
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
