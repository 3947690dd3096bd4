"""Ensembles: several trained models of the same domains as one, in an order that depends on their weights alone."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any

import torch
from custom_components.errors import InputError
from custom_components.models.checkpoints import load_model
from custom_components.models.digests import join_digests
from custom_components.models.seen import SEEN, Seen, seen_by
from custom_components.models.trained_model import QUALITY, TrainedModel
from custom_components.quality.calibration import DomainQuality

_ONCE = ("data", "domains", "versions", "packaged_data", "start", "started_from")  # of the first member


def load_ensemble(path: str | Path | Sequence[str | Path]) -> TrainedModel:
    """Read one model as `load_model` does, or several as an ensemble; see `join_models`.

    Raises:
        InputError: see `load_model` and `join_models`.
    """
    paths = [path] if isinstance(path, str | Path) else list(path)
    if not paths:
        raise InputError("checkpoint must be one file or several, got none; name the model.pt of a run")
    models = [load_model(each) for each in paths]
    return join_models(models, names=[str(each) for each in paths])


def join_models(models: Sequence[TrainedModel], *, names: Sequence[str] = ()) -> TrainedModel:
    """One model whose probabilities are the mean of those of its `members`.

    Members are ordered by a digest of their weights, so the order in which they are given changes no bit. Each may have
    its own architecture; the slices that they see, their domains and their kind of head must be the same. An
    ensemble among the models stands for its members.

    - `network` is that of the first member, and `weights` are empty.
    - `training` lists the record of each member under `members`. Whom any of them has seen, the ensemble has seen.
    - Its quality has no calibration: the means of probabilities are less sure than those that a member was calibrated
      on. Volumes of bones are the smallest and the largest of all members; distances from a domain are those of the
      first member, which judges them.

    Args:
        models: at least one, with weights; a single one is returned as it is.
        names: of the models, for messages.

    Raises:
        InputError: models that differ in what must be the same, or the same weights twice.
    """
    named = list(names) or [f"model {number}" for number in range(1, len(models) + 1)]
    given = [(own, name) for each, name in zip(models, named, strict=True) for own in each.members or (each,)]
    if len(given) == 1:
        return models[0]
    for model, name in given[1:]:
        _check_alike(given[0][0], model, names=(given[0][1], name))
    ordered = sorted(((weights_digest(model), name, model) for model, name in given), key=lambda each: each[0])
    for (digest, name, _), (following, other, _) in itertools.pairwise(ordered):
        if digest == following:
            raise InputError(
                f"members of an ensemble must differ, got the same weights in {name} and {other}; drop one"
            )
    members = tuple(model for _, _, model in ordered)
    first = members[0]
    return TrainedModel(
        domains=first.domains,
        preprocessing=first.preprocessing,
        network=first.network,
        weights={},
        training=_joined_training(members),
        digest=join_digests([model.digest for model in members]),
        members=members,
    )


def of_each(model: TrainedModel, change: Callable[[TrainedModel], TrainedModel]) -> TrainedModel:
    """A model changed, or an ensemble of its members changed, in their order and with its own record."""
    if not model.members:
        return change(model)
    members = tuple(change(member) for member in model.members)
    first, digest = members[0], join_digests([member.digest for member in members])
    described: Any = {"domains": first.domains, "preprocessing": first.preprocessing, "network": first.network}
    return replace(model, members=members, digest=digest, **described)


def weights_digest(model: TrainedModel) -> str:
    """SHA-256 of names, types, shapes and numbers of a model's weights, whatever file they came in; of all members."""
    if model.members:
        return join_digests([weights_digest(member) for member in model.members])
    digest = hashlib.sha256()
    for name, tensor in sorted(model.weights.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _check_alike(first: TrainedModel, other: TrainedModel, *, names: tuple[str, str]) -> None:
    """Raise an `InputError` that names the first difference between two members."""
    for what, mine, theirs in _compared(first, other):
        if mine != theirs:
            raise InputError(
                f"members of an ensemble must have the same domains, preprocessing and head, got {what} {mine!r} in "
                f"{names[0]} and {theirs!r} in {names[1]}; give models of one experiment"
            )


def _compared(first: TrainedModel, other: TrainedModel) -> list[tuple[str, Any, Any]]:
    names: list[Any] = [[domain.name for domain in model.domains] for model in (first, other)]
    pairs: list[tuple[str, Any, Any]] = [("domains", names[0], names[1])]
    if names[0] == names[1]:
        for mine, theirs in zip(first.domains, other.domains, strict=True):
            pairs.append((f"labels of {mine.name}", list(mine.labels.items()), list(theirs.labels.items())))
            pairs.append((f"plane of {mine.name}", mine.plane, theirs.plane))
            pairs.append((f"data set of {mine.name}", mine.plane_of, theirs.plane_of))
    slices = first.preprocessing, other.preprocessing
    pairs += [(each.name, getattr(slices[0], each.name), getattr(slices[1], each.name)) for each in fields(slices[0])]
    return [*pairs, ("head", first.network["head"], other.network["head"])]


def _joined_training(members: Sequence[TrainedModel]) -> dict[str, Any]:
    records = [{key: value for key, value in model.training.items() if key != QUALITY} for model in members]
    training = {key: records[0][key] for key in _ONCE if key in records[0]}
    training["members"] = [{"sha256": model.digest, **own} for model, own in zip(members, records, strict=True)]
    seen = reduce(or_, (seen_by(record) for record in records))
    people = {"training": seen.training, "validation": seen.validation - seen.training}
    sides = Seen(people["training"], people["validation"]).to_dict()
    training["split"] = {side: sides[side] for side in people} | {"testing": []}
    training[SEEN] = Seen(complete=seen.complete).to_dict()
    quality = {domain.name: _joined_quality(members, domain.name) for domain in members[0].domains}
    return training | {QUALITY: {name: own.to_dict() for name, own in quality.items() if own is not None}}


def _joined_quality(members: Sequence[TrainedModel], domain: str) -> DomainQuality | None:
    known = [model.quality(domain) for model in members]
    found = [each for each in known if each is not None]
    if not found:
        return None
    bones = dict.fromkeys(bone for each in found for bone in each.volumes_ml)
    ends = {bone: [each.volumes_ml[bone] for each in found if bone in each.volumes_ml] for bone in bones}
    volumes = {bone: (min(low for low, _ in own), max(high for _, high in own)) for bone, own in ends.items()}
    farthest = None if known[0] is None else known[0].farthest
    return DomainQuality(None, volumes, max(each.references for each in found), farthest)
