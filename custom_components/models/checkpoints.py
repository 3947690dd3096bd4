"""Trained models on disk: checkpoints of runs, and packaged bundles."""

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
from custom_components.models.digests import join_digests, write_generation, write_with_digest
from custom_components.models.pickled_files import find_foreign, read_pickled
from custom_components.models.tensor_files import PICKLED, SUFFIX, read_tensor_file, tensor_file
from custom_components.models.trained_model import FORMAT, TrainedModel
from custom_components.networks.parameters import is_finite
from custom_components.networks.unet import MultiDomainUNet
from torch import Tensor

RESUMABLE = ("last.pt", "previous.pt")
"""File names of the two checkpoints from which a run can be resumed, newest first."""


def save_checkpoint(path: Path, model: TrainedModel, *, resume: Mapping[str, Any] | None = None) -> None:
    """Write a model atomically, together with a file of its SHA-256; an existing `last.pt` is kept as `previous.pt`.

    Args:
        path: file to write or replace.
        model: the trained model.
        resume: further state for resuming the training, such as the optimizer's.
    """
    buffer = io.BytesIO()
    torch.save(model.to_dict() | ({} if resume is None else {"resume": dict(resume)}), buffer)
    if path.name == RESUMABLE[0]:
        write_generation(path, path.with_name(RESUMABLE[1]), buffer.getvalue())
    else:
        write_with_digest(path, buffer.getvalue())


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint from `save_checkpoint` onto the CPU, without executing anything in it.

    Raises:
        InputError: the file is missing, damaged, or no checkpoint of this project, or its weights are not finite.
    """
    return _check_content(Path(path), read_pickled(Path(path))[0])


def load_model(path: str | Path) -> TrainedModel:
    """Read a trained model onto the CPU: a run's `model.pt`, or the folder of a packaged bundle.

    From a bundle, `configs/inference.json` is read as plain data, and `models/model.safetensors` or, without it,
    `models/model.pt` as tensors; nothing in it is evaluated. The former is a model by itself too.

    Raises:
        InputError: see `load_checkpoint`.
    """
    path = Path(path)
    if path.is_dir():
        return _load_bundle(path)
    content, digest = _read(path)
    _check_content(path, content)
    missing = [key for key in ("domains", "preprocessing", "network", "model", "training") if key not in content]
    if missing:
        raise InputError(f"checkpoint {path} must hold {', '.join(missing)}, got none; train again")
    described = {key: content[key] for key in ("domains", "preprocessing", "network", "training")}
    try:
        return describe_model(**described, digest=digest, weights=content["model"])
    except Exception as error:  # a foreign file may hold values of any type
        raise InputError(f"checkpoint {path} must describe a model, got {error!r}; train again") from error


def model_file(path: str | Path, member: int = 1) -> Path:
    """The file with the weights that `load_model` reads for a path; `member_2.pt`, ... for those of an ensemble."""
    own = Path(path, "models", "model.pt") if Path(path).is_dir() else Path(path)
    own = own if member == 1 else own.with_name(member_name(member))
    return own if own.is_file() or not own.with_suffix(SUFFIX).is_file() else own.with_suffix(SUFFIX)


def member_name(number: int) -> str:
    """Name of the file of an ensemble's member in a packaged bundle, counted from 1."""
    return "model.pt" if number == 1 else f"member_{number}.pt"


def describe_model(
    *,
    domains: Sequence[Mapping[str, Any]],
    preprocessing: Mapping[str, Any],
    network: Mapping[str, Any],
    training: Mapping[str, Any] | None = None,
    digest: str = "",
    weights: Mapping[str, Tensor] | None = None,
    members: Sequence[Mapping[str, Any]] = (),
) -> TrainedModel:
    """Create a model from plain data, as in the configuration of a packaged bundle.

    Args:
        domains: see `Domain.to_dict`.
        preprocessing: arguments of `Preprocessing`.
        network: arguments of `MultiDomainUNet`.
        training: provenance, see `TrainedModel`.
        digest: SHA-256 of the file with the weights.
        weights: state dict of the network; None if only the description is needed.
        members: `network` and `training` of each model of an ensemble.
    """
    return TrainedModel(
        domains=tuple(Domain.from_dict(data) for data in domains),
        preprocessing=Preprocessing(**preprocessing),
        network=dict(network),
        weights=dict(weights or {}),
        training=dict(training or {}),
        digest=digest,
        members=tuple(describe_model(domains=domains, preprocessing=preprocessing, **each) for each in members),
    )


