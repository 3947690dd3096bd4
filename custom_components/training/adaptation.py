"""Add one data set to a trained model: a new norm and head on the convolutions of the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from custom_components.data.cases import Case
from custom_components.data.datasets import SliceDataset
from custom_components.data.manifests import Manifest
from custom_components.data.planes import OWN
from custom_components.data.splits import Split, make_splits
from custom_components.domains import Domain
from custom_components.errors import InputError
from custom_components.models.trained_model import TrainedModel
from custom_components.networks.first_convolutions import FirstConvolutions, spread_channels
from custom_components.networks.norms import DomainSpecificBatchNorm2d
from custom_components.networks.unet import MultiDomainUNet
from custom_components.training.nearest_domain import find_nearest_domain
from torch import Tensor, nn

VALIDATE_FROM = 6
"""Least number of subjects of which one validates; of fewer all are trained on, and the last weights are kept."""

_FREEZE = ("shared", "none")


def join_domains(model: TrainedModel, *, datasets: Sequence[Manifest], planes: Any = OWN) -> list[Domain]:
    """Append the domain of the one new data set to those of the model.

    Raises:
        InputError: none or several data sets, a domain that the model has, or `planes` for it.
    """
    if planes != OWN:
        raise InputError(
            f"planes must be own for a data set that is added, got {planes!r}; train all together for more"
        )
    manifest = _only_one(datasets)
    domain = manifest.domain
    known = [each.name for each in model.domains]
    if domain.name in known:
        raise InputError(
            f"domain of {manifest.path} must be new to the model ({', '.join(known)}), got {domain.name}; "
            "rename it, or train on all data sets together"
        )
    return [*model.domains, domain]


def extend_network(
    network: MultiDomainUNet,
    *,
    domain: Domain,
    like: str | None = None,
    data: SliceDataset | None = None,
    freeze: str = "shared",
    settings: Mapping[str, Any] | None = None,
    model: TrainedModel | None = None,
) -> MultiDomainUNet:
    """Add a domain to a trained network, and freeze everything that is not to be learned.

    The new norms, running statistics included, start as copies of those of domain `like`; the head starts afresh. If
    channels of images differ, each domain has its own first convolution, and the new one starts from that of
    `like`, see `spread_channels`. The parts of the other domains never train: no batch holds a slice of theirs.

    Args:
        network: trained; changed in place and returned, answering for the new domain.
        domain: the new one.
        like: name of a domain of the network; if `None` the one nearest to `data`, see `find_nearest_domain`.
        data: labelled slices of the new domain; without them, `None` means the first domain.
        freeze: "shared" trains the new domain's parts alone, so that the outputs for all other domains stay the same
            to the last bit; "none" trains the convolutions too, which changes them.
        settings: of the architecture, as the configuration has them; they must be the network's.
        model: of the network, which says what its channels hold; without it, all domains have the same channels.

    Raises:
        InputError: a shared or folded norm, a shared head, an unknown `like` or `freeze`, or other settings.
    """
    own = network.settings()
    for name in ("norm", "head"):
        if own[name] != "domain":
            raise InputError(
                f"{name} of a model to adapt must be 'domain' (one for each), got {own[name]!r}; "
                "give a model trained without shared_norm_and_head.yaml and not folded"
            )
    for name, value in (settings or {}).items():
        if value != own[name]:
            raise InputError(f"{name} must be the model's own ({own[name]}), got {value}; leave the setting out")
    if freeze not in _FREEZE:
        raise InputError(f"freeze must be {' or '.join(_FREEZE)}, got {freeze!r}; shared keeps the other domains")
    if like is None:
        like = network.domain_names[0] if data is None else find_nearest_domain(network, data)
    first = None if model is None else _first_weights(network, model, domain, like=like)
    index = network.add_domain(domain.num_classes, name=domain.name, like=like, first=first)
    network.set_domain(index)
    network.requires_grad_(freeze == "none")
    norms = [module.norms for module in network.modules() if isinstance(module, DomainSpecificBatchNorm2d)]
    firsts = [module.convs for module in network.modules() if isinstance(module, FirstConvolutions)]
    deep = [cast(nn.ModuleList, heads) for heads in network.deep_heads]
    for parts in (*firsts, *norms, network.heads, *deep):
        parts.requires_grad_(False)
        parts[index].requires_grad_(True)
    return network


def _first_weights(network: MultiDomainUNet, model: TrainedModel, domain: Domain, *, like: str) -> Tensor | None:
    """Weights of the new domain's own first convolution; None if it shares that of all others."""
    known, first = model.domain(like), network.encoder[0].conv1
    own = isinstance(first, FirstConvolutions)
    if not own and tuple(known.channels) == tuple(domain.channels):
        return None
    convolution = first.convs[network.domain_names.index(like)] if isinstance(first, FirstConvolutions) else first
    weight = cast(nn.Conv2d, convolution).weight
    if known.num_channels == domain.num_channels:
        return weight
    counts = {"num_slices": model.preprocessing.num_slices, "num_positions": model.preprocessing.num_positions}
    return spread_channels(weight, num_images=domain.num_channels, **counts)


