"""Batch normalisation with separate statistics and affine weights for every domain."""

from __future__ import annotations

import copy

import torch
from custom_components.distributed import num_ranks
from custom_components.networks.joined_norms import can_join, normalise_parts
from custom_components.networks.synchronised_norms import normalise_over_ranks
from torch import Tensor, nn


def group_by_domain(domains: Tensor, num_domains: int) -> tuple[Tensor, list[tuple[int, int]]]:
    """Stable order that makes a batch contiguous by domain, and the runs it then consists of.

    Keep the domain indices, integers of shape (N,), on the CPU: elsewhere reading them forces a synchronisation.

    Returns:
        `order`, shape (N,), and `(domain, number of samples)` for each domain that is present, in ascending order.

    Raises:
        ValueError: an index outside 0..num_domains-1; it never wraps around.

    Example:
        >>> group_by_domain(torch.tensor([1, 0, 1]), 2)
        (tensor([1, 0, 2]), [(0, 1), (1, 2)])
    """
    order = torch.argsort(domains, stable=True)
    counts: list[int] = [0] * num_domains
    indices: list[int] = domains.tolist()
    for index in indices:
        if index < 0 or index >= num_domains:
            known = f"0..{num_domains - 1}"
            raise ValueError(f"domain index must be {known}, got {index}; add the domain to the network first")
        counts[index] += 1
    groups: list[tuple[int, int]] = []
    for domain, count in enumerate(counts):  # TorchScript knows no conditional comprehension
        if count > 0:
            groups.append((domain, count))
    return order, groups


class DomainSpecificBatchNorm2d(nn.Module):
    """Normalise every sample of a mixed batch by its own domain (DSBN).

    A domain that is absent from a batch keeps its running statistics, and its weights get no gradient at all (`None`,
    not zero), so that an optimiser with momentum leaves them where they are.

    `eps` is added to the variance; `momentum` is the weight of the newest batch in the running statistics.

    Shape:
        Input (N, num_features, H, W) and domain indices (N,); output as the input.

    Source:
        Eq. 1 of Boutillon et al. 2021; Chang et al., CVPR 2019. At test time the domain's running statistics are used.

    Example:
        >>> norm = DomainSpecificBatchNorm2d(3, num_domains=2)
        >>> norm(torch.rand(4, 3, 8, 8), torch.tensor([1, 0, 0, 1])).shape
        torch.Size([4, 3, 8, 8])
    """

    def __init__(self, num_features: int, num_domains: int, *, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        if num_domains < 1:
            raise ValueError(f"num_domains must be at least 1, got {num_domains}")
        self.eps = eps
        self.norms = nn.ModuleList(nn.BatchNorm2d(num_features, eps=eps, momentum=momentum) for _ in range(num_domains))

    def forward(self, x: Tensor, domains: Tensor) -> Tensor:
        """Normalise samples in any order of domains; see the class for shapes."""
        if domains.numel() != x.shape[0]:
            raise ValueError(f"domains must hold one index a sample ({x.shape[0]}), got {domains.numel()}")
        order, groups = group_by_domain(domains, len(self.norms))
        if len(groups) == 1:
            return self.forward_grouped(x, groups)
        order = order.to(x.device)
        return self.forward_grouped(x.index_select(0, order), groups).index_select(0, torch.argsort(order))

    def forward_grouped(self, x: Tensor, groups: list[tuple[int, int]], relu: bool = False) -> Tensor:
        """Normalise a batch that is already contiguous by domain: no permutation, one kernel a domain present.

        In a training over several processes each domain's statistics are those of its samples in all of them. `x` is
        (N, C, H, W), `groups` are those of `group_by_domain`, and `relu` adds a ReLU.
        """
        if not torch.jit.is_scripting():  # TorchScript leaves out the inside of this one alone
            if self.training and num_ranks() > 1:
                x = normalise_over_ranks(x, groups, self.norms)
                return torch.relu_(x) if relu else x
            if len(groups) > 1:
                own = [self.norms[domain] for domain, _ in groups]
                if can_join(x, own):
                    return normalise_parts(x, [count for _, count in groups], own, relu=relu)
        if len(groups) == 1:
            x = self._normalise(x, groups[0][0])
        else:
            # One split, whose backward is one concatenation: slicing would allocate a full gradient for each domain.
            parts = torch.split(x, [group[1] for group in groups], dim=0)
            outputs: list[Tensor] = []
            for part, group in zip(parts, groups):  # noqa: B905  (TorchScript knows no `strict`)
                outputs.append(self._normalise(part, group[0]))
            x = torch.cat(outputs, dim=0)
        return torch.relu_(x) if relu else x

    def _normalise(self, x: Tensor, domain: int) -> Tensor:
        if not torch.jit.is_scripting():
            return self.norms[domain](x)
        for index, norm in enumerate(self.norms):  # TorchScript cannot index a ModuleList by a variable
            if index == domain:
                x = norm(x)
        return x

    @torch.jit.unused
    def add_domain(self, like: int = 0) -> int:
        """Append a domain that starts as a copy of domain `like`; returns its index."""
        self.norms.append(copy.deepcopy(self.norms[like]))
        return len(self.norms) - 1


class FoldedNorm(nn.Module):
    """Replacement of a norm that has been multiplied into the convolution before it; at most a ReLU is left."""

    def forward_grouped(self, x: Tensor, groups: list[tuple[int, int]], relu: bool = False) -> Tensor:
        """Return `x`, or its ReLU."""
        return torch.relu_(x) if relu else x