def build_network(model: TrainedModel, *, domain: str | None = None) -> MultiDomainUNet:
    """Build the network with its weights, in evaluation mode and set to `domain`.

    Without `domain` it is set to the first one; `MultiDomainUNet.set_domain` selects another.

    Raises:
        InputError: the domain is unknown, the weights do not fit the network, or the model is an ensemble.
    """
    if model.members:
        raise InputError(f"model must be one network here, got an ensemble of {len(model.members)}; give one member")
    index = 0 if domain is None else find_domain(model.domains, domain)
    try:
        with torch.device("meta"):  # takes no memory, whatever sizes a foreign file states
            shapes = {name: each.shape for name, each in MultiDomainUNet(**model.network).state_dict().items()}
        held = {name: each.shape for name, each in model.weights.items()}
        wrong = [name for name in {**shapes, **held} if shapes.get(name) != held.get(name)]
        if wrong:
            raise ValueError(f"{len(wrong)} of other names or shapes, first {wrong[0]}")
        network = MultiDomainUNet(**model.network, domain=index)
    except (RuntimeError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"weights must fit the network they come with, got {error}; train again") from error
    return _fill(network, model.weights)


def load_weights(network: MultiDomainUNet, *, path: str | Path, device: str | torch.device = "cpu") -> MultiDomainUNet:
    """Fill a network with the weights of a packaged bundle, in evaluation mode on `device`.

    Args:
        network: network of the same architecture; filled in place and returned.
        path: `models/model.pt`, see `load_model`, or a run's checkpoint.
        device: where the network goes.

    Raises:
        InputError: the file is missing or damaged, or its weights do not fit the network.
    """
    path = Path(path)
    return _fill(network, _check_weights(path, _weights_of(_read(path)[0]))).to(device)


def check_domains(model: TrainedModel, *, domains: Sequence[Domain]) -> None:
    """Raise `InputError` for a domain that is unknown to the model, or has other labels, channels or plane there."""
    for domain in domains:
        known = model.domain(domain.name)
        if tuple(known.channels) != tuple(domain.channels):
            own, given = (", ".join(each.channels) or "one without a name" for each in (known, domain))
            rule = f"channels of domain {domain.name} must be those of the checkpoint ({own})"
            raise InputError(f"{rule}, got {given}; use the manifest it was trained with")
        if (dict(known.labels), known.plane) != (dict(domain.labels), domain.plane):
            raise InputError(
                f"domain {domain.name} must have the labels and plane of the checkpoint "
                f"({dict(known.labels)}, {known.plane}), got {dict(domain.labels)}, {domain.plane}; "
                "use the manifest it was trained with"
            )


def state_dict_bytes(model: TrainedModel) -> bytes:
    """Content of a PyTorch file with the plain state dict; equal weights give equal bytes."""
    buffer = io.BytesIO()
    weights = sorted(model.weights.items())  # a safetensors file has its own order
    torch.save({name: torch.empty(each.shape, dtype=each.dtype).copy_(each.detach()) for name, each in weights}, buffer)
    return buffer.getvalue()


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
    except Exception as error:  # a foreign file may fail in any way
        raise InputError(
            f"bundle {folder} must be a packaged one, whose configs/inference.json describes a model, got {error!r}; "
            "make it with multijoint package, or give a run's model.pt"
        ) from error
    if not model_file(folder).is_file() and (folder / "large_files.yml").is_file():
        raise InputError(
            f"bundle {folder} must have its weights, which lie elsewhere; unpack it and fetch them: "
            "python -m monai.bundle download_large_files --bundle_path FOLDER"
        )
    if model.members:
        members = tuple(_with_weights(each, model_file(folder, n)) for n, each in enumerate(model.members, start=1))
        return replace(model.read_from(join_digests([each.digest for each in members])), members=members)
    return _with_weights(model, model_file(folder))


def _with_weights(model: TrainedModel, path: Path) -> TrainedModel:
    content, digest = _read(path)
    own = _check_weights(path, _weights_of(content))
    return replace(model.read_from(content.get(PICKLED, digest)), weights=own, digest=digest)


def _weights_of(content: Any) -> Any:
    """The state dict in the content of a file, which may be all of it."""
    return content.get("model") if isinstance(content, dict) and content.get("format") == FORMAT else content


def _check_content(path: Path, content: Any) -> dict[str, Any]:
    """Return the content of a checkpoint if it is one of this project."""
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError(
            f"checkpoint {path} must be a model trained by this project ({FORMAT}), got another file; "
            "give the model.pt of a training run"
        )
    _check_weights(path, content.get("model", {}), content=content)
    return content


def _read(path: Path) -> tuple[Any, str]:
    """Content of a PyTorch file, and its digest; read from the safetensors file next to it, if there is one."""
    tensors = tensor_file(path)
    return read_pickled(path) if tensors is None else read_tensor_file(tensors)


def _check_weights(path: Path, weights: Any, *, content: Any = None) -> dict[str, Tensor]:
    """Return the weights if they are finite tensors and the other content of the file is of plain types."""
    foreign = find_foreign([weights, content])
    if foreign or not isinstance(weights, dict) or not all(isinstance(each, Tensor) for each in weights.values()):
        raise InputError(
            f"checkpoint {path} must hold tensors and plain types, got {foreign or 'weights of another type'}; "
            "train again"
        )
    if not is_finite(weights):
        raise InputError(f"weights in {path} must be finite, got NaN or infinity; use an earlier checkpoint")
    return weights
