"""Running statistics of norms, measured anew on the training slices with the weights of the finished model."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from custom_components.data.datasets import SliceDataset
from custom_components.distributed import first_rank_only
from custom_components.models.checkpoints import build_network, load_model, save_checkpoint
from custom_components.networks.forwards import EmbeddingForward
from custom_components.networks.unet import MultiDomainUNet
from custom_components.training.batches import collate_slices, prepare_slices
from custom_components.training.runs import TrainingRun
from custom_components.training.validation import StackDice
from torch import Tensor, nn
from torch.utils.data import DataLoader

_logger = logging.getLogger(__name__)


@torch.no_grad()
def measure_norms(network: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
    """Set the running statistics of the norms that the batches pass through to those of all their values.

    They become the mean and the unbiased variance of all values of each feature over all batches, summed in double
    precision. On the way each batch is normalised by its own statistics, as in the training, so that the result does
    not depend on the earlier running statistics. Norms that no batch passes through keep theirs, and so do all if an
    error ends the pass.

    Args:
        network: with any `nn.BatchNorm2d`, called as `network(images, domains)`; it is left in the mode it was in.
        batches: images (N, C, H, W) on the network's device, and domain indices (N,) on the CPU.

    Source:
        Wu and Johnson 2021, "Rethinking 'Batch' in BatchNorm", section 3 (precise batch norm); variances of parts are
        joined after Chan, Golub and LeVeque 1979.
    """
    found: dict[nn.BatchNorm2d, tuple[int, Tensor, Tensor]] = {}  # number of values, mean, sum of squared deviations

    def note(norm: nn.BatchNorm2d, inputs: tuple[Tensor]) -> None:
        x = inputs[0]
        spread, center = (part.double() for part in torch.var_mean(x.float(), dim=(2, 3), correction=0))
        number, mean = x.numel() // x.shape[1], center.mean(dim=0)
        variance = (spread + (center - mean).square()).mean(dim=0)
        _fill(norm, mean, variance)  # in evaluation mode, in which no other process is waited for
        before, mean_before, squares = found.get(norm, (0, torch.zeros_like(mean), torch.zeros_like(mean)))
        step, total = mean - mean_before, before + number
        squares = squares + number * variance + step.square() * (before * number / total)
        found[norm] = (total, mean_before + step * (number / total), squares)

    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    earlier = [copy.deepcopy(norm.state_dict()) for norm in norms]
    hooks = [norm.register_forward_pre_hook(note) for norm in norms]
    training = network.training
    try:
        network.eval()
        for images, domains in batches:
            network(images, domains)
    except BaseException:
        for norm, state in zip(norms, earlier, strict=True):
            norm.load_state_dict(state)
        raise
    finally:
        network.train(training)
        for hook in hooks:
            hook.remove()
    for norm, (number, mean, squares) in found.items():
        _fill(norm, mean, squares / max(number - 1, 1))


def measure_domains(network: MultiDomainUNet, dataset: SliceDataset, *, batch_size: int, seed: int = 0) -> None:
    """Measure the norms of a network on a data set's slices: each once, not augmented, in an order that `seed` decides.

    Domain by domain; norms that all domains share see the slices of all mixed. Domains without a slice keep their
    statistics. Batches have `batch_size` slices at most.
    """
    plain = copy.copy(dataset)
    plain.transform = None
    domains = np.array(plain.sample_domains)
    shared = network.shared_norm
    for own in [domains >= 0] if shared else [domains == domain for domain in np.unique(domains)]:
        order = np.random.default_rng(seed).permutation(np.flatnonzero(own))
        batches = [part.tolist() for part in np.array_split(order, -(-len(order) // batch_size))]
        measure_norms(network, _inputs(network, DataLoader(plain, batch_sampler=batches, collate_fn=collate_slices)))


@first_rank_only
def reestimate_run(
    run: TrainingRun, *, dataset: SliceDataset, validation: SliceDataset, batch_size: int, enabled: bool = False
) -> None:
    """Measure the norms of a finished training's `model.pt` anew, in the first process only.

    The new model always replaces the one before. Its validation Dice, logged before and after, takes the place of the
    recorded one. `last.pt` and the models of chosen epochs stay as they are. A second call changes nothing.

    Args:
        run: with `model.pt` in its folder.
        dataset: of the training; see `measure_domains`.
        validation: looked at if the run has validation cases.
        batch_size: slices in a batch, at most.
        enabled: false does nothing.
    """
    if not enabled:
        return
    path = run.output_dir / "model.pt"
    model = load_model(path)
    network = build_network(model).to(run.device)
    known = dict(model.training) | {"norms_reestimated": True}
    before = _validate(network, run, validation, batch_size) if run.split.validation else None
    measure_domains(network, dataset, batch_size=batch_size, seed=run.seed)
    if before is not None:
        known["validation_dice"] = _validate(network, run, validation, batch_size)
        _logger.info("norms re-estimated: validation Dice %.4f before, %.4f after", before, known["validation_dice"])
    else:
        _logger.info("norms re-estimated; there are no validation cases to see whether it helped")
    weights = {name: tensor.cpu() for name, tensor in network.state_dict().items()}
    save_checkpoint(path, replace(model, weights=weights, training=known))


@torch.no_grad()
def _validate(network: MultiDomainUNet, run: TrainingRun, dataset: SliceDataset, batch_size: int) -> float:
    metric = StackDice(domains=run.domains, case_domains=dataset.case_domains, head=network.head)
    device = next(network.parameters()).device
    forward = EmbeddingForward(network)
    for batch in DataLoader(dataset, batch_size=batch_size, collate_fn=collate_slices):
        image, target, (domains,), _ = prepare_slices(batch, device)
        metric.update((forward(image, domains)[0], target))
    return metric.compute()


def _inputs(network: nn.Module, loader: Iterable[Mapping[str, Any]]) -> Iterator[tuple[Tensor, Tensor]]:
    device = next(network.parameters()).device
    for batch in loader:
        image, _, (domains,), _ = prepare_slices(batch, device)
        assert isinstance(image, Tensor)  # a batch is of one domain, or all have one size
        yield image, domains


def _fill(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor) -> None:
    assert norm.running_mean is not None  # our norms always track
    assert norm.running_var is not None
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)
