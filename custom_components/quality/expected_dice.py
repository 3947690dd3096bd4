"""How sure a network is of each bone: the Dice it expects, from its own probabilities, slice by slice."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

__all__ = ["ExpectedDice"]


class ExpectedDice:
    """The Dice that a network expects of the channels of one volume, were its probabilities true.

    Of each channel three sums are kept: of the probability p, of the pixels for which the channel is the likeliest,
    and of p over these. Expected Dice is 2 * sum(p | predicted) / (number predicted + sum(p)), the ratio of what the
    two parts of Dice have as means. It is of the network's own grid, before any post-processing, and usually too
    high: `calibration` brings it to what was seen on validation exams.

    Slices may come in any order and from several threads: each has its sums in float64, which are added in the order of
    the slices, so that neither changes a bit.

    Source:
        Mean of numerator over mean of denominator, as the soft Dice of Milletari et al. (2016), V-Net, with the
        prediction itself in the place of the reference.

    Example:
        >>> expected = ExpectedDice()
        >>> expected.add(0, torch.log(torch.tensor([[[[0.9, 0.2]], [[0.1, 0.8]]]])))
        >>> [round(value, 4) for value in expected.compute()]  # 2 * 0.9 / (1 + 1.1), 2 * 0.8 / (1 + 0.9)
        [0.8571, 0.8421]
    """

    def __init__(self) -> None:
        self._sums: dict[int, list[list[float]]] = {}

    def add(self, index: int, logits: Tensor) -> None:
        """Take in some slices.

        Args:
            index: number of the first of them in the volume.
            logits: shape (N, channels, rows, columns).
        """
        probabilities = logits.detach().float().softmax(dim=1)
        most, likeliest = probabilities.max(dim=1)
        # Of equal channels the first is the likeliest, as in the label map.
        ours = likeliest[:, None] == torch.arange(logits.shape[1], device=logits.device)[:, None, None]
        sums = (
            probabilities.sum(dim=(2, 3), dtype=torch.float64),
            ours.sum(dim=(2, 3), dtype=torch.float64),
            (ours * most[:, None]).sum(dim=(2, 3), dtype=torch.float64),
        )
        # Lists, not arrays: small arrays that stay, among large buffers that go, keep the memory of many of these.
        for number, own in enumerate(torch.stack(sums, dim=1).tolist()):
            self._sums[index + number] = own

    def compute(self) -> list[float]:
        """Expected Dice of each channel, 0..1; 0 of one that is nowhere the likeliest. Without slices, nothing."""
        if not self._sums:
            return []
        total = sum(np.asarray(self._sums[index]) for index in sorted(self._sums))
        probability, predicted, shared = np.asarray(total, np.float64)
        size = probability + predicted
        return np.divide(2 * shared, size, out=np.zeros_like(size), where=size > 0).clip(0, 1).tolist()
