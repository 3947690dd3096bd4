"""Models of a single domain, taken from a joint model."""

from __future__ import annotations

from dataclasses import replace

from custom_components.domains import planes_of
from custom_components.errors import InputError
from custom_components.models.checkpoints import build_network
from custom_components.models.trained_model import TrainedModel
from custom_components.networks.blocks import keep_first
from custom_components.networks.folding import fold_network
from custom_components.networks.heads import own_layer
from custom_components.networks.norms import DomainSpecificBatchNorm2d
from torch import Tensor, nn


def select_domain(model: TrainedModel, domain: str | None, *, planes: bool = True) -> TrainedModel:
    """Reduce a model to one domain, with bitwise identical logits.

    Args:
        model: a trained model with a head for each domain.
        domain: name of the domain to keep; may be None if there is only one.
        planes: keep its further planes too.

    Returns:
        A model like one trained on this domain alone; `model` itself if it has no other domain.

    Raises:
        InputError: the domain is unknown, or several domains share one head.
    """
    kept = planes_of(model.domains, domain)[: None if planes else 1]
    if len(model.domains) == len(kept):
        return model
    if model.network["head"] == "shared":
        raise InputError("a model to take a domain from must have a head for each, got one for all; train head: domain")
    network = build_network(model)
    for module in network.modules():
        if isinstance(module, DomainSpecificBatchNorm2d) and not network.shared_norm:
            module.norms = nn.ModuleList(module.norms[index] for index in kept)
    in_channels = keep_first(network.encoder, kept)
    network.heads = nn.ModuleList(own_layer(network.heads[index]) for index in kept)
    network.deep_heads = nn.ModuleList()  # of the training alone
    settings = network.settings() | {
        "norm": "domain",
        "in_channels": in_channels,
        "num_classes": [network.num_classes[index] for index in kept],
        "domain_names": [network.domain_names[index] for index in kept],
        "deep_supervision": 0,
        "label_names": None,
    }
    own, *further = (model.domains[index] for index in kept)
    domains = (replace(own, plane_of=""), *further)
    return replace(
        model,
        domains=domains,
        preprocessing=model.preprocessing.for_domains([each.name for each in domains]),
        network=settings,
        weights=_weights(network),
        digest="",
    )


def fold_domain(model: TrainedModel, domain: str | None) -> TrainedModel:
    """Reduce a model to one domain, in its own plane, and fold its norms into the convolutions.

    Logits are equal up to rounding. At test time, a norm scales and shifts each channel by constants, which the
    preceding convolution can do as well.

    The arguments are those of `select_domain`.

    Returns:
        A model with `norm="folded"`, or `model` if it is folded already. It can be used like any other model, but not
        trained further.
    """
    model = select_domain(model, domain, planes=False)
    if model.network["norm"] == "folded":
        return model
    network = fold_network(build_network(model))
    settings = network.settings() | {"norm": "folded"}
    return replace(model, network=settings, weights=_weights(network), digest="")


def _weights(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach() for name, tensor in network.state_dict().items()}
