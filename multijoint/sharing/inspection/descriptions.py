"""The literal description of a model in a foreign `configs/inference.json`: read as data, bounded, compared."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from custom_components.domains import Domain, check_planes
from custom_components.models.checkpoints import member_name
from custom_components.models.tensor_files import tensors_name
from custom_components.networks.unet import MultiDomainUNet

from multijoint.sharing.inspection.report import Concern, shorten
from multijoint.sharing.inspection.state_dicts import StoredTensor

_FILE = "configs/inference.json"
_DESCRIBE = (
    "custom_components.models.describe_model",
    "custom_components.checkpoints.describe_model",  # of releases up to 0.5.0
)
_NETWORK = "custom_components.networks.MultiDomainUNet"
_MOST = {"domains": 64, "members": 64, "widths": 12, "pixels": 4096, "width": 16_384}
_MOST_WEIGHTS = 2**29  # numbers, 2 GiB
_MOST_FEATURES = 2**30  # numbers of the largest layer for one slice, 4 GiB


def member_names(model: Any) -> list[str]:
    """Files of weights that the `model` entry needs: `models/model.pt`, and one more for each further member."""
    members = model.get("members") if isinstance(model, Mapping) else None
    number = len(members) if isinstance(members, list) else 0
    return [f"models/{member_name(place)}" for place in range(1, max(1, min(number, _MOST["members"])) + 1)]


def check_model(model: Any, *, weights: Mapping[str, list[StoredTensor]], digest: str) -> Iterator[Concern]:
    """Concerns about the `model` entry, and about weights that differ from its description.

    Args:
        model: the entry as plain data.
        weights: tensors of each readable file of weights, by name.
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
        return
    members = model.get("members") or [model]
    for name, member in zip(member_names(model), members, strict=True):
        for each in (name, tensors_name(name)):
            if each in weights:
                yield from _compare(member["network"], weights[each], name=each)


def is_same_model(model: Any, other: Any) -> bool:
    """Whether two descriptions, plain data, are of one model; the weights apart."""
    keys = ("domains", "preprocessing", "network", "training")
    both = [{key: each.get(key) for key in keys} if isinstance(each, Mapping) else None for each in (model, other)]
    return both[0] == both[1] is not None


def describe_domains(model: Any) -> list[str]:
    """One line per readable domain, as `ankle: 1 calcaneus, 2 talus (sagittal)`."""
    lines = []
    domains = model.get("domains") if isinstance(model, Mapping) else None
    listed = (domains if isinstance(domains, list) else [])[: _MOST["domains"]]
    for data in listed:
        try:
            domain = Domain.from_dict(data)
            own = [domain.plane, *(each["plane"] for each in listed if each.get("plane_of") == domain.name)]
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
            continue
        labels = ", ".join(f"{value} {name}" for value, name in domain.labels.items())
        if not domain.plane_of:
            lines.append(shorten(f"{domain.name}: {labels} ({', '.join(map(str, own))})", limit=2000))
    return lines


def check_networks(config: Any, *, path: str) -> Iterator[Concern]:
    """Concerns about the sizes of the networks that any configuration asks for by number."""
    waiting = [config]
    while waiting:
        each = waiting.pop()
        waiting += each.values() if isinstance(each, Mapping) else each if isinstance(each, list) else ()
        if isinstance(each, Mapping) and each.get("_target_") == _NETWORK:
            try:
                problem = _network_problem(each)
            except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
                continue  # an expression in place of a number, which is checked elsewhere
            if problem:
                yield Concern("unsafe", "bomb", path, problem)


def _problem(model: Mapping[str, Any]) -> str:
    """First fault of a description, "" for none; sizes come first, because building the network may be the bomb."""
    try:
        network, sizes = model["network"], model["preprocessing"]["image_size"]
        _ = network["head"]
        members = list(model.get("members", []))
        sizes = list(sizes.values()) if isinstance(sizes, Mapping) else [sizes]
        bounds = (
            (len(model["domains"]), _MOST["domains"], "domains"),
            (len(members), _MOST["members"], "members"),
            (max(int(side) for size in sizes for side in size), _MOST["pixels"], "pixels a side"),
        )
        if problem := _over(bounds):
            return problem
        if any(set(member) != {"network", "training"} for member in members):
            return "members of the model must be described by network and training"
        pixels = max(int(math.prod(size)) for size in sizes)
        networks = [network, *(member["network"] for member in members)]
        if problem := next(filter(None, (_network_problem(each, pixels=pixels) for each in networks)), ""):
            return problem
        domains = [Domain.from_dict(data) for data in model["domains"]]
        check_planes(domains, network["head"])
        if any([domain.num_classes for domain in domains] != list(each["num_classes"]) for each in networks):
            return "model must have as many classes as its domains have labels"
        if members and (members[0]["network"] != network or len({each["head"] for each in networks}) > 1):
            return "model must be described as its first member, and all members must have one kind of head"
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        reason = f"{type(error).__name__} {error}"
        return f"model must be described by plain domains, preprocessing and network, got {reason}"
    return ""


def _network_problem(network: Mapping[str, Any], *, pixels: int = 0) -> str:
    """Size of a network over the bounds, "" for none, from the numbers of its description alone.

    With the pixels of a slice, also the size of its largest layer.
    """
    widths, classes = network.get("widths", [32]), network["num_classes"]
    channels = _most_channels(network)
    bounds = (
        (len(widths), _MOST["widths"], "resolutions"),
        (max(map(int, [*widths, channels])), _MOST["width"], "channels"),
        (len(classes), _MOST["domains"], "domains of the network"),
        (max(map(int, classes)), 256, "classes"),
    )
    if problem := _over(bounds):
        return problem
    pairs = zip([channels, *widths[:-1]], widths, strict=True)
    weights = sum(9 * (before + width) * width for before, width in pairs)  # of the encoder, the smaller half
    if weights > _MOST_WEIGHTS:
        return f"size bomb: a network of {4 * weights / 1e9:.0f} GB of weights"
    layers = [*((int(width), level) for level, width in enumerate(widths)), (max(map(int, classes)), 0), (channels, 0)]
    features = max(width * pixels // 4**level for width, level in layers)
    over = features > _MOST_FEATURES
    return f"size bomb: a slice takes {4 * features / 1e9:.0f} GB in one layer of the network" if over else ""


def _most_channels(network: Mapping[str, Any]) -> int:
    """Channels of a slice, of the domain with most of them."""
    found = network.get("in_channels", 1)
    return max(map(int, found)) if isinstance(found, list) else int(found)


def _over(bounds: Iterable[tuple[int, int, str]]) -> str:
    return next(
        (f"size bomb: the model has {value} {what}, over {most}" for value, most, what in bounds if value > most), ""
    )


def _compare(network: Mapping[str, Any], tensors: list[StoredTensor], *, name: str) -> Iterator[Concern]:
    """Compare names and shapes with the network described, built without memory for its weights (device "meta")."""
    try:
        with torch.device("meta"):
            expected = {name: tuple(each.shape) for name, each in MultiDomainUNet(**network).state_dict().items()}
    except Exception as error:  # arguments of any type may stand in the description
        yield Concern("unsafe", "model", _FILE, f"no network can be made as described: {type(error).__name__} {error}")
        return
    found = {tensor.name: tensor.shape for tensor in tensors}
    if found != expected:
        first = min(each for each in {*found, *expected} if found.get(each) != expected.get(each))
        shapes = f"{found.get(first)}, not {expected.get(first)}"
        message = f"weights do not fit the network described, first {first!r}: {shapes}"
        yield Concern("unsafe", "weights", name, message)
