"""The first weights of a network: those of a trained model, such as one that learned from synthetic shapes."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from custom_components.data.preprocessing import Preprocessing
from custom_components.data.splits import Split
from custom_components.domains import Domain
from custom_components.errors import InputError
from custom_components.models.checkpoints import build_network, load_model, model_file
from custom_components.models.seen import SEEN, seen_by
from custom_components.models.trained_model import TrainedModel
from custom_components.networks.first_convolutions import spread_channels
from custom_components.networks.unet import MultiDomainUNet
from custom_components.system.files import file_digest
from torch import Tensor

_logger = logging.getLogger(__name__)

FRESH_SHARE = 0.1
"""Of its random weights that a channel of the image keeps which the start model did not see."""

_FIRST, _HEADS = "encoder.0.conv1.", ("heads.", "deep_heads.")
_UNKNOWN = "not recorded"


def start_network(
    network: MultiDomainUNet,
    path: str | Path | None,
    *,
    split: Split | None = None,
    resume: bool = False,
    domains: Sequence[Domain] = (),
    preprocessing: Preprocessing | None = None,
) -> dict[str, Any] | None:
    """Start a new network, in place, from a trained model of other data.

    Convolutions of equal name and shape are copied. The norms of every domain, affine weights and statistics, start as
    copies of those of the model's first domain. Output layers, and attention gates that the model lacks, stay as they
    are. If the neighbours of a slice or the coordinates differ, the first convolution looks at the middle slice with
    the sum of the model's weights for its slices (neighbours are nearly equal, so that its features stay those that the
    norms know), and at each other channel with `FRESH_SHARE` of the random weights; weights of coordinates are copied
    if both have them. If the number of the image's channels differs, each takes an equal share, see `spread_channels`.
    Torch's random numbers stay as they were.

    Args:
        network: of `train.yaml`, with the model's widths.
        path: a run's `model.pt` or the folder of a packaged bundle; None leaves the network as it is.
        split: of the training; the model must not know who is held out.
        resume: whether a run is continued, whose checkpoint has the weights and the record. Nothing is loaded then, and
            the result has the digest alone, or is None if the model has moved.
        domains: of the network; none for images of one channel.
        preprocessing: of the training; None to tell slices from coordinates by the number of channels.

    Returns:
        A record in plain types: the model's `digest`; `data`, domain, licence and source of all that it learned from;
        and `seen`, the people that it knows, see `seen_by`. None if there was no start.

    Raises:
        InputError: the model cannot be read, has other widths or folded norms, or knows a held-out subject.

    Source:
        Dey et al., ICLR 2025 (anatomix), for networks that start from random shapes.
    """
    if path is None or (resume and not model_file(path).is_file()):
        return None
    if resume:
        return {"digest": file_digest(model_file(path))}
    model = load_model(path)
    with torch.random.fork_rng(devices=[]):
        source = build_network(model)
    widths, own = source.settings()["widths"], network.settings()["widths"]
    if own != widths:
        raise InputError(f"widths must be those of the model in start_from, {widths}, got {own}; set widths")
    if source.settings()["norm"] == "folded":
        raise InputError("start_from must be a model with norms, got one whose norms are folded; give its model.pt")
    if split is not None:
        _check_unseen(model, split)
    given, started = source.state_dict(), {}
    for name, tensor in network.state_dict().items():
        found = None if name.startswith(_HEADS) else given.get(re.sub(r"\.norms\.\d+\.", ".norms.0.", name))
        if name.startswith(_FIRST):
            own_index = re.search(r"convs\.(\d+)", name)
            images = domains[int(own_index[1]) if own_index else 0].num_channels if domains else 1
            found = _first_of(model, given, name, fresh=tensor, num_images=images, settings=preprocessing)
        if found is not None and found.shape == tensor.shape:
            started[name] = found
    network.load_state_dict(started, strict=False)
    counts = len(started), len(network.state_dict())
    _logger.info("%d of %d tensors start from %s (%s)", *counts, source.domain_names[0], model.digest[:12])
    return {"digest": model.digest, "data": _data(model), SEEN: seen_by(model.training).to_dict()}


def _first_of(
    model: TrainedModel,
    given: Mapping[str, Tensor],
    name: str,
    *,
    fresh: Tensor,
    num_images: int,
    settings: Preprocessing | None,
) -> Tensor:
    """Weight or bias `name` of a first convolution, from that of the model's first domain."""
    kind = name.rpartition(".")[2]
    found = next(given[key] for key in (f"{_FIRST}{kind}", f"{_FIRST}convs.0.{kind}") if key in given)
    own, known = model.preprocessing, model.domains[0].num_channels
    counts = (own.num_slices, own.num_positions)
    same = settings is None or (settings.num_slices, settings.num_positions) == counts
    if kind == "bias" or (found.shape == fresh.shape and known == num_images and same):
        return found
    if known == num_images == 1:
        return _for_channels(found, fresh=fresh)
    one = {"num_slices": counts[0], "num_positions": counts[1], "num_images": 1}
    found = spread_channels(found, **one) if known > 1 else found
    if settings is not None and not same:
        images, positions = fresh.split([fresh.shape[1] - settings.num_positions, settings.num_positions], dim=1)
        found = _for_channels(found, fresh=torch.cat([images[:, : settings.num_slices], positions], dim=1))
        counts = (settings.num_slices, settings.num_positions)
    return spread_channels(found, num_slices=counts[0], num_positions=counts[1], num_images=num_images)


def _for_channels(weight: Tensor, *, fresh: Tensor) -> Tensor:
    """`weight` (features, channels, 3, 3) for the channels of `fresh`.

    Channels are an odd number of slices, then 0 or 3 coordinates, so that an even number tells that there are some.
    """
    slices, own = (count if count % 2 else count - 3 for count in (weight.shape[1], fresh.shape[1]))
    result = FRESH_SHARE * fresh
    result[:, own // 2] = weight[:, :slices].sum(1)
    if weight.shape[1] > slices and fresh.shape[1] > own:
        result[:, own:] = weight[:, slices:]
    return result


def _check_unseen(model: TrainedModel, split: Split) -> None:
    """Refuse a model that was trained on a subject of validation or test, or that one of test has validated."""
    known = seen_by(model.training)
    if not known.complete:
        _logger.warning("start_from does not say whom it was trained on: hold out only people that it has not seen")
    tested, validated = ({(case.domain, case.subject) for case in side} for side in (split.testing, split.validation))
    seen = sorted((tested | validated) & known.training | tested & known.validation)
    if seen:
        raise InputError(
            f"start_from must be a model that has not seen who is held out, got one that knows {len(seen)} of them, "
            f"{' '.join(seen[0])} first; give a model of other data or of the same fold"
        )


def _data(model: TrainedModel) -> list[dict[str, str]]:
    """Domain, licence and source of each data set behind a model, those of the models that it started from included."""
    rows = list(_recorded(model.training))
    known = {row["domain"] for row in rows}
    names = [domain.name for domain in model.domains if domain.name not in known]
    rows += [{"domain": name, "licence": _UNKNOWN, "source": _UNKNOWN} for name in names]
    return [row for number, row in enumerate(rows) if row not in rows[:number]]


def _recorded(training: Mapping[str, Any]) -> list[dict[str, str]]:
    rows = [*training.get("data", ()), *training.get("packaged_data", ())]
    rows += training.get("start", {}).get("data", ())
    found = [{key: str(row.get(key, _UNKNOWN)) for key in ("domain", "licence", "source")} for row in rows]
    earlier = training.get("started_from", {}).get("training", {})
    return found + _recorded(earlier) if earlier else found
