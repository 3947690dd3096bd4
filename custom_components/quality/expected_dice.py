"""Expected Dice of each bone, estimated from the network's probabilities slice by slice."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


class ExpectedDice:
    """Expected Dice of each output channel for one volume, assuming that the probabilities are correct.

    Three sums are kept per channel: the probability p over all pixels, the number of pixels predicted as this channel,
    and p over these pixels. Expected Dice is 2 * sum(p | predicted) / (number predicted + sum(p)), the ratio of the
    expected numerator and denominator of Dice. It refers to the network's grid before post-processing and is usually
    too high; `calibration` corrects it by the Dice measured on validation exams.

    Slices may be added in any order and from several threads. The float64 sums of each slice are kept separately and
    added in slice order at the end, so the result is the same to the last bit.

    Source:
        Mean of numerator over mean of denominator, as in the soft Dice of Milletari et al. (2016), V-Net, with the
        prediction taken as the reference.

    Example:
        >>> expected = ExpectedDice()
        >>> expected.add(0, torch.log(torch.tensor([[[[0.9, 0.2]], [[0.1, 0.8]]]])))
        >>> [round(value, 4) for value in expected.compute()]  # 2 * 0.9 / (1 + 1.1), 2 * 0.8 / (1 + 0.9)
        [0.8571, 0.8421]
    """

    def __init__(self) -> None:
        self._sums: dict[int, list[list[float]]] = {}

    def add(self, index: int, logits: Tensor) -> None:
        """Add consecutive slices.

        Args:
            index: position of the first of them in the volume.
            logits: shape (N, channels, rows, columns).
        """
        probabilities = logits.detach().float().softmax(dim=1)
        most, likeliest = probabilities.max(dim=1)
        # `max` returns the first of equal channels, as the label map does.
        ours = likeliest[:, None] == torch.arange(logits.shape[1], device=logits.device)[:, None, None]
        sums = (
            probabilities.sum(dim=(2, 3), dtype=torch.float64),
            ours.sum(dim=(2, 3), dtype=torch.float64),
            (ours * most[:, None]).sum(dim=(2, 3), dtype=torch.float64),
        )
        # Plain lists: small long-lived arrays between large temporary buffers would fragment the memory.
        for number, own in enumerate(torch.stack(sums, dim=1).tolist()):
            self._sums[index + number] = own

    def compute(self) -> list[float]:
        """Expected Dice of each channel, 0..1; 0 for a channel predicted nowhere. Empty before any slice is added."""
        if not self._sums:
            return []
        total = sum(np.asarray(self._sums[index]) for index in sorted(self._sums))
        probability, predicted, shared = np.asarray(total, np.float64)
        size = probability + predicted
        return np.divide(2 * shared, size, out=np.zeros_like(size), where=size > 0).clip(0, 1).tolist()
