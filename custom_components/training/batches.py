"""Batches of slices for MONAI's engines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import default_collate


class SliceTarget(NamedTuple):
    """Target of a batch: label (N, 1, H, W), see `collate_slices`; domains (N,) and cases (N,), both on the CPU."""

    label: Tensor | list[Tensor]
    domains: Tensor
    cases: Tensor


def collate_slices(items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """PyTorch's default collation, for slices whose size may be their domain's own.

    Of a batch with several sizes, `image` and `label` become lists with a tensor for each domain present. The items
    must then be ordered by domain, as the sampler orders them.
    """
    if len({tuple(item["image"].shape) for item in items}) == 1:
        return default_collate(list(items))
    domains = [item["domain"] for item in items]
    if domains != sorted(domains):
        raise ValueError(f"slices of several sizes must be ordered by domain, got {domains}")
    rest = default_collate([{key: item[key] for key in item if key not in ("image", "label")} for item in items])
    for key in ("image", "label"):
        rest[key] = [torch.stack([item[key] for item in own]) for _, own in groupby(items, itemgetter("domain"))]
    return rest


def prepare_slices(
    batch: Mapping[str, Any], device: torch.device | str | None = None, non_blocking: bool = False, **to: Any
) -> tuple[Tensor | list[Tensor], SliceTarget, tuple[Tensor], dict[str, Any]]:
    """Image, target, and domains for the network from `SliceDataset` items; a `prepare_batch` of MONAI's engines.

    Args:
        batch: `image` (N, C, H, W) float32, `label` (N, 1, H, W) class indices, `domain` and `case` (N,) indices; for
            slices of several sizes see `collate_slices`.
        device: of image and label; domain and case indices stay on the CPU.
        non_blocking: as for `Tensor.to`.
        **to: more for the image, as for `Tensor.to`.
    """
    how: Any = {"device": device, "non_blocking": non_blocking}
    given, labels = batch["image"], batch["label"]
    if isinstance(given, Tensor):
        image: Any = given.to(**how, memory_format=torch.channels_last, **to)
        label: Any = labels.to(**how)
    else:
        image = [own.to(**how, memory_format=torch.channels_last, **to) for own in given]
        label = [own.to(**how) for own in labels]
    return image, SliceTarget(label, batch["domain"], batch["case"]), (batch["domain"],), {}
