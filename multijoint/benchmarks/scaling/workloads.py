"""Work that `scale` repeats in its process: a training step, batches, the choice among classes, cleaning, scores."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from custom_components.data.sampling import DomainBalancedBatchSampler
from custom_components.inference.inferers import SlicewiseInferer
from custom_components.losses import MultiDomainSegmentationLoss
from custom_components.metrics.bone_scores import score_case
from custom_components.networks.forwards import EmbeddingForward
from custom_components.networks.unet import MultiDomainUNet
from custom_components.postprocessing.transforms import default_steps
from torch import Tensor

from multijoint.benchmarks.scaling.synthetic_scans import WIDTHS, add_islands, domain_of

_BATCH, _SIDE = 64, 32  # slices, and their pixels
_DEEP = (8, 16, 32, 64, 128)  # as many norms as in the default network, but narrow, so that norms dominate
_SLICES_OF_A_DOMAIN, _SHARE = 2000, 4  # in all, and in a batch
_CLASSIFIED = (96, 96, 32)  # voxels; the logits of a slice must fit the cache, or its limit looks like growth


def training_step(num_domains: int) -> tuple[Callable[[], None], Callable[[], int]]:
    """A step on a batch of fixed size that the domains share, and a function that counts the bytes of a step.

    The bytes are those of weights, gradients, Adam's moments, and tensors that the forward pass keeps for the backward.
    """
    torch.manual_seed(0)
    network = EmbeddingForward(MultiDomainUNet([3] * num_domains, widths=_DEEP))
    loss_of = MultiDomainSegmentationLoss([3] * num_domains)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
    images = torch.rand(_BATCH, 1, _SIDE, _SIDE).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(3, (_BATCH, 1, _SIDE, _SIDE), dtype=torch.uint8)
    domains = torch.arange(_BATCH) * num_domains // _BATCH

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss_of(network(images, domains), (labels, domains)).backward()
        optimizer.step()

    def count() -> int:
        kept: list[Tensor] = []

        def keep(tensor: Tensor) -> Tensor:
            kept.append(tensor)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            step()
        moments = [each for state in optimizer.state.values() for each in state.values()]
        gradients = [each.grad for each in network.parameters() if each.grad is not None]
        held: list[Any] = [*kept, *moments, *gradients, *network.parameters(), *network.buffers()]
        return sum({each.untyped_storage().data_ptr(): each.untyped_storage().nbytes() for each in held}.values())

    return step, count


def draw_epoch(num_domains: int) -> None:
    """Draw an epoch of batches with the same number of slices of each domain from a new sampler."""
    domains = [index for index in range(num_domains) for _ in range(_SLICES_OF_A_DOMAIN)]
    for _ in DomainBalancedBatchSampler(domains, batch_size=_SHARE * num_domains):
        pass


def classifier(num_bones: int) -> Callable[[], Any]:
    """A function that finds the likeliest class of each pixel of a few slices."""
    torch.manual_seed(0)
    network = MultiDomainUNet([num_bones + 1], widths=WIDTHS).eval()
    images = torch.rand(1, 1, *_CLASSIFIED)
    inferer = SlicewiseInferer(roi_size=_CLASSIFIED[:2], spatial_dim=2, sw_batch_size=_CLASSIFIED[2])
    return partial(inferer.classes, images, network, size=_CLASSIFIED[:2])


def clean_and_score(truth: np.ndarray) -> None:
    """Clean class indices that have islands, and score them against others one voxel away.

    Raises:
        RuntimeError: cleaned, they are not the truth.
    """
    domain = domain_of(int(truth.max()))
    item: dict[Any, Any] = {"pred": add_islands(truth)[None]}
    for clean in default_steps("pred"):
        item = clean(item)
    cleaned = item["pred"][0]
    if not np.array_equal(cleaned, truth):
        raise RuntimeError(f"cleaned labels must be the truth, got {np.count_nonzero(cleaned != truth)} others")
    score_case(cleaned, np.roll(truth, 1, axis=0), domain=domain, spacing_mm=(1.0, 1.0, 1.0))
