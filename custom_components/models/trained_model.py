"""A trained model in memory: weights, and all that inference needs to use them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from custom_components.data.preprocessing import Preprocessing
from custom_components.domains import Domain, find_domain, output_channels
from custom_components.errors import InputError
from custom_components.quality.calibration import DomainQuality
from torch import Tensor

__all__ = ["FORMAT", "QUALITY", "QUALITY_WEIGHTS", "TrainedModel"]

FORMAT = "multijoint-1"
"""Of a checkpoint's content."""

QUALITY = "quality"
"""Key of `TrainedModel.training` with `DomainQuality.to_dict` by domain. A model without it segments all the same."""

QUALITY_WEIGHTS = "quality_weights_sha256"
"""Key beside it in a packaged bundle, whose weights lie in another file: digest of those it was measured with."""


@dataclass(frozen=True)
class TrainedModel:
    """Weights and what travels with them.

    Args:
        domains: name, labels and slicing plane of each domain.
        preprocessing: image size and normalisation.
        network: keyword arguments of `MultiDomainUNet`.
        weights: its state dict.
        training: where it comes from (epoch, validation Dice, seed, subjects of each side of the split, versions), and
            what was measured of it (`QUALITY`).
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

    def channels(self, name: str | None) -> list[int]:
        """The network's output channel of each class of a domain; see `domains.output_channels`."""
        num_classes = [domain.num_classes for domain in self.domains]
        return output_channels(num_classes, self.network["head"])[find_domain(self.domains, name)]

    def quality(self, name: str | None) -> DomainQuality | None:
        """What is known about results in a domain; None if nothing.

        Raises:
            InputError: something else stands in its place.
        """
        domain = self.domain(name).name
        try:
            found = self.training.get(QUALITY, {}).get(domain)
            return None if found is None else DomainQuality.from_dict(found)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"quality of domain {domain} in the model must be as multijoint calibrate writes it, got {error!r}; "
                "calibrate the model again"
            ) from error

    def read_from(self, digest: str) -> TrainedModel:
        """The model as that of a file, without what was measured of other weights than those in it."""
        if self.training.get(QUALITY_WEIGHTS, digest) == digest:
            return replace(self, digest=digest)
        training = {key: value for key, value in self.training.items() if key not in (QUALITY, QUALITY_WEIGHTS)}
        return replace(self, digest=digest, training=training)

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
