"""What a trained model is on disk: weights, and all that inference needs to use them."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from custom_components.domains import Domain, find_domain
from custom_components.errors import InputError
from custom_components.files import file_digest, write_atomically
from custom_components.networks import MultiDomainUNet
from custom_components.preprocessing import Preprocessing

__all__ = ["TrainedModel", "build_network", "load_checkpoint", "load_model", "save_checkpoint"]

_FORMAT = "multijoint-1"


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
            "format": _FORMAT,
            "model": dict(self.weights),
            "network": dict(self.network),
            "domains": [domain.to_dict() for domain in self.domains],
            "preprocessing": {
                "image_size": list(self.preprocessing.image_size),
                "normalization": self.preprocessing.normalization,
            },
            "training": dict(self.training),
        }


def save_checkpoint(path: Path, model: TrainedModel, *, resume: Mapping[str, Any] | None = None) -> None:
    """Write a model whole or not at all; `resume` is what going on needs besides, such as the optimizer's state."""
    buffer = io.BytesIO()
    torch.save(model.to_dict() | ({} if resume is None else {"resume": dict(resume)}), buffer)
    write_atomically(path, buffer.getvalue())


def load_checkpoint(path: str | Path, *, device: str | torch.device = "cpu") -> dict[str, Any]:
    """Read what `save_checkpoint` wrote, without executing anything in it.

    Raises:
        InputError: missing, truncated, not a checkpoint, or not one of ours.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"checkpoint {path} must be a file, got none; train first or correct the path")
    try:
        content = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # a damaged file fails in torch, zipfile or pickle, each with errors of its own
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"checkpoint {path} must be a readable PyTorch file, got {reason}; copy it again") from error
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise InputError(
            f"checkpoint {path} must be a model trained by this project ({_FORMAT}), got another file; "
            "give the model.pt of a training run"
        )
    return content


def load_model(path: str | Path) -> TrainedModel:
    """Read a trained model onto the CPU; see `load_checkpoint` for errors."""
    content = load_checkpoint(path)
    missing = [key for key in ("domains", "preprocessing", "network", "model", "training") if key not in content]
    if missing:
        raise InputError(f"checkpoint {path} must hold {', '.join(missing)}, got none; train again")
    return TrainedModel(
        domains=tuple(Domain.from_dict(data) for data in content["domains"]),
        preprocessing=Preprocessing(**content["preprocessing"]),
        network=content["network"],
        weights=content["model"],
        training=content["training"],
        digest=file_digest(Path(path)),
    )


def build_network(model: TrainedModel, *, domain: str | None = None) -> MultiDomainUNet:
    """The network with its weights, in evaluation mode, answering for `domain` (or the only one).

    With several domains and none named it answers for the first, and `set_domain` chooses another.

    Raises:
        InputError: unknown domain, or weights that are not this network's.
    """
    index = 0 if domain is None else find_domain(model.domains, domain)
    network = MultiDomainUNet(**model.network, domain=index)
    try:
        network.load_state_dict(dict(model.weights))
    except RuntimeError as error:
        raise InputError(f"weights must fit the network they come with, got {error}; train again") from error
    return network.eval()