def split_subjects(
    datasets: Sequence[Manifest],
    *,
    train_subjects: int | Sequence[Any] | None = None,
    validation_subjects: Sequence[Any] | None = None,
    fold: int | None = None,
    num_folds: int | None = None,
) -> Split:
    """Divide the subjects of the new data set into training, validation and testing.

    Without a fold, `train_subjects` are trained on and all others are left for testing. From `VALIDATE_FROM`
    subjects on, the last of them validates; below, all train. Cases without a label are in no split.

    Args:
        datasets: the new data set.
        train_subjects: names of the subjects to train on, or how many, in the order of the manifest; `None` for all.
        validation_subjects: names of those that validate instead; none of them is trained on. Empty for none.
        fold: of a cross-validation, dealt as `make_splits` does; `train_subjects` then is a number or `None`.
        num_folds: see `make_splits`.

    Raises:
        InputError: no subject to train on, a name that is not in the manifest, or see `make_splits`.
    """
    manifest = _only_one(datasets)
    limited = train_subjects if isinstance(train_subjects, int) else None
    if fold is not None:
        if validation_subjects is not None or train_subjects is not limited:
            raise InputError("subjects of a fold must not be named, got names and a fold; leave out one of them")
        limits = None if limited is None else {manifest.domain.name: limited}
        return make_splits(datasets, fold=fold, num_folds=num_folds, train_subjects=limits)
    labelled = list(dict.fromkeys(case.subject for case in manifest.cases if case.label is not None))
    validating = _named(validation_subjects or [], labelled, manifest, setting="validation_subjects")
    left = [subject for subject in labelled if subject not in validating]
    if limited is not None and not 1 <= limited <= len(left):
        raise InputError(f"train_subjects must be 1 to {len(left)} for {manifest.path}, got {limited}; correct it")
    if isinstance(train_subjects, Sequence):
        training = _named(train_subjects, left, manifest, setting="train_subjects")
    else:
        training = left[:limited]
    if validation_subjects is None and len(training) >= VALIDATE_FROM:
        *training, last = training
        validating = [last]
    if not training:
        raise InputError(f"labelled subjects to train on in {manifest.path} must be one or more, got none; add labels")

    def cases_of(subjects: Sequence[str]) -> tuple[Case, ...]:
        return tuple(case for case in manifest.cases if case.label is not None and case.subject in subjects)

    rest = [subject for subject in left if subject not in (*training, *validating)]
    return Split(cases_of(training), cases_of(validating), cases_of(rest), fold=0, num_folds=1)


def _only_one(datasets: Sequence[Manifest]) -> Manifest:
    if len(datasets) != 1:
        raise InputError(f"manifests must be one, the new data set's, got {len(datasets)}; add one after the other")
    return datasets[0]


def _named(names: Sequence[Any], known: Sequence[str], manifest: Manifest, *, setting: str) -> list[str]:
    """Subjects as text (YAML reads a name such as 7 as a number), once each."""
    wanted = list(dict.fromkeys([names] if isinstance(names, str) else map(str, names)))
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise InputError(
            f"{setting} must be labelled subjects of {manifest.path} on one side, got {unknown[0]}; "
            f"there are {', '.join(known)}"
        )
    return wanted
