"""Embeddings of the training and validation slices of a run, at the epochs whose models it kept."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from custom_components.data.datasets import SliceDataset
from custom_components.errors import InputError
from custom_components.models.checkpoints import build_network, load_model
from custom_components.networks.first_convolutions import FirstConvolutions
from custom_components.networks.unet import MultiDomainUNet
from custom_components.system.files import write_arrays
from custom_components.training.batches import collate_slices, prepare_slices
from torch import Tensor, nn
from torch.utils.data import DataLoader

_logger = logging.getLogger(__name__)


@dataclass(eq=False)
class EmbeddingExtractor:
    """Write `embeddings.npz`: every slice, without augmentation, as the encoder sees it in evaluation mode.

    Arrays, N slices (training first), K domains, F features:

    - `domain` (N,) index, `training` (N,) bool, `case` (N,) name, `domains` (K,) names, `epochs` (E,);
    - `<epoch>/embedding` (N, F): of the bottleneck, by the norms of the slice's own domain;
    - of the last epoch also `embedding_by_norm` and `convolution_by_norm` (N, K, F): by the norms of every domain; the
      latter of the last convolution, before the last norm and its affine weights.

    `run_dir` holds `epoch_<n>.pt` of all epochs. The data sets are the "training" and "validation" slices, without a
    transform; case names are in their order, domain names in that of the network.

    Source:
        Boutillon et al. 2021, section 4.2 and fig. 4.
    """

    run_dir: Path
    epochs: Sequence[int]
    datasets: Mapping[str, SliceDataset]
    case_names: Mapping[str, Sequence[str]]
    domain_names: Sequence[str]
    output_dir: Path
    device: torch.device | str = "cpu"
    batch_size: int = 32

    def __post_init__(self) -> None:
        if not self.epochs:
            raise InputError("epochs to embed must be one or more, got none; name some that snapshots kept")
        self.epochs = sorted(self.epochs)

    def run(self) -> None:
        """Embed and write."""
        arrays: dict[str, Any] = {"domains": np.array(self.domain_names), "epochs": np.array(self.epochs)}
        for epoch in self.epochs:
            path = Path(self.run_dir) / f"epoch_{epoch}.pt"
            network = build_network(load_model(path)).to(self.device)
            by_norm = epoch == self.epochs[-1]
            parts = [self._embed(network, side, by_norm=by_norm) for side in self.datasets]
            joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
            for name in ("domain", "training", "case"):
                arrays[name] = joined.pop(name)
            arrays |= {f"{epoch}/{name}": values for name, values in joined.items()}
        write_arrays(Path(self.output_dir) / "embeddings.npz", arrays)
        _logger.info("embedded %d slices at epochs %s", len(arrays["domain"]), self.epochs)

    @torch.inference_mode()
    def _embed(self, network: MultiDomainUNet, side: str, *, by_norm: bool) -> dict[str, np.ndarray]:
        names = np.array(self.case_names[side])
        found: dict[str, list[np.ndarray]] = {}
        for batch in DataLoader(self.datasets[side], batch_size=self.batch_size, collate_fn=collate_slices):
            images, _, (own,), _ = prepare_slices(batch, self.device)
            rows = {"domain": own.numpy(), "case": names[batch["case"].numpy()]}
            rows["embedding"] = _embed(network, images, own)[0].cpu().numpy()
            if by_norm:
                each = [_embed(network, images, own, norm=k) for k in range(len(self.domain_names))]
                for name, position in (("embedding_by_norm", 0), ("convolution_by_norm", 1)):
                    rows[name] = torch.stack([pair[position] for pair in each], dim=1).cpu().numpy()
            for name, values in rows.items():
                found.setdefault(name, []).append(values)
        joined = {name: np.concatenate(values) for name, values in found.items()}
        return joined | {"training": np.full(len(joined["domain"]), side == "training")}


def _embed(
    network: MultiDomainUNet, images: Tensor | list[Tensor], domains: Tensor, *, norm: int | None = None
) -> tuple[Tensor, Tensor]:
    """`MultiDomainUNet.embed` of a batch, by its own norms or those of one domain; by its own first convolution."""
    convolution = network.encoder[0].conv1
    own_first = isinstance(convolution, FirstConvolutions) and norm is not None
    if isinstance(images, Tensor) and not own_first:
        return network.embed(images, domains if norm is None else torch.full_like(domains, norm))
    if isinstance(images, Tensor) and len(domains.unique()) == 1:
        return _embed_by_norm(network, cast(FirstConvolutions, convolution), images, int(domains[0]), norm=norm or 0)
    given = [image[None] for image in images] if isinstance(images, Tensor) else images
    parts = domains.split([len(own) for own in given])
    pairs = [_embed(network, own, part, norm=norm) for own, part in zip(given, parts, strict=True)]
    first, second = zip(*pairs, strict=True)
    return torch.cat(first), torch.cat(second)


def _embed_by_norm(
    network: MultiDomainUNet, first: FirstConvolutions, images: Tensor, domain: int, *, norm: int
) -> tuple[Tensor, Tensor]:
    """`MultiDomainUNet.embed` by the norms of one domain after the first convolution of another."""
    kept = first.convs
    try:
        first.convs = nn.ModuleList([kept[domain]] * len(kept))
        return network.embed(images, torch.full((len(images),), norm))
    finally:
        first.convs = kept
