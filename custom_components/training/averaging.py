"""Exponential moving average of the weights of a training."""

from __future__ import annotations

from typing import Any

import torch
from custom_components.errors import InputError
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


class WeightAverage(AveragedModel):
    """PyTorch's `AveragedModel` of a network and of its running statistics, with a decay that grows at first.

    A copy of the network, so that the weights in training stay where they are while the average is validated. It takes
    over the weights of the first step; after step n + 1, with W the weights, A becomes d A + (1 - d) W, where
    d = min(decay, (1 + n) / (10 + n)). Numbers of batches, which are whole, are copied. A tensor that does not change
    is its own average to the last bit. `decay` lies between 0 and 1.

    Made of the network as the trainer calls it, an `EmbeddingForward`, and called in the same way. ignite's
    `EMAHandler` has no such growth, and shares the whole numbers with the network in training.

    Source:
        Polyak and Juditsky 1992; the growth of the decay is that of TensorFlow's `ExponentialMovingAverage`.
    """

    def __init__(self, network: nn.Module, *, decay: float) -> None:
        self._decay = decay
        super().__init__(network, multi_avg_fn=self._move, use_buffers=True)

    def weights(self) -> dict[str, Tensor]:
        """State dict of the averaged `MultiDomainUNet`."""
        return dict(self.module.get_submodule("network").state_dict())

    @torch.no_grad()
    def _move(self, averaged: Any, newest: Any, _: Any) -> None:
        if averaged[0].is_floating_point():
            number = int(self.n_averaged)  # on the CPU; the one handed over would have to be waited for
            torch._foreach_lerp_(averaged, newest, 1 - min(self._decay, (1 + number) / (10 + number)))
        else:
            torch._foreach_copy_(averaged, newest)


def average_weights(network: nn.Module, *, decay: float = 0.0) -> WeightAverage | None:
    """The average of an `EmbeddingForward` to train, for `TrainingState`; None if `decay` is 0.

    Raises:
        InputError: a decay outside 0 <= decay < 1.
    """
    if not 0 <= decay < 1:
        raise InputError(f"weight_averaging must be 0 (none) or less than 1, got {decay}; 0.99 to 0.999 are usual")
    return WeightAverage(network, decay=decay) if decay else None
