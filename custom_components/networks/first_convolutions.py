"""First convolutions of domains whose images have other channels than those of other domains."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class FirstConvolutions(nn.Module):
    """A 3x3 convolution with bias for each domain, since domains may have different channels.

    Args:
        in_channels: channels of the slices of each domain.
        out_channels: features of each convolution.

    Shape:
        (N, in_channels of the domain, H, W) to (N, out_channels, H, W); a batch of several domains, contiguous by
        domain, must have the same number of channels in all of them.

    Example:
        >>> first = FirstConvolutions([1, 2], 4)
        >>> first(torch.rand(3, 2, 8, 8), [(1, 3)]).shape
        torch.Size([3, 4, 8, 8])
    """

    def __init__(self, in_channels: Sequence[int], out_channels: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(count, out_channels, kernel_size=3, padding=1) for count in in_channels)

    def forward(self, x: Tensor, groups: list[tuple[int, int]]) -> Tensor:
        """Features of a batch; `groups` are those of `norms.group_by_domain`."""
        outputs: list[Tensor] = []
        for part, group in zip(torch.split(x, [group[1] for group in groups], dim=0), groups):  # noqa: B905
            features = part
            for index, convolution in enumerate(self.convs):  # TorchScript cannot index a ModuleList by a variable
                if index == group[0]:
                    features = convolution(part)
            outputs.append(features)
        return torch.cat(outputs, dim=0)

    def add_domain(self, weight: Tensor, bias: Tensor) -> None:
        """Append a domain whose convolution starts with copies of these weights, (features, channels, 3, 3)."""
        convolution = nn.Conv2d(weight.shape[1], weight.shape[0], kernel_size=3, padding=1).to(weight)
        convolution.weight, convolution.bias = (nn.Parameter(each.detach().clone()) for each in (weight, bias))
        self.convs.append(convolution)


def spread_channels(weight: Tensor, *, num_slices: int, num_positions: int, num_images: int) -> Tensor:
    """Weights of a first convolution for another number of image channels.

    Each of the new image channels takes an equal share of the sum of the weights of the given ones, so that the
    features stay those that the norms know as far as the channels are alike. Weights of coordinates stay.

    Args:
        weight: of slices with `num_slices` neighbours a channel, channel after channel, then `num_positions`
            coordinates.
        num_slices: slices that a slice is seen with, itself included.
        num_positions: channels of coordinates.
        num_images: image channels of the result.

    Shape:
        (features, channels, 3, 3) to (features, num_images * num_slices + num_positions, 3, 3).

    Example:
        >>> weight = torch.tensor([1.0, 2.0, 6.0, 9.0]).view(1, 4, 1, 1)  # one channel, 3 slices, a coordinate
        >>> spread_channels(weight, num_slices=3, num_positions=1, num_images=2).flatten().tolist()
        [0.5, 1.0, 3.0, 0.5, 1.0, 3.0, 9.0]
    """
    images, positions = weight.split([weight.shape[1] - num_positions, num_positions], dim=1)
    shared = images.unflatten(1, (-1, num_slices)).sum(1) / num_images
    return torch.cat([*[shared] * num_images, positions], dim=1)
