"""Whether a scan looks like a domain, judged by the norms of its network; and the choice of a domain by that."""

from __future__ import annotations

import copy
import logging
import math
import threading
from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from custom_components.domains import find_domain
from custom_components.errors import InputError, show_path
from custom_components.inference.inferers import slices_at_once, spread_slices
from custom_components.inference.transforms import StackSlicesd
from custom_components.system.threads import map_exactly
from monai.config import KeysCollection
from torch import Tensor, nn

if TYPE_CHECKING:
    from custom_components.models.trained_model import TrainedModel

AUTO = "auto"
"""Name that asks for the domain that fits best."""

MARGIN = 1.5
"""A scan does not look like a domain if it is farther from it than the domain's farthest own scan, by this factor."""

APART = 1.5
"""Of two domains that a scan looks like, the nearer one is chosen only if the other is farther by this factor."""

_logger = logging.getLogger(__name__)
_BLIND_APART = 2.0  # the same where the model does not know how far own scans are


def named_domain(model: TrainedModel, domain: str | None) -> str | None:
    """The domain that a run names for all its scans; None for `AUTO`, and where the model has only one.

    Raises:
        InputError: an unknown name, or none although there are several domains.
    """
    if asks_for_choice(model, domain):
        return None
    find_domain(model.domains, domain)
    return domain


def asks_for_choice(model: TrainedModel, domain: str | None) -> bool:
    """Whether `domain` is `AUTO`, and no domain of the model is called so."""
    return domain == AUTO and AUTO not in {each.name for each in model.domains}


def channels_of(model: TrainedModel, domain: str | None) -> tuple[str, ...]:
    """Names of the channels of a domain's scans; for `AUTO`, of the domain with most of them.

    Raises:
        InputError: see `named_domain`.
    """
    if asks_for_choice(model, domain):
        return max((tuple(each.channels) for each in model.domains), key=len)
    return tuple(model.domain(domain).channels)


def norm_distance(network: nn.Module, slices: Tensor, *, domain: str) -> float | None:
    """How far a scan is from a domain: mean squared logarithm of its features' variances over those of the domain.

    Each norm of the domain holds the variance that each feature had over the training slices. Eight slices of the
    scan, evenly spaced, pass the network with the domain's norms, and the same variance is taken of them. The norms of
    the decoder count, whose features are nearest to the answer. A domain's own scans give numbers near 0. The network
    is left as it was.

    Args:
        network: a `MultiDomainUNet`, in evaluation mode and on the CPU.
        slices: those of a scan as the network sees the domain's, (channels, rows, columns, number).
        domain: its name.

    Returns:
        The mean over these norms of the means over their features; None for a network without norms, such as a folded
        or an int8 one.

    Example:
        >>> from custom_components.networks.unet import MultiDomainUNet
        >>> network = MultiDomainUNet([2, 2], widths=[2, 4], domain_names=["ankle", "knee"]).eval()
        >>> norm_distance(network, torch.zeros(1, 4, 4, 3), domain="knee") > 1  # nothing varies in a black scan
        True
    """
    return _measure(network, slices, domain=domain)[0]


def _measure(network: nn.Module, slices: Tensor, *, domain: str) -> tuple[float | None, Tensor | None]:
    """What `norm_distance` gives, and the logits of `spread_slices`; the number of threads changes no bit of these."""
    norms = _norms_of(network, domain)
    if not norms:
        return None, None
    chosen = slices[..., spread_slices(slices.shape[-1])].movedim(-1, 0).contiguous()
    blocks = chosen.split(slices_at_once(chosen.shape[2:]))
    found: list[dict[nn.Module, Tensor]] = [{} for _ in blocks]  # means and variances of the features at each norm
    current = threading.local()  # several blocks pass the network at once

    def note(norm: nn.Module, inputs: tuple[Tensor]) -> None:
        mean = inputs[0].mean((0, 2, 3), keepdim=True)  # in two steps thirty times as fast as `torch.var_mean`
        current.found[norm] = torch.stack([mean[0, :, 0, 0], (inputs[0] - mean).square().mean((0, 2, 3))])

    def answer(number: int) -> Tensor:
        current.found = found[number]
        with torch.no_grad():
            return network(blocks[number])

    known: Any = network  # a `MultiDomainUNet`, which is imported only where norms are looked for
    before = known.domain
    hooks = [norm.register_forward_pre_hook(note) for norm in norms]
    try:
        known.set_domain(domain)
        logits = map_exactly(answer, range(len(blocks)))
    finally:
        known.set_domain(before)
        for hook in hooks:
            hook.remove()
    shares = torch.tensor([len(block) / len(chosen) for block in blocks], dtype=torch.float64)
    distances = []
    for norm in norms:
        means, variances = torch.stack([each[norm] for each in found], dim=1).double()
        own = shares @ (variances + (means - shares @ means).square())
        usual, eps = norm.get_buffer("running_var").double(), float(norm.eps)  # type: ignore[arg-type]
        distances.append(((own + eps) / (usual + eps)).log().square().mean())
    return float(torch.stack(distances).mean()), torch.cat(logits)


