"""Batches of slices for MONAI's engines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor


class SliceTarget(NamedTuple):
    """Target of a batch: label (N, 1, H, W); domains (N,) and cases (N,), both on the CPU."""

    label: Tensor
    domains: Tensor
    cases: Tensor


def prepare_slices(
    batch: Mapping[str, Any], device: torch.device | str | None = None, non_blocking: bool = False, **to: Any
) -> tuple[Tensor, SliceTarget, tuple[Tensor], dict[str, Any]]:
    """Image, target, and domains for the network from `SliceDataset` items; a `prepare_batch` of MONAI's engines.

    Args:
        batch: `image` (N, C, H, W) float32, `label` (N, 1, H, W) class indices, `domain` and `case` (N,) indices.
        device: of image and label; domain and case indices stay on the CPU.
        non_blocking: as for `Tensor.to`.
        **to: more for the image, as for `Tensor.to`.
    """
    image = batch["image"].to(device, non_blocking=non_blocking, memory_format=torch.channels_last, **to)
    label = batch["label"].to(device, non_blocking=non_blocking)
    return image, SliceTarget(label, batch["domain"], batch["case"]), (batch["domain"],), {}
