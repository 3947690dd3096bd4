"""One domain of a trained model by itself."""

from __future__ import annotations

from dataclasses import replace

from custom_components.domains import find_domain
from custom_components.errors import InputError
from custom_components.models.checkpoints import build_network
from custom_components.models.trained_model import TrainedModel
from custom_components.networks.folding import fold_network
from custom_components.networks.norms import DomainSpecificBatchNorm2d
from torch import Tensor, nn

__all__ = ["fold_domain", "select_domain"]


def select_domain(model: TrainedModel, domain: str | None) -> TrainedModel:
    """A model of one domain alone, with the same logits for it, to the bit.

    Args:
        model: a trained model of one or more domains, each with a head of its own.
        domain: the one to keep; `None` will do when there is only one.

    Returns:
        A model like that of a network trained on this domain alone; `model` itself if it has no other.

    Raises:
        InputError: unknown domain, or one output layer for several domains.
    """
    index = find_domain(model.domains, domain)
    if len(model.domains) == 1:
        return model
    if model.network["head"] == "shared":
        raise InputError("a model to take a domain from must have a head for each, got one for all; train head: domain")
    network = build_network(model)
    for module in network.modules():
        if isinstance(module, DomainSpecificBatchNorm2d) and not network.shared_norm:
            module.norms = nn.ModuleList([module.norms[index]])
    network.heads = nn.ModuleList([network.heads[index]])
    settings = network.settings() | {
        "norm": "domain",
        "num_classes": [network.num_classes[index]],
        "domain_names": [network.domain_names[index]],
    }
    return replace(model, domains=(model.domains[index],), network=settings, weights=_weights(network), digest="")


def fold_domain(model: TrainedModel, domain: str | None) -> TrainedModel:
    """A model of one domain alone without any norm, whose logits are those of `model` but for rounding.

    A norm at test time multiplies and shifts each channel by constants, and so does a convolution before it.

    Args:
        model: see `select_domain`.
        domain: see there.

    Returns:
        A model with `norm="folded"`; one that is folded already as it is. It can be used like any other, but not
        trained further.
    """
    model = select_domain(model, domain)
    if model.network["norm"] == "folded":
        return model
    network = fold_network(build_network(model))
    settings = network.settings() | {"norm": "folded"}
    return replace(model, network=settings, weights=_weights(network), digest="")


def _weights(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach() for name, tensor in network.state_dict().items()}
