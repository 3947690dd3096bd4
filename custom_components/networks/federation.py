"""Layers that hospitals share when they train together, and layers that never leave a hospital."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from custom_components.errors import InputError
from custom_components.networks.first_convolutions import FirstConvolutions
from custom_components.networks.norms import DomainSpecificBatchNorm2d
from custom_components.networks.parameters import is_finite
from custom_components.networks.unet import MultiDomainUNet
from torch import Tensor, nn

_OF_DOMAINS = (DomainSpecificBatchNorm2d, FirstConvolutions)


class SharedLayers(nn.Module):
    """Layers that hospitals share, without norms and heads; a server starts from them and averages them.

    It cannot be called. Its state dict has the names and shapes of `shared_state` of any `MultiDomainUNet` with the
    same widths (feature maps at each resolution), gates and image channels, whatever that network's domains. `seed` is
    that of the initial weights. `in_channels` as of the network; a list, whatever its numbers, for sites whose images
    have different channels: each then keeps its first convolutions.

    Source:
        Li et al., FedBN, ICLR 2021: every site keeps its batch norms. Here it keeps its output layer as well, because
        the sites segment different bones.

    Example:
        >>> site = MultiDomainUNet([4], widths=[8, 16])
        >>> SharedLayers(widths=[8, 16]).state_dict().keys() == shared_state(site).keys()
        True
    """

    def __init__(
        self, *, widths: Sequence[int], attention: bool = False, in_channels: int | Sequence[int] = 1, seed: int = 0
    ) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            own = in_channels if isinstance(in_channels, int) else [1]
            network = MultiDomainUNet([2], widths=widths, attention=attention, in_channels=own)
        for name, child in network.named_children():
            if child is not network.heads:
                self.add_module(name, child)
        for module in list(self.modules()):
            for name, child in module.named_children():
                if isinstance(child, _OF_DOMAINS):
                    setattr(module, name, nn.Identity())


def shared_state(network: MultiDomainUNet) -> dict[str, Tensor]:
    """Copies, on the CPU, of the convolutions, which belong to no domain and may be sent.

    Raises:
        InputError: norms or heads are not each domain's own.

    Example:
        >>> sent = shared_state(MultiDomainUNet([4], widths=[8, 16]))
        >>> kept = domain_state(MultiDomainUNet([4], widths=[8, 16]))
        >>> len(sent), len(kept), set(sent) & set(kept)
        (14, 32, set())
    """
    return _copy(network, of_domains=False)


def domain_state(network: MultiDomainUNet) -> dict[str, Tensor]:
    """Copies, on the CPU, of norms, their statistics, heads and first convolutions of domains, which are never sent.

    Raises:
        InputError: as `shared_state`.
    """
    return _copy(network, of_domains=True)


def load_shared(network: MultiDomainUNet, state: Mapping[str, Tensor]) -> None:
    """Put shared layers, as from `shared_state` of a like network, into this site's network in place.

    Nothing else in it changes, so an optimizer goes on with it as it is.

    Raises:
        InputError: as `shared_state`; or `state` lacks a tensor, has one too many, or one is of another shape or type
            or not finite. The network then is as it was.
    """
    own = _select(network, of_domains=False)
    missing, foreign = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    if missing or foreign:
        raise InputError(
            f"shared layers must be those of this network, got {len(missing)} too few ({_name_some(missing)}) and "
            f"{len(foreign)} too many ({_name_some(foreign)}); all sites need the same widths and attention"
        )
    for name, tensor in own.items():
        if state[name].shape != tensor.shape or state[name].dtype != tensor.dtype:
            raise InputError(
                f"shared layer {name} must be {tuple(tensor.shape)} of {tensor.dtype}, "
                f"got {tuple(state[name].shape)} of {state[name].dtype}; all sites need the same widths and attention"
            )
    if not is_finite(state):
        raise InputError("shared layers must be finite, got NaN or infinity; leave that round out")
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(state[name])


def _copy(network: MultiDomainUNet, *, of_domains: bool) -> dict[str, Tensor]:
    selected = _select(network, of_domains=of_domains)
    # Contiguous, whatever the network's memory format: what packs tensors for sending takes no others.
    return {name: torch.empty(each.shape, dtype=each.dtype).copy_(each.detach()) for name, each in selected.items()}


def _select(network: MultiDomainUNet, *, of_domains: bool) -> dict[str, Tensor]:
    """The network's own tensors, told apart by the modules that hold them."""
    settings = network.settings()
    for part in ("norm", "head"):
        if settings[part] != "domain":
            raise InputError(
                f"{part} must be 'domain' to train with other sites, got {settings[part]!r}, of which nothing can stay "
                f"at home; train with {part}: domain"
            )
    parts = [module for module in network.modules() if isinstance(module, _OF_DOMAINS)]
    owned = {id(tensor) for module in (*parts, network.heads) for tensor in module.state_dict(keep_vars=True).values()}
    every = network.state_dict(keep_vars=True)
    return {name: tensor for name, tensor in every.items() if (id(tensor) in owned) == of_domains}


def _name_some(names: Sequence[str]) -> str:
    return ", ".join([*names[:3], *(["..."] if len(names) > 3 else [])]) or "none"
