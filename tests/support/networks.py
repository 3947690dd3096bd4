"""A small network, and the batch sizes and thread counts its output must not depend on."""

from __future__ import annotations

from typing import Any

import torch
from custom_components.networks.unet import MultiDomainUNet

__all__ = ["BATCHES", "THREADS", "make_network"]


THREADS, BATCHES = (1, 2, 4), (1, 3, 16)


def make_network(*, size: int, **settings: Any) -> tuple[MultiDomainUNet, torch.Tensor]:
    """A network with weights and norms unlike the initial ones, and a volume of 18 slices."""
    torch.manual_seed(0)
    network = MultiDomainUNet([4, 3], **settings).eval()
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    return network, torch.randn(18, size, size + 16).permute(1, 2, 0)[None, None]
