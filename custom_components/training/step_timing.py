"""Time that a training step takes on this machine."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from custom_components.data.preprocessing import Preprocessing
from custom_components.distributed import num_ranks, share_gradients
from custom_components.domains import Domain
from custom_components.networks.forwards import EmbeddingForward
from custom_components.networks.unet import MultiDomainUNet
from custom_components.training.batches import collate_slices, prepare_slices
from custom_components.training.slice_sizes import Field
from torch import nn


@dataclass(frozen=True)
class Workload:
    """A training step but for image size and widths.

    Args:
        domains: those of the network.
        fields: by the names of the domains with training cases.
        drawn: index of the domain of each slice in a batch.
        loss: of the training.
        network: other arguments of `MultiDomainUNet`.
        ahead: whether other processes augment while this one computes.
        transform: augmentation of an item, or None.
        dtype: of convolutions.
    """

    domains: Sequence[Domain]
    fields: Mapping[str, Field]
    drawn: Sequence[int]
    loss: nn.Module
    network: Mapping[str, Any]
    ahead: bool
    device: torch.device
    transform: Callable[[dict[str, Any]], Any] | None = None
    context: int = 0
    position: bool = False
    dtype: torch.dtype = torch.float32


def seconds_a_step(work: Workload, image_size: Any, widths: Sequence[int]) -> float:
    """Median of training steps after one to warm up; infinite if the GPU's memory does not suffice.

    There are two, or for a second as many as ten, unless several processes would have to agree on it.
    """
    device = work.device
    settings = Preprocessing(image_size, context=work.context, position=work.position)
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        items = list(_random_items(work, settings))
        arguments = {**work.network, "in_channels": settings.in_channels_of(work.domains), "widths": widths}
        arguments["deep_supervision"] = min(arguments.get("deep_supervision", 0), len(widths) - 2)
        network = MultiDomainUNet([domain.num_classes for domain in work.domains], **arguments).to(device)
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        forward: nn.Module = EmbeddingForward(network, dtype=work.dtype)
        forward = share_gradients(forward) if num_ranks() > 1 else forward
        optimizer = torch.optim.AdamW(forward.parameters(), lr=1e-4)
        seconds: list[float] = []
        ready = [_augmented(item, work) for item in items] if work.ahead else None
        try:
            while len(seconds) < 3 or (num_ranks() == 1 and len(seconds) < 11 and sum(seconds[1:]) < 1):
                start = time.perf_counter()
                batch = collate_slices(ready or [_augmented(item, work) for item in items])
                images, target, domains, _ = prepare_slices(batch, device)
                optimizer.zero_grad(set_to_none=True)
                with torch.autocast(device.type, enabled=work.dtype == torch.float16):
                    total = work.loss(forward(images, *domains), target)
                total.backward()
                optimizer.step()
                total.item()  # waits for a GPU
                seconds.append(time.perf_counter() - start)
        except torch.OutOfMemoryError:
            if num_ranks() > 1:  # the others wait for this one
                raise
            return math.inf
    return statistics.median(seconds[1:])


def _random_items(work: Workload, settings: Preprocessing) -> Iterator[dict[str, Any]]:
    """As those of `SliceDataset`, for the augmentation."""
    for index in work.drawn:
        domain = work.domains[index]
        size = settings.size_of(domain.name)
        yield {
            "image": torch.rand(domain.num_channels * settings.num_slices, *size),
            "label": torch.randint(domain.num_classes, (1, *size), dtype=torch.uint8),
            "domain": index,
            "case": 0,
            "num_channels": domain.num_channels,
            "pixel_spacing": work.fields[domain.name].extent_mm / size,
            "label_box": np.array([[0.0, 1.0], [0.0, 1.0]]),
            "side_axis": 0,
        }


def _augmented(item: dict[str, Any], work: Workload) -> dict[str, Any]:
    item = item if work.transform is None else work.transform(item)
    position = torch.zeros(3 * work.position, *item["image"].shape[1:])
    return {**item, "image": torch.cat([torch.as_tensor(item["image"]), position])}
