"""Trained models on disk: checkpoints of runs, and packaged bundles."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from pickle import UnpicklingError
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

RESUMABLE = ("last.pt", "previous.pt")
"""File names of the two checkpoints from which a run can be resumed, newest first."""

_DTYPES = (
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
    *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
)
_PLAIN = (str, int, float, bool, Tensor, type(None))


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
    return _load(Path(path))[0]


def load_model(path: str | Path) -> TrainedModel:
    """Read a trained model onto the CPU: a run's `model.pt`, or the folder of a packaged bundle.

    From a bundle, `configs/inference.json` is read as plain data and `models/model.pt` as tensors; nothing in it is
    evaluated.

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
    described = {key: content[key] for key in ("domains", "preprocessing", "network", "training")}
    try:
        return describe_model(**described, digest=digest, weights=content["model"])
    except Exception as error:  # a foreign file may hold values of any type
        raise InputError(f"checkpoint {path} must describe a model, got {error!r}; train again") from error


def model_file(path: str | Path) -> Path:
    """The file with the weights that `load_model` reads for a path."""
    return Path(path) / "models" / "model.pt" if Path(path).is_dir() else Path(path)


def describe_model(
    *,
    domains: Sequence[Mapping[str, Any]],
    preprocessing: Mapping[str, Any],
    network: Mapping[str, Any],
    training: Mapping[str, Any] | None = None,
    digest: str = "",
    weights: Mapping[str, Tensor] | None = None,
) -> TrainedModel:
    """Create a model from plain data, as in the configuration of a packaged bundle.

    Args:
        domains: see `Domain.to_dict`.
        preprocessing: arguments of `Preprocessing`.
        network: arguments of `MultiDomainUNet`.
        training: provenance, see `TrainedModel`.
        digest: SHA-256 of the file with the weights.
        weights: state dict of the network; None if only the description is needed.
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
    """Build the network with its weights, in evaluation mode and set to `domain`.

    Without `domain` it is set to the first one; `MultiDomainUNet.set_domain` selects another.

    Raises:
        InputError: the domain is unknown, or the weights do not fit the network.
    """
    index = 0 if domain is None else find_domain(model.domains, domain)
    try:
        with torch.device("meta"):  # takes no memory, whatever sizes a foreign file states
            shapes = {name: each.shape for name, each in MultiDomainUNet(**model.network).state_dict().items()}
        wrong = [name for name in {**shapes, **model.weights} if shapes.get(name) != _shape(model.weights.get(name))]
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
        path: `models/model.pt`, a plain state dict, or a run's checkpoint.
        device: where the network goes.

    Raises:
        InputError: the file is missing or damaged, or its weights do not fit the network.
    """
    path = Path(path)
    content, _ = _read(path)
    if isinstance(content, dict) and content.get("format") == FORMAT:
        content = content.get("model")
    return _fill(network, _check_weights(path, content)).to(device)


def _shape(tensor: Tensor | None) -> torch.Size | None:
    return None if tensor is None else tensor.shape


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
    torch.save({name: tensor.detach().cpu().contiguous().clone() for name, tensor in model.weights.items()}, buffer)
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
    weights = model_file(folder)
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
    _check_weights(path, content.get("model", {}), content=content)
    return content, digest


def _read(path: Path) -> tuple[Any, str]:
    """Content of a PyTorch file, and the digest of the file."""
    if not path.is_file():
        raise InputError(f"checkpoint {path} must be a file, got none; train first or correct the path")
    data, digest = read_checked(path)
    try:
        content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # a foreign file fails in torch, zipfile or pickle, with many kinds of errors
        if calls := _find_calls(data):
            rule = f"checkpoint {path} must hold tensors and plain values alone, got one that would call {calls}"
            raise InputError(f"{rule}, as harmful files do; do not open it otherwise, ask its maker") from error
        reason = "damaged or foreign content" if isinstance(error, UnpicklingError) else str(error).partition("\n")[0]
        reason = reason or type(error).__name__
        raise InputError(f"checkpoint {path} must be a readable PyTorch file, got {reason}; copy it again") from error
    return content, digest


def _find_calls(data: bytes) -> str:
    """Names of what the pickle in a PyTorch file would call but may not; "" if that cannot be told."""
    try:
        return ", ".join(sorted(torch.serialization.get_unsafe_globals_in_checkpoint(io.BytesIO(data)))[:5])
    except Exception:  # no zip file, or a pickle that cannot be read
        return ""


def _check_weights(path: Path, weights: Any, *, content: Any = None) -> dict[str, Tensor]:
    """Return the weights if they are finite tensors and the other content of the file is of plain types."""
    foreign = _find_foreign([weights, content])
    if foreign or not isinstance(weights, dict) or not all(isinstance(each, Tensor) for each in weights.values()):
        raise InputError(
            f"checkpoint {path} must hold tensors and plain types, got {foreign or 'weights of another type'}; "
            "train again"
        )
    if not is_finite(weights):
        raise InputError(f"weights in {path} must be finite, got NaN or infinity; use an earlier checkpoint")
    return weights


def _find_foreign(content: Any) -> str:
    """Name of a type in `content` that is neither a plain tensor nor plain; "" if there is none."""
    waiting, seen = [content], set[int]()
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict | list | tuple):
            if id(value) not in seen:  # a file can hold a list that holds itself
                waiting += [*value, *value.values()] if isinstance(value, dict) else value
                seen.add(id(value))
        elif not isinstance(value, _PLAIN):
            return type(value).__name__
        elif isinstance(value, Tensor) and (kind := _strange_kind(value)):
            return f"a tensor that is {kind}"
    return ""


def _strange_kind(tensor: Tensor) -> str:
    """What a tensor is that no training saves and few operators take; "" for plain numbers in memory."""
    if tensor.is_nested or tensor.layout != torch.strided:
        return "nested" if tensor.is_nested else "sparse"
    if tensor.is_quantized or tensor.dtype not in _DTYPES:
        return "quantised" if tensor.is_quantized else f"of {str(tensor.dtype).removeprefix('torch.')}"
    if tensor.device.type != "cpu":
        return f"without numbers (device {tensor.device.type})"
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        return f"expanded to {tuple(tensor.shape)} from fewer numbers"
    return ""
