"""Building blocks of the U-Net; every norm in them is domain-specific (1 makes it an ordinary one, 0 leaves it out)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import cast

import torch
from custom_components.networks.first_convolutions import FirstConvolutions
from custom_components.networks.norms import DomainSpecificBatchNorm2d, FoldedNorm
from torch import Tensor, nn


class ConvBlock(nn.Module):
    """Twice: 3x3 convolution with bias, norm, ReLU.

    Shape:
        (N, in_channels, H, W) to (N, out_channels, H, W); `groups` as in `norms.group_by_domain`.
    """

    def __init__(self, in_channels: int, out_channels: int, num_norms: int) -> None:
        super().__init__()
        self.conv1: nn.Module = nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1)
        self.norm1 = _make_norm(out_channels, num_norms)
        self.conv2 = nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=1)
        self.norm2 = _make_norm(out_channels, num_norms)

    def forward(self, x: Tensor, groups: list[tuple[int, int]]) -> Tensor:
        """The whole block."""
        return self.activate(self.convolve(x, groups), groups)

    def convolve(self, x: Tensor, groups: list[tuple[int, int]]) -> Tensor:
        """Up to and including the second convolution."""
        return self.conv2(self.norm1.forward_grouped(self._first(x, groups), groups, relu=True))

    def activate(self, x: Tensor, groups: list[tuple[int, int]]) -> Tensor:
        """The second norm and ReLU."""
        return self.norm2.forward_grouped(x, groups, relu=True)

    def _first(self, x: Tensor, groups: list[tuple[int, int]]) -> Tensor:
        return self.conv1(x)


class FirstBlock(ConvBlock):
    """A block on the image, whose first convolution each domain has to itself, with its own channels."""

    def __init__(self, in_channels: Sequence[int], out_channels: int, num_norms: int) -> None:
        super().__init__(in_channels[0], out_channels, num_norms)
        self.conv1 = FirstConvolutions(in_channels, out_channels)

    @classmethod
    def of_copies(cls, block: ConvBlock, num_domains: int) -> FirstBlock:
        """The same block with a copy of its first convolution for each domain."""
        made = cls([1], 1, 0)
        made.norm1, made.conv2, made.norm2 = block.norm1, block.conv2, block.norm2
        made.conv1.convs = nn.ModuleList(copy.deepcopy(block.conv1) for _ in range(num_domains))
        return made.train(block.training)

    def _first(self, x: Tensor, groups: list[tuple[int, int]]) -> Tensor:
        return self.conv1(x, groups)


def add_first(encoder: nn.ModuleList, weight: Tensor | None, *, like: int, num_domains: int) -> int | list[int]:
    """Give a new domain its own first convolution with these weights, and so each of the others, in place.

    Args:
        encoder: blocks of a network, of which the first is replaced if all domains share its convolution.
        weight: (features, channels, 3, 3); None copies that of domain `like`, or leaves one that is shared.
        like: index of the domain whose bias is copied.
        num_domains: those of the network before.

    Returns:
        `in_channels` of the network with the new domain.
    """
    block = cast(ConvBlock, encoder[0])
    if isinstance(block.conv1, nn.Conv2d):
        if weight is None:
            return block.conv1.in_channels
        block = FirstBlock.of_copies(block, num_domains)
        encoder[0] = block
    first = cast(FirstConvolutions, block.conv1)
    own = cast(nn.Conv2d, first.convs[like])
    first.add_domain(own.weight if weight is None else weight, cast(Tensor, own.bias))
    return [cast(nn.Conv2d, each).in_channels for each in first.convs]


def keep_first(encoder: nn.ModuleList, indices: Sequence[int]) -> int | list[int]:
    """Keep the first convolutions of some domains alone, in place, and return their numbers of channels."""
    block = cast(ConvBlock, encoder[0])
    if isinstance(block, FirstBlock):
        index, *others = indices
        if others:
            first = cast(FirstConvolutions, block.conv1)
            first.convs = nn.ModuleList(first.convs[each] for each in indices)
            return [cast(nn.Conv2d, each).in_channels for each in first.convs]
        own, first = ConvBlock(1, 1, 0), cast(FirstConvolutions, block.conv1)
        own.conv1, own.norm1, own.conv2, own.norm2 = first.convs[index], block.norm1, block.conv2, block.norm2
        encoder[0] = block = own.train(block.training)
    return cast(nn.Conv2d, block.conv1).in_channels


class AttentionGate(nn.Module):
    """Additive attention gate on a skip connection.

    The skip is projected by a strided 2x2 convolution to the gating signal's grid, added to its projection, and
    squeezed to one coefficient a position, which is interpolated back and weighs the skip; a 1x1 convolution and norm
    follow.

    Shape:
        skip (N, skip_channels, 2H, 2W) and gating signal (N, gate_channels, H, W) to (N, skip_channels, 2H, 2W).

    Source:
        Oktay et al., MIDL 2018, section 2 (grid attention).
    """

    def __init__(self, skip_channels: int, gate_channels: int, num_norms: int) -> None:
        super().__init__()
        self.theta = nn.Conv2d(skip_channels, skip_channels, kernel_size=2, stride=2, bias=False)
        self.phi = nn.Conv2d(gate_channels, skip_channels, kernel_size=1)
        self.psi = nn.Conv2d(skip_channels, 1, kernel_size=1)
        self.output = nn.Conv2d(skip_channels, skip_channels, kernel_size=1)
        self.norm = _make_norm(skip_channels, num_norms)

    def forward(self, skip: Tensor, gate: Tensor, groups: list[tuple[int, int]]) -> Tensor:
        """Weigh `skip` by what `gate` attends to."""
        attention = torch.sigmoid(self.psi(torch.relu(self.theta(skip) + self.phi(gate))))
        attention = nn.functional.interpolate(attention, scale_factor=2.0, mode="bilinear", align_corners=False)
        return self.norm.forward_grouped(self.output(skip * attention), groups)


class OpenGate(nn.Module):
    """The plain U-Net's skip connection: an attention gate that lets everything through."""

    def forward(self, skip: Tensor, gate: Tensor, groups: list[tuple[int, int]]) -> Tensor:
        """Return `skip`."""
        return skip


def _make_norm(num_features: int, num_norms: int) -> DomainSpecificBatchNorm2d | FoldedNorm:
    return DomainSpecificBatchNorm2d(num_features, num_norms) if num_norms else FoldedNorm()
