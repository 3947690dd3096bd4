"""Building blocks of the U-Net; every norm in them is domain-specific (1 makes it an ordinary one, 0 leaves it out)."""

from __future__ import annotations

import torch
from custom_components.networks.norms import DomainSpecificBatchNorm2d, FoldedNorm
from torch import Tensor, nn


class ConvBlock(nn.Module):
    """Twice: 3x3 convolution with bias, norm, ReLU.

    Shape:
        (N, in_channels, H, W) to (N, out_channels, H, W); `groups` as in `norms.group_by_domain`.
    """

    def __init__(self, in_channels: int, out_channels: int, num_norms: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1)
        self.norm1 = _make_norm(out_channels, num_norms)
        self.conv2 = nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=1)
        self.norm2 = _make_norm(out_channels, num_norms)

    def forward(self, x: Tensor, groups: list[tuple[int, int]]) -> Tensor:
        """The whole block."""
        return self.activate(self.convolve(x, groups), groups)

    def convolve(self, x: Tensor, groups: list[tuple[int, int]]) -> Tensor:
        """Up to and including the second convolution."""
        return self.conv2(self.norm1.forward_grouped(self.conv1(x), groups, relu=True))

    def activate(self, x: Tensor, groups: list[tuple[int, int]]) -> Tensor:
        """The second norm and ReLU."""
        return self.norm2.forward_grouped(x, groups, relu=True)


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
