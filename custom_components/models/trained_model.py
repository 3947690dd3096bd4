"""Trained models in memory: weights with everything that inference needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from custom_components.data.preprocessing import Preprocessing
from custom_components.domains import Domain, check_planes, find_domain, output_channels, planes_of
from custom_components.errors import InputError
from custom_components.quality.calibration import DomainQuality
from torch import Tensor

FORMAT = "multijoint-1"
"""Format of the content of a checkpoint."""

QUALITY = "quality"
"""Optional key of `TrainedModel.training`: domain name -> `DomainQuality.to_dict`."""

QUALITY_WEIGHTS = "quality_weights_sha256"
"""Key of `TrainedModel.training` in a packaged bundle: digest of the weights with which `QUALITY` was measured."""


@dataclass(frozen=True)
class TrainedModel:
    """Weights with everything that inference needs.

    Args:
        domains: name, labels and slicing plane of each domain.
        preprocessing: image size and normalisation.
        network: keyword arguments of `MultiDomainUNet`.
        weights: its state dict.
        training: provenance (epoch, validation Dice, seed, subjects of each side of the split, versions) and measured
            quality (`QUALITY`).
        digest: SHA-256 of the file from which it was read, in hexadecimal.
        members: the models of an ensemble, see `ensembles.join_models`, whose own weights are empty; none for a model
            by itself.
    """

    domains: tuple[Domain, ...]
    preprocessing: Preprocessing
    network: Mapping[str, Any]
    weights: Mapping[str, Tensor]
    training: Mapping[str, Any]
    digest: str = ""
    members: tuple[TrainedModel, ...] = ()

    def __post_init__(self) -> None:
        check_planes(self.domains, self.network.get("head", "domain"))

    @property
    def data_sets(self) -> list[Domain]:
        """The domains that are data sets; further planes of their volumes are left out."""
        return [domain for domain in self.domains if not domain.plane_of]

    def domain(self, name: str | None) -> Domain:
        """The domain called `name`; None is accepted if there is only one."""
        return self.domains[find_domain(self.domains, name)]

    def channels(self, name: str | None) -> list[int]:
        """The network's output channel of each class of a domain; see `domains.output_channels`."""
        num_classes = [domain.num_classes for domain in self.domains]
        return output_channels(num_classes, self.network["head"])[find_domain(self.domains, name)]

    def planes(self, name: str | None) -> list[Domain]:
        """A domain and those that slice its volumes in other planes; see `domains.planes_of`."""
        return [self.domains[index] for index in planes_of(self.domains, name)]

    def in_channels(self, name: str | None) -> int:
        """Channels of the slices that the network takes for a domain."""
        counts = self.network["in_channels"]
        return int(counts if isinstance(counts, int) else counts[find_domain(self.domains, name)])

    def quality(self, name: str | None) -> DomainQuality | None:
        """Quality of the model in a domain; None if unknown.

        Raises:
            InputError: the stored quality is malformed.
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
        """Copy of the model with the digest of its file, without a quality that was measured with other weights."""
        if self.training.get(QUALITY_WEIGHTS, digest) == digest:
            return replace(self, digest=digest)
        training = {key: value for key, value in self.training.items() if key not in (QUALITY, QUALITY_WEIGHTS)}
        return replace(self, digest=digest, training=training)

    def to_dict(self) -> dict[str, Any]:
        """Content of a checkpoint: tensors and plain types only, for `torch.load(weights_only=True)`."""
        return {
            "format": FORMAT,
            "model": dict(self.weights),
            "network": dict(self.network),
            "domains": [domain.to_dict() for domain in self.domains],
            "preprocessing": self.preprocessing.to_dict(),
            "training": dict(self.training),
        }
