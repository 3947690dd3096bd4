"""Several networks as one, whose probabilities are the mean of theirs; or one, in another number format."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import torch
from custom_components.networks.folding import fold_network
from custom_components.networks.unet import MultiDomainUNet
from torch import Tensor, nn


class MeanNetwork(nn.Module):
    """Logarithm of the mean probabilities of several `MultiDomainUNet`, one domain at a time.

    Members answer one after another in the order in which they are given, and their probabilities are added in that
    order. So memory does not grow with their number, and equal order gives equal bits.

    Args:
        members: networks with the same domains, input and kind of head.
        dtype: format that members compute in once their norms are folded into them; probabilities are float32.

    Shape:
        images (N, in_channels, rows, columns) to log-probabilities (N, channels, rows, columns), float32.

    Example:
        >>> networks = [MultiDomainUNet([3], widths=[2, 4]).eval() for _ in range(2)]
        >>> bool((MeanNetwork(networks)(torch.zeros(1, 1, 4, 4)).exp().sum(dim=1) - 1 < 1e-5).all())
        True
    """

    def __init__(self, members: Sequence[MultiDomainUNet], *, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.dtype = dtype
        self.domain_names = list(members[0].domain_names)

    @property
    def domain(self) -> int:
        """Index of the domain that `network(x)` answers for."""
        return int(self.members[0].domain)  # type: ignore[arg-type]

    @domain.setter
    def domain(self, index: int) -> None:
        for member in self.members:
            member.domain = index  # type: ignore[assignment]

    def set_domain(self, domain: int | str) -> None:
        """Choose the domain, by index or name, that `network(x)` answers for."""
        for member in self.members:
            member.set_domain(domain)  # type: ignore[operator]

    def folded(self) -> MeanNetwork:
        """A copy whose members have no norms, in `dtype`; see `folding.fold_network`."""
        members = [fold_network(member) for member in self.members]  # type: ignore[arg-type]
        return MeanNetwork([member.to(self.dtype) for member in members], dtype=self.dtype)

    def forward(self, images: Tensor) -> Tensor:
        """Log-probabilities; see the class for shapes."""
        answers = (member(images.to(next(member.parameters()).dtype)) for member in self.members)
        total = reduce(torch.add, (answer.float().softmax(dim=1) for answer in answers))
        return (total / len(self.members)).clamp(min=torch.finfo(torch.float32).tiny).log()
