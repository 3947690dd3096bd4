"""The literal description of a model in a foreign `configs/inference.json`: read as data, bounded, compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from custom_components.domains import Domain
from custom_components.networks.unet import MultiDomainUNet

from multijoint.sharing.inspection.report import Concern, printable
from multijoint.sharing.inspection.state_dicts import StoredTensor

_FILE = "configs/inference.json"
_DESCRIBE = (
    "custom_components.models.describe_model",
    "custom_components.checkpoints.describe_model",  # of releases up to 0.5.0
)
_MOST = {"domains": 64, "widths": 12, "pixels": 4096, "width": 16_384}


def check_model(model: Any, *, tensors: list[StoredTensor] | None, digest: str) -> Iterator[Concern]:
    """Concerns about the `model` entry, and about weights that differ from its description.

    Args:
        model: the entry as plain data.
        tensors: contents of `models/model.pt`; None if it is missing or unreadable.
        digest: SHA-256 of `models/model.pt`, "" without one; compared if the description states one.
    """
    if not isinstance(model, Mapping) or model.get("_target_") not in _DESCRIBE:
        yield Concern("warning", "model", _FILE, "no literal description of the model: segment cannot use this bundle")
        return
    problem = _problem(model)
    if problem:
        kind = "bomb" if problem.startswith("size bomb") else "model"
        yield Concern("unsafe", kind, _FILE, problem)
        return
    if digest and model.get("digest", digest) != digest:
        yield Concern("unsafe", "weights", "models/model.pt", "weights are not those that inference.json describes")
    elif tensors is not None:
        yield from _compare(model["network"], tensors)


def describe_domains(model: Any) -> list[str]:
    """One line per readable domain, as `ankle: 1 calcaneus, 2 talus (sagittal)`."""
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
    """First fault of a description, "" for none; sizes come first, because building the network may be the bomb."""
    try:
        widths, sizes = model["network"].get("widths", [32]), model["preprocessing"]["image_size"]
        sizes = [side for size in sizes.values() for side in size] if isinstance(sizes, Mapping) else sizes
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


def _compare(network: Mapping[str, Any], tensors: list[StoredTensor]) -> Iterator[Concern]:
    """Compare names and shapes with the network described, built without memory for its weights (device "meta")."""
    try:
        with torch.device("meta"):
            expected = {name: tuple(each.shape) for name, each in MultiDomainUNet(**network).state_dict().items()}
    except Exception as error:  # arguments of any type may stand in the description
        yield Concern("unsafe", "model", _FILE, f"no network can be made as described: {type(error).__name__} {error}")
        return
    found = {tensor.name: tensor.shape for tensor in tensors}
    if found != expected:
        first = min(name for name in {*found, *expected} if found.get(name) != expected.get(name))
        shapes = f"{found.get(first)}, not {expected.get(first)}"
        message = f"weights do not fit the network described, first {first!r}: {shapes}"
        yield Concern("unsafe", "weights", "models/model.pt", message)
