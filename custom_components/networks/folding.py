"""One domain of a trained network by itself; its norms multiplied into the convolutions: smaller, faster, the same."""

from __future__ import annotations

import copy

import torch
from custom_components.networks.blocks import AttentionGate, ConvBlock
from custom_components.networks.first_convolutions import FirstConvolutions
from custom_components.networks.norms import DomainSpecificBatchNorm2d, FoldedNorm
from custom_components.networks.unet import MultiDomainUNet
from torch import nn


def fold_network(network: MultiDomainUNet) -> MultiDomainUNet:
    """A copy without any norm, whose logits for the domain that `network` answers for are the same but for rounding.

    The copy keeps all heads; for other domains its logits mean nothing. `network` must be in evaluation mode; one that
    is folded already is returned as it is.
    """
    if not any(isinstance(module, DomainSpecificBatchNorm2d) for module in network.modules()):
        return network
    index = 0 if network.shared_norm else network.domain
    network = copy.deepcopy(network)
    for block in network.modules():
        if isinstance(block, ConvBlock):
            first = block.conv1
            _fold(first.convs[network.domain] if isinstance(first, FirstConvolutions) else first, block.norm1, index)
            _fold(block.conv2, block.norm2, index)
            block.norm1, block.norm2 = FoldedNorm(), FoldedNorm()
        elif isinstance(block, AttentionGate):
            _fold(block.output, block.norm, index)
            block.norm = FoldedNorm()
    for weight in network.parameters():
        if weight.dim() == 4:
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)  # faster on every device
    return network


@torch.no_grad()
def _fold(convolution: nn.Module, norm: nn.Module, index: int) -> None:
    if (
        not isinstance(convolution, nn.Conv2d)
        or convolution.bias is None
        or not isinstance(norm, DomainSpecificBatchNorm2d)
    ):
        raise TypeError(f"a convolution with bias and a norm can be folded, got {convolution} and {norm}")
    own = norm.norms[index]
    weight, bias = own.get_parameter("weight").double(), own.get_parameter("bias").double()
    mean, variance = own.get_buffer("running_mean").double(), own.get_buffer("running_var").double()
    scale = weight / torch.sqrt(variance + norm.eps)
    convolution.weight.copy_(convolution.weight.double() * scale[:, None, None, None])
    convolution.bias.copy_((convolution.bias.double() - mean) * scale + bias)
