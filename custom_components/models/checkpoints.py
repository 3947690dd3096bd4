"""What a trained model is on disk: weights, and all that inference needs to use them."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from custom_components.data.preprocessing import Preprocessing
from custom_components.domains import Domain, find_domain
from custom_components.errors import InputError
from custom_components.models.digests import read_checked, write_generation, write_with_digest
from custom_components.models.trained_model import FORMAT, TrainedModel
from custom_components.networks.parameters import is_finite
from custom_components.networks.unet import MultiDomainUNet
from torch import Tensor

__all__ = [
    "RESUMABLE",
    "build_network",
    "check_domains",
    "describe_model",
    "load_checkpoint",
    "load_model",
    "load_weights",
    "save_checkpoint",
    "state_dict_bytes",
]

RESUMABLE = ("last.pt", "previous.pt")
"""Names of the two checkpoints of a run that it can be continued from, newest first."""

_PLAIN = (str, int, float, bool, Tensor, type(None))


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


def load_model(path: str | Path) -> TrainedModel:
    """Read a trained model onto the CPU: a run's `model.pt`, or the folder of a packaged bundle.

    Of a bundle the description in `configs/inference.json` is read as plain data and `models/model.pt` as tensors;
    nothing in it is evaluated.

    Raises:
        InputError: see `load_checkpoint`.
    """
    path = Path(path)
    if path.is_dir():
        return _load_bundle(path)
    content, digest = _load(path)
    missing = [key for key in ("domains", "preprocessing", "network", "model", "training") if key not in content]
    if missing:
        raise InputError(f"checkpoint {path} must hold {', '.join(missing)}, got none; train again")
    try:
        return describe_model(
            domains=content["domains"],
            preprocessing=content["preprocessing"],
            network=content["network"],
            training=content["training"],
            digest=digest,
            weights=content["model"],
        )
    except Exception as error:  # values of any type may stand in a file that somebody else wrote
        raise InputError(f"checkpoint {path} must describe a model, got {error!r}; train again") from error


def describe_model(
    *,
    domains: Sequence[Mapping[str, Any]],
    preprocessing: Mapping[str, Any],
    network: Mapping[str, Any],
    training: Mapping[str, Any] | None = None,
    digest: str = "",
    weights: Mapping[str, Tensor] | None = None,
) -> TrainedModel:
    """A model from plain data, as a packaged bundle's configuration states it.

    Args:
        domains: see `Domain.to_dict`.
        preprocessing: arguments of `Preprocessing`.
        network: arguments of `MultiDomainUNet`.
        training: where it comes from.
        digest: SHA-256 of the file with the weights.
        weights: none if only the description is needed, which then needs no file.
    """
    return TrainedModel(
        domains=tuple(Domain.from_dict(data) for data in domains),
        preprocessing=Preprocessing(**preprocessing),
        network=dict(network),
        weights=dict(weights or {}),
        training=dict(training or {}),
        digest=digest,
    )


def build_network(model: TrainedModel, *, domain: str | None = None) -> MultiDomainUNet:
    """The network with its weights, in evaluation mode, answering for `domain` (or the only one).

    With several domains and none named it answers for the first, and `set_domain` chooses another.

    Raises:
        InputError: unknown domain, or weights that are not this network's.
    """
    index = 0 if domain is None else find_domain(model.domains, domain)
    try:
        network = MultiDomainUNet(**model.network, domain=index)
    except (RuntimeError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"weights must fit the network they come with, got {error}; train again") from error
    return _fill(network, model.weights)


def load_weights(network: MultiDomainUNet, *, path: str | Path, device: str | torch.device = "cpu") -> MultiDomainUNet:
    """Fill a network with the weights of a packaged bundle, in evaluation mode on `device`.

    Args:
        network: its architecture; filled in place and returned.
        path: `models/model.pt`, a plain state dict, or a run's checkpoint.
        device: where the network goes.

    Raises:
        InputError: missing, damaged, or weights of another network.
    """
    path = Path(path)
    content, _ = _read(path)
    if isinstance(content, dict) and content.get("format") == FORMAT:
        content = content.get("model")
    return _fill(network, _check_weights(path, content)).to(device)


def _fill(network: MultiDomainUNet, weights: Mapping[str, Tensor]) -> MultiDomainUNet:
    try:
        network.load_state_dict(dict(weights))
    except (RuntimeError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"weights must fit the network they come with, got {error}; train again") from error
    for name, own in network.state_dict().items():
        if own.is_floating_point() != weights[name].is_floating_point():
            raise InputError(f"weight {name} must be {own.dtype}, got {weights[name].dtype}; train again")
    return network.eval()


def _load_bundle(folder: Path) -> TrainedModel:
    path = folder / "configs" / "inference.json"
    try:
        described = dict(json.loads(path.read_text(encoding="utf-8"))["model"])
        described.pop("_target_", None)
        model = describe_model(**described)
        missing = {"num_classes", "norm", "head", "in_channels"} - model.network.keys()
        if missing:
            raise ValueError(f"a network without {', '.join(sorted(missing))}")
    except Exception as error:  # whatever somebody else wrote
        raise InputError(
            f"bundle {folder} must be a packaged one, whose configs/inference.json describes a model, got {error!r}; "
            "make it with multijoint package, or give a run's model.pt"
        ) from error
    weights = folder / "models" / "model.pt"
    if not weights.is_file() and (folder / "large_files.yml").is_file():
        raise InputError(
            f"bundle {folder} must have its weights, which lie elsewhere; unpack it and fetch them: "
            "python -m monai.bundle download_large_files --bundle_path FOLDER"
        )
    content, digest = _read(weights)
    return replace(model.read_from(digest), weights=_check_weights(weights, content))


def _load(path: Path) -> tuple[dict[str, Any], str]:
    """Content and digest of a checkpoint."""
    content, digest = _read(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError(
            f"checkpoint {path} must be a model trained by this project ({FORMAT}), got another file; "
            "give the model.pt of a training run"
        )
    _check_weights(path, content.get("model", {}), beside=content)
    return content, digest


def _read(path: Path) -> tuple[Any, str]:
    """What a PyTorch file holds, and the file's digest."""
    if not path.is_file():
        raise InputError(f"checkpoint {path} must be a file, got none; train first or correct the path")
    data, digest = read_checked(path)
    try:
        content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # a file of another kind fails in torch, zipfile or pickle, each with errors of its own
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"checkpoint {path} must be a readable PyTorch file, got {reason}; copy it again") from error
    return content, digest