def _norms_of(network: nn.Module, domain: str) -> list[nn.Module]:
    """The norms of a domain in the decoder of a `MultiDomainUNet`; none in another network, or a folded one."""
    from custom_components.networks.norms import DomainSpecificBatchNorm2d
    from custom_components.networks.unet import MultiDomainUNet

    if not isinstance(network, MultiDomainUNet) or domain not in network.domain_names:
        return []
    index = 0 if network.shared_norm else network.domain_names.index(domain)
    return [each.norms[index] for each in network.decoder.modules() if isinstance(each, DomainSpecificBatchNorm2d)]


class FitDomaind(StackSlicesd):
    """Cut a volume into slices as `StackSlicesd` does, and state whether it looks like its domain.

    `domain_fit` of the item is then what `judge_fit` gives. For the domain `AUTO`, the domain that fits best is chosen
    and set as the item's; see `choose_domain`. `answers` are the logits of `spread_slices`, which the prediction then
    takes as they are; an ensemble and a network on a GPU have none.

    Args:
        keys: key of the volume.
        model: the trained model.
        network: its network, in evaluation mode; one on a GPU is copied to the CPU. Of an ensemble, the first judges.
        domain: default domain of items that name none.
    """

    def __init__(
        self, keys: KeysCollection, *, model: TrainedModel, network: nn.Module, domain: str | None = None
    ) -> None:
        super().__init__(keys, model=model, domain=domain)
        members = getattr(network, "members", None)
        network = network if members is None else members[0]
        on_gpu = any(weight.is_cuda for weight in network.parameters())
        self.network = copy.deepcopy(network).cpu() if on_gpu else network
        # The same weights, a fifth faster.
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.answers = members is None and not on_gpu
        named = None if asks_for_choice(model, domain) else model.domain(domain).name
        asked = [each.name for each in model.data_sets if named in (None, each.name)]
        unknown = [name for name in asked if _farthest(model, name) is None]
        if not _norms_of(self.network, model.domains[0].name):
            _logger.info("this network has no norms of its own: whether a scan looks like its domain is not judged")
        elif unknown:
            _logger.info(
                "this model does not state how far its own scans are from %s: a scan is flagged only if another domain "
                "is much nearer; multijoint calibrate adds that to the checkpoint of a run",
                " and ".join(unknown),
            )

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Transform one item.

        Raises:
            InputError: the domain is to be chosen and none fits, or several fit alike.
        """
        asked = data.get("domain", self.default_domain)
        shape = data[self.keys[0]].shape
        count = shape[0] if len(shape) == 4 else 1
        names = [domain.name for domain in self.model.data_sets if domain.num_channels == count]
        stacked: dict[str, dict[Hashable, Any]] = {}
        distances: dict[str, float | None] = {}

        def measure(name: str) -> None:
            stacked[name] = super(FitDomaind, self).__call__({**data, "domain": name})
            slices = torch.as_tensor(stacked[name][self.keys[0]])
            distances[name], answers = _measure(self.network, slices, domain=name)
            if answers is not None and self.answers:
                stacked[name]["answers"] = answers

        if asks_for_choice(self.model, asked):
            if not names:
                rule = f"scan {show_path(data['source'].path)} must have as many channels as a domain of the model has"
                raise InputError(f"{rule}, got {count}; give the files of one scan")
            for name in names:
                measure(name)
            chosen = choose_domain(self.model, distances, scan=show_path(data["source"].path))
            return stacked[chosen] | {"domain_fit": judge_fit(self.model, chosen, distances) | {"asked": AUTO}}
        domain = self.model.domain(asked)
        own, names = domain.name, [name for name in names if name != domain.plane_of]
        measure(own)
        fit = judge_fit(self.model, own, distances)
        if not fit["fits"] and distances[own] is not None:  # only then the others are of interest
            for name in names:
                if name != own:
                    measure(name)
            fit = judge_fit(self.model, own, distances)
        return stacked[own] | {"domain_fit": fit}


def judge_fit(model: TrainedModel, domain: str, distances: Mapping[str, float | None]) -> dict[str, Any]:
    """What a record states of a scan and its domain, in plain types.

    Args:
        model: the trained model, with the distances of its own scans if it was calibrated.
        domain: the scan's.
        distances: of the scan to domains, see `norm_distance`.

    Returns:
        `times`, its distance as a multiple of that of the domain's farthest own scan, None if it is unknown; `fits`,
        whether that is at most `MARGIN`; and, if it does not fit, `like`, another domain that it looks like, if there
        is one. In a model that does not know the farthest, `fits` is False if another domain is nearer by more than a
        factor of 2, and else None.
    """
    shares = _shares(model, distances)
    own, most = shares.get(domain), MARGIN
    blind = own is None and distances.get(domain) is not None
    if blind:
        shares, own = dict(distances), distances[domain]
        most = (own or 0.0) / _BLIND_APART
    others = {name: share for name, share in shares.items() if name != domain and share is not None and share < most}
    fits = None if own is None else not others if blind else own <= most
    like = min(others, key=lambda name: others[name]) if others and fits is False else None
    return {
        "times": None if blind or own is None else round(own, 2),
        "fits": None if blind and fits else fits,
        **({"like": like} if like else {}),
    }


def choose_domain(model: TrainedModel, distances: Mapping[str, float | None], *, scan: str) -> str:
    """The domain that a scan looks like.

    It is the one with the least distance, as a share of its farthest own scan's. In a model that does not know these,
    the distances themselves are compared.

    Args:
        model: the trained model.
        distances: of the scan to all domains, see `norm_distance`.
        scan: its name, for messages.

    Raises:
        InputError: no domain fits (`MARGIN`), a second one fits nearly as well (`APART`), or the network has no norms.
    """
    remedy = "name its domain with --domain"
    shares = _shares(model, distances)
    known = {name: share for name, share in shares.items() if share is not None}
    blind = len(known) < len(distances)
    if blind:
        known = {name: distance for name, distance in distances.items() if distance is not None}
    if len(known) < len(distances):
        raise InputError(f"domain of {scan} must be named, got auto for a network without norms; {remedy}")
    listed = ", ".join(f"{name} {share:.2f}" for name, share in known.items())
    first, *rest = sorted(known, key=lambda name: known[name])
    if not blind and known[first] > MARGIN:
        raise InputError(
            f"scan {scan} must look like a domain of the model, got none ({listed} times as far as the farthest own "
            f"scan, more than {MARGIN:g}); if you know better, {remedy}"
        )
    apart, most = (_BLIND_APART, math.inf) if blind else (APART, MARGIN)
    if rest and known[rest[0]] < apart * known[first] and known[rest[0]] <= most:
        raise InputError(
            f"scan {scan} must look like one domain of the model, got {first} and {rest[0]} alike ({listed}); {remedy}"
        )
    return first


def _farthest(model: TrainedModel, domain: str) -> float | None:
    known = model.quality(domain)
    return None if known is None else known.farthest


def _shares(model: TrainedModel, distances: Mapping[str, float | None]) -> dict[str, float | None]:
    """Distances as shares of those of the domains' farthest own scans."""
    farthest = {name: _farthest(model, name) for name in distances}
    return {
        name: None if distance is None or not farthest[name] else distance / float(farthest[name] or 1)
        for name, distance in distances.items()
    }
