"""Weights of a network, counted and grouped for an optimizer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from custom_components.networks.first_convolutions import FirstConvolutions
from custom_components.networks.norms import DomainSpecificBatchNorm2d
from custom_components.networks.unet import MultiDomainUNet
from torch import Tensor


def group_parameters(
    network: MultiDomainUNet, *, learning_rate: float, head_factor: float = 1.0
) -> list[dict[str, Any]]:
    """Parameter groups for an optimizer: everything but the output layer, then the output layer.

    `head_factor` is how much faster the output layer learns. 1 is the paper's; about 10 saves a short training on small
    data hundreds of steps, because few weights reach a logit and each moves by at most the rate a step.
    """
    heads = list(network.heads.parameters())
    own = {id(weight) for weight in heads}
    return [
        {"params": [weight for weight in network.parameters() if id(weight) not in own], "lr": learning_rate},
        {"params": heads, "lr": learning_rate * head_factor},
    ]


def count_parameters(network: MultiDomainUNet) -> tuple[int, int]:
    """Number of trainable weights, and how many of them belong to the configured domain alone.

    Example:
        >>> total, own = count_parameters(MultiDomainUNet([4]))
        >>> f"{total / 1e6:.2f} M, {own} of the domain"
        '7.77 M, 6020 of the domain'
    """
    total = sum(weight.numel() for weight in network.parameters())
    own = 0
    for module in network.modules():
        if isinstance(module, DomainSpecificBatchNorm2d) and not network.shared_norm:
            own += sum(weight.numel() for weight in module.norms[network.domain].parameters())
        elif isinstance(module, FirstConvolutions):
            own += sum(weight.numel() for weight in module.convs[network.domain].parameters())
    if network.head == "domain":
        own += sum(weight.numel() for weight in network.heads[network.domain].parameters())
    return total, own


def is_finite(tensors: Mapping[str, Tensor]) -> bool:
    """Whether no tensor holds a NaN or an infinite value; one of whole numbers never does."""
    return all(bool(tensor.isfinite().all()) for tensor in tensors.values())
