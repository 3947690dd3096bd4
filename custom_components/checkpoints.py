"""What a trained model is on disk: weights, and all that inference needs to use them."""

from __future__ import annotations

import io
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from custom_components.digests import read_checked, write_generation, write_with_digest
from custom_components.domains import Domain, find_domain
from custom_components.errors import InputError
from custom_components.networks import MultiDomainUNet
from custom_components.preprocessing import Preprocessing

__all__ = [
    "RESUMABLE",
    "TrainedModel",
    "build_network",
    "is_finite",
    "load_checkpoint",
    "load_model",
    "load_newest",
    "save_checkpoint",
]

RESUMABLE = ("last.pt", "previous.pt")
"""Names of the two checkpoints of a run that it can be continued from, newest first."""

_FORMAT = "multijoint-1"
_PLAIN = (str, int, float, bool, Tensor, type(None))
_logger = logging.getLogger(__name__)


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
    """Write a model whole or not at all, with its SHA-256 beside.

    Args:
        path: file to write or replace. What a `last.pt` holds so far is kept as `previous.pt`.
        model: weights and what travels with them.
        resume: what going on needs besides, such as the optimizer's state.
    """
    buffer = io.BytesIO()
    torch.save(model.to_dict() | ({} if resume is None else {"resume": dict(resume)}), buffer)
    if path.name == RESUMABLE[0]:
        write_generation(path, path.with_name(RESUMABLE[1]), buffer.getvalue())
    else:
        write_with_digest(path, buffer.getvalue())


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read what `save_checkpoint` wrote onto the CPU, without executing anything in it.

    Raises:
        InputError: missing, damaged, not a checkpoint, not one of ours, or with weights that are not numbers.
    """
    return _load(Path(path))[0]


def load_newest(folder: Path) -> dict[str, Any]:
    """The newest undamaged checkpoint that the run in `folder` can be continued from; see `RESUMABLE`.

    Raises:
        InputError: there is none, or all are damaged.
    """
    found: list[tuple[tuple[int, int], dict[str, Any]]] = []
    reasons = []
    for path in (folder / name for name in RESUMABLE):
        try:
            content = load_checkpoint(path)
            place = int(content["training"]["epoch"]), int(content["resume"].get("steps", 0))
        except InputError as error:
            reasons.append(str(error))
        except (KeyError, TypeError, ValueError, AttributeError):
            reasons.append(f"checkpoint {path} must hold what a training continues from, got a model alone")
        else:
            found.append((place, content))
            continue
        if path.exists():
            _logger.warning("left out: %s", reasons[-1])
    if not found:
        raise InputError(f"resume needs a whole last.pt or previous.pt; {reasons[0]}")
    return max(found, key=lambda each: each[0])[1]


def load_model(path: str | Path) -> TrainedModel:
    """Read a trained model onto the CPU; see `load_checkpoint` for errors."""
    path = Path(path)
    content, digest = _load(path)
    missing = [key for key in ("domains", "preprocessing", "network", "model", "training") if key not in content]
    if missing:
        raise InputError(f"checkpoint {path} must hold {', '.join(missing)}, got none; train again")
    try:
        return TrainedModel(
            domains=tuple(Domain.from_dict(data) for data in content["domains"]),
            preprocessing=Preprocessing(**content["preprocessing"]),
            network=dict(content["network"]),
            weights=content["model"],
            training=dict(content["training"]),
            digest=digest,
        )
    except Exception as error:  # values of any type may stand in a file that somebody else wrote
        raise InputError(f"checkpoint {path} must describe a model, got {error!r}; train again") from error


def build_network(model: TrainedModel, *, domain: str | None = None) -> MultiDomainUNet:
    """The network with its weights, in evaluation mode, answering for `domain` (or the only one).

    With several domains and none named it answers for the first, and `set_domain` chooses another.

    Raises:
        InputError: unknown domain, or weights that are not this network's.
    """
    index = 0 if domain is None else find_domain(model.domains, domain)
    try:
        network = MultiDomainUNet(**model.network, domain=index)
        network.load_state_dict(dict(model.weights))
    except (RuntimeError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"weights must fit the network they come with, got {error}; train again") from error
    for name, own in network.state_dict().items():
        if own.is_floating_point() != model.weights[name].is_floating_point():
            raise InputError(f"weight {name} must be {own.dtype}, got {model.weights[name].dtype}; train again")
    return network.eval()


def is_finite(tensors: Mapping[str, Tensor]) -> bool:
    """Whether no tensor holds a NaN or an infinite value; one of whole numbers never does."""
    return all(bool(tensor.isfinite().all()) for tensor in tensors.values())


def _load(path: Path) -> tuple[dict[str, Any], str]:
    """Content and digest of a checkpoint."""
    if not path.is_file():
        raise InputError(f"checkpoint {path} must be a file, got none; train first or correct the path")
    data, digest = read_checked(path)
    try:
        content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # a file of another kind fails in torch, zipfile or pickle, each with errors of its own
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"checkpoint {path} must be a readable PyTorch file, got {reason}; copy it again") from error
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise InputError(
            f"checkpoint {path} must be a model trained by this project ({_FORMAT}), got another file; "
            "give the model.pt of a training run"
        )
    foreign = _find_foreign(content)
    weights = content.get("model", {})
    if foreign or not isinstance(weights, dict) or not all(isinstance(each, Tensor) for each in weights.values()):
        raise InputError(
            f"checkpoint {path} must hold tensors and plain types, got {foreign or 'weights of another type'}; "
            "train again"
        )
    if not is_finite(weights):
        raise InputError(f"weights in {path} must be finite, got NaN or infinity; use an earlier checkpoint")
    return content, digest


def _find_foreign(value: Any) -> str:
    """Name of a type in `value` that is neither a tensor nor plain; "" if there is none."""
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if isinstance(value, list | tuple):
        return next(filter(None, map(_find_foreign, value)), "")
    return "" if isinstance(value, _PLAIN) else type(value).__name__
