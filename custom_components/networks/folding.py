"""One domain of a trained network by itself; its norms multiplied into the convolutions: smaller, faster, the same."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import Tensor, nn

from custom_components.domains import find_domain
from custom_components.errors import InputError
from custom_components.models.checkpoints import build_network
from custom_components.models.trained_model import TrainedModel
from custom_components.networks.blocks import AttentionGate, ConvBlock
from custom_components.networks.norms import DomainSpecificBatchNorm2d, FoldedNorm
from custom_components.networks.unet import MultiDomainUNet

__all__ = ["fold_domain", "fold_network", "select_domain"]


def select_domain(model: TrainedModel, domain: str | None) -> TrainedModel:
    """A model of one domain alone, with the same logits for it, to the bit.

    Args:
        model: a trained model of one or more domains, each with a head of its own.
        domain: the one to keep; `None` will do when there is only one.

    Returns:
        A model like that of a network trained on this domain alone; `model` itself if it has no other.

    Raises:
        InputError: unknown domain, or one output layer for several domains.
    """
    index = find_domain(model.domains, domain)
    if len(model.domains) == 1:
        return model
    if model.network["head"] == "shared":
        raise InputError("a model to take a domain from must have a head for each, got one for all; train head: domain")
    network = build_network(model)
    for module in network.modules():
        if isinstance(module, DomainSpecificBatchNorm2d) and not network.shared_norm:
            module.norms = nn.ModuleList([module.norms[index]])
    network.heads = nn.ModuleList([network.heads[index]])
    settings = network.settings() | {
        "norm": "domain",
        "num_classes": [network.num_classes[index]],
        "domain_names": [network.domain_names[index]],
    }
    return replace(model, domains=(model.domains[index],), network=settings, weights=_weights(network), digest="")


def fold_domain(model: TrainedModel, domain: str | None) -> TrainedModel:
    """A model of one domain alone without any norm, whose logits are those of `model` but for rounding.

    A norm at test time multiplies and shifts each channel by constants, and so does a convolution before it.

    Args:
        model: see `select_domain`.
        domain: see there.

    Returns:
        A model with `norm="folded"`; one that is folded already as it is. It can be used like any other, but not
        trained further.
    """
    model = select_domain(model, domain)
    if model.network["norm"] == "folded":
        return model
    network = fold_network(build_network(model))
    settings = network.settings() | {"norm": "folded"}
    return replace(model, network=settings, weights=_weights(network), digest="")


def fold_network(network: MultiDomainUNet) -> MultiDomainUNet:
    """A copy without any norm, whose logits for the domain that `network` answers for are the same but for rounding.

    Args:
        network: in evaluation mode. One that is folded already is returned as it is.

    Returns:
        The copy, with all heads; for other domains than this one its logits mean nothing.
    """
    if not any(isinstance(module, DomainSpecificBatchNorm2d) for module in network.modules()):
        return network
    index = 0 if network.shared_norm else network.domain
    network = copy.deepcopy(network)
    for block in network.modules():
        if isinstance(block, ConvBlock):
            _fold(block.conv1, block.norm1, index)
            _fold(block.conv2, block.norm2, index)
            block.norm1, block.norm2 = FoldedNorm(), FoldedNorm()
        elif isinstance(block, AttentionGate):
            _fold(block.output, block.norm, index)
            block.norm = FoldedNorm()
    for weight in network.parameters():
        if weight.dim() == 4:
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)  # faster on every device
    return network


def _weights(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach() for name, tensor in network.state_dict().items()}


@torch.no_grad()
def _fold(convolution: nn.Conv2d, norm: nn.Module, index: int) -> None:
    if not isinstance(norm, DomainSpecificBatchNorm2d) or convolution.bias is None:
        raise TypeError(f"a convolution with bias and a norm can be folded, got {convolution} and {norm}")
    own = norm.norms[index]
    weight, bias = own.get_parameter("weight").double(), own.get_parameter("bias").double()
    mean, variance = own.get_buffer("running_mean").double(), own.get_buffer("running_var").double()
    scale = weight / torch.sqrt(variance + norm.eps)
    convolution.weight.copy_(convolution.weight.double() * scale[:, None, None, None])
    convolution.bias.copy_((convolution.bias.double() - mean) * scale + bias)
