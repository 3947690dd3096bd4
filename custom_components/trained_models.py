"""A trained model in memory: weights, and all that inference needs to use them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from custom_components.domains import Domain, find_domain
from custom_components.preprocessing import Preprocessing

__all__ = ["FORMAT", "TrainedModel"]

FORMAT = "multijoint-1"
"""Of a checkpoint's content."""


@dataclass(frozen=True)
class TrainedModel:
    """Weights and what travels with them.

    Args:
        domains: name, labels and slicing plane of each domain.
        preprocessing: image size and normalisation.
        network: keyword arguments of `MultiDomainUNet`.
        weights: its state dict.
        training: where it comes from (epoch, validation Dice, seed, subjects of each side of the split, versions).
        digest: SHA-256 of the file that it was read from, in hexadecimal.
    """

    domains: tuple[Domain, ...]
    preprocessing: Preprocessing
    network: Mapping[str, Any]
    weights: Mapping[str, Tensor]
    training: Mapping[str, Any]
    digest: str = ""

    def domain(self, name: str | None) -> Domain:
        """The domain called `name`; `None` will do when there is only one."""
        return self.domains[find_domain(self.domains, name)]

    def to_dict(self) -> dict[str, Any]:
        """Tensors and plain types only, for `torch.load(weights_only=True)`."""
        return {
            "format": FORMAT,
            "model": dict(self.weights),
            "network": dict(self.network),
            "domains": [domain.to_dict() for domain in self.domains],
            "preprocessing": {
                "image_size": list(self.preprocessing.image_size),
                "normalization": self.preprocessing.normalization,
            },
            "training": dict(self.training),
        }
