"""The literal description of a model in a stranger's `configs/inference.json`: read as data, bounded, compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from custom_components.domains import Domain
from custom_components.networks.unet import MultiDomainUNet

from multijoint.sharing.inspection.findings import Finding, printable
from multijoint.sharing.inspection.state_dicts import StoredTensor

__all__ = ["check_model", "describe_domains"]

_FILE = "configs/inference.json"
_DESCRIBE = "custom_components.models.describe_model"
_MOST = {"domains": 64, "widths": 12, "pixels": 4096, "width": 16_384}


def check_model(model: Any, *, tensors: list[StoredTensor] | None, digest: str) -> Iterator[Finding]:
    """Findings about the `model` entry, and whether the weights are the ones that it describes.

    Args:
        model: the entry as plain data.
        tensors: what `models/model.pt` holds; None if it is not there or could not be read.
        digest: SHA-256 of `models/model.pt`, "" without one; compared if the description states one.
    """
    if not isinstance(model, Mapping) or model.get("_target_") != _DESCRIBE:
        yield Finding("warning", "model", _FILE, "no literal description of the model: segment cannot use this bundle")
        return
    problem = _problem(model)
    if problem:
        kind = "bomb" if problem.startswith("size bomb") else "model"
        yield Finding("unsafe", kind, _FILE, problem)
        return
    if digest and model.get("digest", digest) != digest:
        yield Finding("unsafe", "weights", "models/model.pt", "weights are not those that inference.json describes")
    elif tensors is not None:
        yield from _compare(model["network"], tensors)


def describe_domains(model: Any) -> list[str]:
    """A line a domain, as `ankle: 1 calcaneus, 2 talus (sagittal)`; of what cannot be read, nothing."""
    lines = []
    domains = model.get("domains") if isinstance(model, Mapping) else None
    for data in (domains if isinstance(domains, list) else [])[: _MOST["domains"]]:
        try:
            domain = Domain.from_dict(data)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
            continue
        labels = ", ".join(f"{value} {name}" for value, name in domain.labels.items())
        lines.append(printable(f"{domain.name}: {labels} ({domain.plane})", limit=2000))
    return lines


def _problem(model: Mapping[str, Any]) -> str:
    """What keeps a description from being used, "" if nothing; sizes come first, for building may be the bomb."""
    try:
        widths, sizes = model["network"].get("widths", [32]), model["preprocessing"]["image_size"]
        classes, _ = model["network"]["num_classes"], model["network"]["head"]
        bounds = (
            (len(model["domains"]), _MOST["domains"], "domains"),
            (len(widths), _MOST["widths"], "resolutions"),
            (max(map(int, [*widths, model["network"].get("in_channels", 1)])), _MOST["width"], "channels"),
            (max(map(int, sizes)), _MOST["pixels"], "pixels a side"),
            (len(classes), _MOST["domains"], "domains of the network"),
            (max(map(int, classes)), 256, "classes"),
        )
        for value, most, what in bounds:
            if value > most:
                return f"size bomb: the model has {value} {what}, over {most}"
        domains = [Domain.from_dict(data) for data in model["domains"]]
        if [domain.num_classes for domain in domains] != list(classes):
            return "model must have as many classes as its domains have labels"
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        reason = f"{type(error).__name__} {error}"
        return f"model must be described by plain domains, preprocessing and network, got {reason}"
    return ""


def _compare(network: Mapping[str, Any], tensors: list[StoredTensor]) -> Iterator[Finding]:
    """The network is built without memory for its weights, so that a description of any size costs nothing."""
    try:
        with torch.device("meta"):
            expected = {name: tuple(each.shape) for name, each in MultiDomainUNet(**network).state_dict().items()}
    except Exception as error:  # arguments of any type may stand in the description
        yield Finding("unsafe", "model", _FILE, f"no network can be made as described: {type(error).__name__} {error}")
        return
    found = {tensor.name: tensor.shape for tensor in tensors}
    if found != expected:
        first = min(name for name in {*found, *expected} if found.get(name) != expected.get(name))
        shapes = f"{found.get(first)}, not {expected.get(first)}"
        message = f"weights do not fit the network described, first {first!r}: {shapes}"
        yield Finding("unsafe", "weights", "models/model.pt", message)
