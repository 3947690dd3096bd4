"""Calls of a `MultiDomainUNet` by trainers, and by tools that answer for one domain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from custom_components.errors import InputError
from custom_components.networks.norms import group_by_domain
from custom_components.networks.unet import MultiDomainUNet
from torch import Tensor, nn


def answer_for(network: Any, domain: str) -> None:
    """Choose the domain, by name, that `network(x)` answers for.

    `network` is a `MultiDomainUNet`, one as TorchScript, or a tool's wrapper that holds it as `predictor`; one that
    knows no domains is left as it is.

    Raises:
        InputError: a network that knows other domains.
    """
    network = getattr(network, "predictor", network)
    names = list(getattr(network, "domain_names", []))
    if names and domain not in names:
        raise InputError(f"domain must be one of {', '.join(names)}, got {domain!r}")
    if names:
        network.domain = names.index(domain)


class EmbeddingForward(nn.Module):
    """Calls a `MultiDomainUNet` as an ordinary module, which trainers and DDP can wrap.

    A batch is one tensor, or a list with one tensor for each domain present, in ascending order, so that each domain
    may have its own size: as norms are the domains' own, a pass a domain is exactly the mixed batch.

    Args:
        network: the network to train.
        dtype: bfloat16 for convolutions in it, by PyTorch's autocast; results are float32 all the same. With any other
            one the network computes as its caller says, as MONAI's trainers do for float16.

    Returns:
        `(logits, embedding)` as `MultiDomainUNet.forward_with_embedding`; with several scales of the embedding or deep
        supervision `(logits, embeddings, deep)` as `MultiDomainUNet.forward_training`. For a list, logits and each of
        `deep` are lists too.
    """

    def __init__(self, network: MultiDomainUNet, *, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.network = network
        self.dtype = dtype

    def forward(self, x: Tensor | Sequence[Tensor], domains: Tensor) -> tuple[Any, ...]:
        """See the class; `domains` (N,) are indices on the CPU."""
        if self.dtype != torch.bfloat16:
            return self._forward(x, domains)
        with torch.autocast((x if isinstance(x, Tensor) else x[0]).device.type, dtype=self.dtype):
            return _as_float(self._forward(x, domains))

    def _forward(self, x: Tensor | Sequence[Tensor], domains: Tensor) -> tuple[Any, ...]:
        network = self.network
        more = network.embedding_scales > 1 or (network.training and network.deep_supervision > 0)
        if isinstance(x, Tensor):
            if not more:
                return network.forward_with_embedding(x, domains)
            order, groups = group_by_domain(domains, len(network.num_classes))
            if not bool((order[1:] > order[:-1]).all()):
                raise ValueError(f"batch must be contiguous by domain, got {domains.tolist()}")
            return network.forward_training(x, groups)
        if network.shared_norm and len(x) > 1:
            raise InputError("slices must have one size for all domains where norms are shared; give one image_size")
        _, groups = group_by_domain(domains, len(network.num_classes))
        if [len(own) for own in x] != [count for _, count in groups]:
            raise ValueError(f"batch must have {groups} (domain, slices), got {[len(own) for own in x]} slices")
        each = [network.forward_training(own, [group]) for own, group in zip(x, groups, strict=True)]
        logits = [own for own, _, _ in each]
        embeddings = [torch.cat(scale) for scale in zip(*(own for _, own, _ in each), strict=True)]
        deep = [list(level) for level in zip(*(own for _, _, own in each), strict=True)]
        return (logits, embeddings, deep) if more else (logits, embeddings[0])


def _as_float(results: Any) -> Any:
    """A tensor, or tuples and lists of them, in float32."""
    if isinstance(results, Tensor):
        return results.float()
    return type(results)(_as_float(result) for result in results)
