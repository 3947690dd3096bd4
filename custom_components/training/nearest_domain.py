"""Nearest domain of a trained network to a new data set: the one whose features separate its labels best."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from custom_components.data.datasets import SliceDataset
from custom_components.networks.unet import MultiDomainUNet
from torch import Tensor, nn

_logger = logging.getLogger(__name__)
_MOST_SLICES = 64
_CHUNK = 8  # slices per forward pass
_RIDGE = 1e-6


def find_nearest_domain(network: MultiDomainUNet, data: SliceDataset) -> str:
    """Name of the domain with the largest `explained_variance`; the first of equal ones.

    Of the labelled slices of the new data set at most 64, evenly spaced, are used. The trained network, with a norm and
    a head for each domain, stays unchanged. Where channels differ, only domains with as many as the new slices are
    compared; if there is none, the first domain is the result.
    """
    names = network.domain_names
    if len(names) == 1:
        return names[0]
    chosen = sorted({round(place) for place in torch.linspace(0, len(data) - 1, _MOST_SLICES).tolist()})
    slices = [data[index] for index in chosen]
    counts = network.settings()["in_channels"]
    counts = [counts] * len(names) if isinstance(counts, int) else counts
    names = [name for name, count in zip(names, counts, strict=True) if count == len(slices[0]["image"])] or names[:1]
    if len(names) == 1:
        return names[0]
    fits = {name: explained_variance(network, slices, domain=network.domain_names.index(name)) for name in names}
    nearest = max(names, key=lambda name: fits[name])
    listed = ", ".join(f"{name} {fit:.3f}" for name, fit in fits.items())
    _logger.info("the new norms start from those of %s (variance of the labels explained: %s)", nearest, listed)
    return nearest


def explained_variance(network: MultiDomainUNet, slices: Sequence[Mapping[str, Any]], *, domain: int) -> float:
    """Share of the variance of new labels that a linear head explains on the features of a domain's norms.

    The head is fitted by least squares, without any training. The result is the mean over bones of
    1 - (mean squared residual) / (variance of the bone's mask over all pixels); 0 if there is no bone. The trained
    network stays unchanged.

    Shape:
        `image` (1, H, W) and `label` (1, H, W), class indices of the new data set, in each item of the slices.
    """
    was_training, before = network.training, network.domain
    network.eval()
    network.set_domain(domain)
    try:
        return _fit(network, slices, network.heads[domain])
    finally:
        network.set_domain(before)
        network.train(was_training)


def _fit(network: MultiDomainUNet, slices: Sequence[Mapping[str, Any]], head: nn.Module) -> float:
    # Least squares needs only X'X and X'Y, sums over all pixels, so the features X and masks Y of a few slices are in
    # memory at a time. The features are the input of the last layer, taken by a hook.
    seen: list[Tensor] = []
    hook = head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    classes = 1 + max(int(item["label"].max()) for item in slices)
    products: list[Tensor] = []
    moments: list[Tensor] = []
    counts = torch.zeros(classes, dtype=torch.float64)
    try:
        for start in range(0, len(slices), _CHUNK):
            part = slices[start : start + _CHUNK]
            with torch.no_grad():
                network(torch.stack([torch.as_tensor(item["image"]) for item in part]))
            features = seen.pop().movedim(1, -1).flatten(end_dim=-2).double()
            features = torch.cat([features, features.new_ones(len(features), 1)], dim=1)
            labels = torch.stack([torch.as_tensor(item["label"]) for item in part]).flatten().long()
            masks = nn.functional.one_hot(labels, classes).double()
            products.append(features.T @ features)
            moments.append(features.T @ masks)
            counts += masks.sum(dim=0)
    finally:
        hook.remove()
    product, moment = torch.stack(products).sum(dim=0), torch.stack(moments).sum(dim=0)
    ridge = _RIDGE * product.diagonal().mean() * torch.eye(len(product), dtype=torch.float64)
    weights = torch.linalg.solve(product + ridge, moment)
    # |y - Xw|^2 = |y|^2 - 2 w'X'y + w'X'Xw for each class; |y|^2 of a mask is its number of pixels.
    residuals = counts - 2 * (weights * moment).sum(dim=0) + (weights * (product @ weights)).sum(dim=0)
    total = counts.sum()
    spread = counts * (1 - counts / total)
    bones = (counts > 0) & (torch.arange(classes) > 0)
    return float((1 - residuals[bones] / spread[bones]).mean()) if bones.any() else 0.0
