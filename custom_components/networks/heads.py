"""Output layers: one of a domain alone, or one that shares the rows of bones of one name with other domains."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from custom_components.domains import Domain
from torch import Tensor, nn


def make_head(in_channels: int, num_classes: int, foreground_prior: float, *, background: bool = True) -> nn.Conv2d:
    """1x1 convolution whose bias gives each bone its prior probability; with `background`, class 0 is none."""
    head = nn.Conv2d(in_channels, num_classes, kernel_size=1)
    bias = torch.full((num_classes,), math.log(foreground_prior))
    if background:
        bias[0] = 0.0
    head.bias = nn.Parameter(bias)
    return head


class LabelRows(nn.Module):
    """1x1 output layer of a domain: its own background row, and bones' rows out of a layer that domains share.

    `shared` holds a row for each bone name; `rows` are those of this domain's classes.
    """

    def __init__(self, shared: nn.Conv2d, rows: Sequence[int], foreground_prior: float) -> None:
        super().__init__()
        self.shared = shared
        self.background = make_head(shared.in_channels, 1, foreground_prior)
        self.rows = list(rows)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, 1 + bones, H, W) of features (N, C, H, W)."""
        weight, bias = self.weights()
        return nn.functional.conv2d(x, weight, bias)

    def weights(self) -> tuple[Tensor, Tensor]:
        """Weight and bias of the layer as one."""
        bones, bone_bias = self.shared.weight, self.shared.bias
        own, own_bias = self.background.weight, self.background.bias
        if bone_bias is None or own_bias is None:
            raise TypeError("output layers must have a bias")
        return torch.cat([own, bones[self.rows]]), torch.cat([own_bias, bone_bias[self.rows]])


def own_layer(head: nn.Module) -> nn.Module:
    """The same output layer as a plain convolution that shares nothing."""
    if not isinstance(head, LabelRows):
        return head
    weight, bias = head.weights()
    layer = nn.Conv2d(weight.shape[1], weight.shape[0], kernel_size=1)
    layer.weight, layer.bias = nn.Parameter(weight.detach()), nn.Parameter(bias.detach())
    return layer


def make_heads(
    in_channels: int,
    *,
    channels: Sequence[int],
    label_names: Sequence[Sequence[str] | None] | None,
    foreground_prior: float,
) -> nn.ModuleList:
    """An output layer for each of `channels`; with `label_names`, bones of one name share a row of weights."""
    heads: list[nn.Module] = [make_head(in_channels, count, foreground_prior) for count in channels]
    if label_names is not None:
        bones = list(dict.fromkeys(name for own in label_names for name in own or ()))
        shared = make_head(in_channels, len(bones), foreground_prior, background=False)
        for index, own in enumerate(label_names):
            if own is not None:
                heads[index] = LabelRows(shared, [bones.index(name) for name in own], foreground_prior)
    return nn.ModuleList(heads)


def names_to_share(domains: Sequence[Domain], *, shared: bool, head: str = "domain") -> list[list[str]] | None:
    """The `label_names` of a `MultiDomainUNet`: None unless several domains, with a head each, have a bone of one name.

    Example:
        >>> spine, other = Domain("t1", {1: "L5"}, "sagittal"), Domain("t2", {1: "T12", 2: "L5"}, "sagittal")
        >>> names_to_share([spine, other], shared=True), names_to_share([spine], shared=True)
        ([['L5'], ['T12', 'L5']], None)
    """
    names = [list(domain.labels.values()) for domain in domains]
    several = len({name for own in names for name in own}) < sum(map(len, names))
    return names if shared and several and head == "domain" else None