def _check_weights(path: Path, weights: Any, *, beside: Any = None) -> dict[str, Tensor]:
    """The weights, if they and what stands beside them in the file are what they should be."""
    foreign = _find_foreign([weights, beside])
    if foreign or not isinstance(weights, dict) or not all(isinstance(each, Tensor) for each in weights.values()):
        raise InputError(
            f"checkpoint {path} must hold tensors and plain types, got {foreign or 'weights of another type'}; "
            "train again"
        )
    if not is_finite(weights):
        raise InputError(f"weights in {path} must be finite, got NaN or infinity; use an earlier checkpoint")
    return weights


def _find_foreign(value: Any) -> str:
    """Name of a type in `value` that is neither a tensor nor plain; "" if there is none."""
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if isinstance(value, list | tuple):
        return next(filter(None, map(_find_foreign, value)), "")
    return "" if isinstance(value, _PLAIN) else type(value).__name__


def check_domains(model: TrainedModel, *, domains: Sequence[Domain]) -> None:
    """Refuse domains that the model does not know, or knows with other labels or another plane.

    Raises:
        InputError: naming the domain.
    """
    for domain in domains:
        known = model.domain(domain.name)
        if (dict(known.labels), known.plane) != (dict(domain.labels), domain.plane):
            raise InputError(
                f"domain {domain.name} must have the labels and plane of the checkpoint "
                f"({dict(known.labels)}, {known.plane}), got {dict(domain.labels)}, {domain.plane}; "
                "use the manifest it was trained with"
            )


def state_dict_bytes(model: TrainedModel) -> bytes:
    """A file with the weights alone, as every tool loads it; the same weights give the same bytes."""
    buffer = io.BytesIO()
    torch.save({name: tensor.detach().cpu().contiguous().clone() for name, tensor in model.weights.items()}, buffer)
    return buffer.getvalue()
