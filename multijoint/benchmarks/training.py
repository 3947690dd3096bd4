"""Training against plain PyTorch and MONAI: the training loop, the augmentation."""

from __future__ import annotations

import copy
import shutil
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from custom_components.data.augmentation import RandFlipRotateTranslated
from custom_components.data.datasets import SliceDataset
from custom_components.data.manifests import load_manifests
from custom_components.data.preprocessing import Preprocessing
from ignite.engine import Events
from monai.bundle import ConfigWorkflow
from monai.data.meta_obj import get_track_meta, set_track_meta
from monai.transforms import Affined, Compose, Flipd, RandAffined, RandFlipd, RandRotated, Rotated
from torch import nn
from torch.utils.data import default_collate

from multijoint.benchmarks.fixtures import DOMAINS, Workplace
from multijoint.benchmarks.rows import Row, Target, interleave
from multijoint.running import find_bundle

_BATCH = 32  # as in paper.yaml
_SLICE_SIZE, _NUM_SLICES = 256, 20
_MAX_ROTATION, _MAX_TRANSLATION = np.pi / 4, _SLICE_SIZE / 4  # of paper.yaml
_MODES = {"mode": ["bilinear", "nearest"], "padding_mode": "zeros"}
_KEYS = ("image", "label")


def training_loop(place: Workplace) -> Iterator[Row]:
    """Whole epochs of the `training` workflow by the recipe `paper`, against a bare loop on its batches in memory.

    An epoch is that of a run: slices drawn, augmented and collated, loss, handlers, log and checkpoint. Reading the
    volumes once before the first epoch does not count, nor does validation. The two take turns, epoch by epoch; the
    first epoch does not count. A RuntimeError is raised if the two networks differ after it. The second row trains as
    `precision: auto` says, in bfloat16 where this machine has it; its peer is the bare loop of the first, in float32.
    """
    plain = _time_loop(place, "float32")
    yield plain
    yield _time_loop(place, "auto", peer=plain.peer)


def _time_loop(place: Workplace, precision: str, *, peer: float | None = None) -> Row:
    """Slices a second of the training and of the bare loop, which does not run where its figure is known."""
    size, num_epochs = place.choose(96, 64), 1  # after the first, which does not count
    training = _workflow(place, size, num_epochs, precision)
    of_run = training.parser.get_parsed_content
    trainer, network = of_run("train#trainer"), of_run("embedding_network")
    bare = copy.deepcopy(network) if peer is None else None
    bare_epoch = None if bare is None else _bare_loop(of_run, bare)
    seconds: list[tuple[float, float]] = []
    started: list[float] = []

    def end(_: Any) -> None:
        middle = time.perf_counter()
        if bare_epoch is not None:
            bare_epoch()
        seconds.append((middle - started[-1], time.perf_counter() - middle))
        if bare is not None and len(seconds) == 1:
            states = (each.state_dict().values() for each in (network, bare))
            if not all(map(torch.equal, *states)):
                raise RuntimeError("after the same batches both networks must be equal, got a difference")
        started.append(time.perf_counter())

    trainer.add_event_handler(Events.STARTED, lambda: started.append(time.perf_counter()))
    trainer.add_event_handler(Events.EPOCH_COMPLETED, end)  # attached last, so it runs after all other handlers
    training.run()
    num_slices = sum(map(len, of_run("train#sampler")))
    ours, alone = (num_slices / statistics.median(each) for each in zip(*seconds[1:], strict=True))
    peer = alone if peer is None else peer
    name, target = f"train-loop, epochs of {num_slices} slices of {size} x {size}", 0.95
    if precision == "auto":
        name, target = f"{name}, {str(network.dtype).removeprefix('torch.')}", 1.3
    return Row(name, ours, peer, "slices/s", num_epochs, Target(target, at_least=True))


def augmentation(place: Workplace) -> Iterator[Row]:
    """A slice and its label flipped, rotated and shifted, against MONAI's transforms one by one.

    One thread runs, as in a data loader's process. MONAI's tracking of meta data is off, which is faster. The peer of
    the second row rotates and shifts in one transform. A RuntimeError is raised if for the same random parameters the
    labels differ by more than resampling twice explains.
    """
    manifest = load_manifests(place.manifests())[0]
    size = Preprocessing((_SLICE_SIZE, _SLICE_SIZE))
    dataset = SliceDataset(manifest.cases[:1], domains=[manifest.domain], preprocessing=size)
    items = sorted((dataset[index] for index in range(len(dataset))), key=lambda item: -int(item["label"].sum()))
    items = items[:_NUM_SLICES]  # with most bone
    ours = Compose([RandFlipRotateTranslated()]).set_random_state(0)
    flips = [RandFlipd(_KEYS, prob=0.5, spatial_axis=axis) for axis in (0, 1)]
    shift = {"translate_range": (_MAX_TRANSLATION, _MAX_TRANSLATION)}
    rotate = RandRotated(_KEYS, range_x=_MAX_ROTATION, prob=1, **_MODES)
    one_by_one = Compose([rotate, *flips, RandAffined(_KEYS, prob=1, **shift, **_MODES)]).set_random_state(0)
    at_once = RandAffined(_KEYS, prob=1, rotate_range=_MAX_ROTATION, **shift, **_MODES)
    two_in_one = Compose([*flips, at_once]).set_random_state(0)
    tracked, num_threads = get_track_meta(), torch.get_num_threads()
    set_track_meta(False)
    torch.set_num_threads(1)
    try:
        for seed, item in enumerate(items):
            _check_labels(item, seed)
        n = place.choose(15)
        # `map` applies a transform once `deque` takes its results.
        calls = [lambda each=each: deque(map(each, items), 0) for each in (ours, one_by_one, two_in_one)]
        seconds = interleave(*calls, repetitions=n)
    finally:
        set_track_meta(tracked)
        torch.set_num_threads(num_threads)
    own, *peers = (1000 * each / len(items) for each in seconds)
    name = f"augment, slice of {_SLICE_SIZE} x {_SLICE_SIZE}"
    yield Row(f"{name}, four transforms", own, peers[0], "ms", n, Target(3, at_least=True), inverse=True)
    yield Row(f"{name}, flips and one RandAffined", own, peers[1], "ms", n, inverse=True)


def _workflow(place: Workplace, size: int, num_epochs: int, precision: str) -> ConfigWorkflow:
    """The real training, ready to run in a new folder; the first epoch comes on top, and no validation."""
    output_dir, bundle = place.folder / "train-loop", find_bundle()
    shutil.rmtree(output_dir, ignore_errors=True)
    workflow = ConfigWorkflow(
        [str(bundle / "configs" / name) for name in ("train.yaml", "paper.yaml")],
        workflow_type="train", logging_file=False, bundle_root=str(bundle),
        manifests=[str(path) for path in place.manifests()], output_dir=str(output_dir), device="cpu",
        batch_size=_BATCH, precision=precision, image_size=[size, size],
        train_subjects=dict.fromkeys(DOMAINS, place.choose(2)), max_epochs=1 + num_epochs, val_interval=2 + num_epochs,
    )  # fmt: skip
    workflow.initialize()
    return workflow


def _bare_loop(of_run: Callable[[str], Any], network: nn.Module) -> Callable[[], None]:
    """An epoch of plain PyTorch on the batches of the run's first epoch, with the run's loss."""
    sampler, dataset, loss = of_run("train#sampler"), of_run("train#dataset"), of_run("loss")
    sampler.set_epoch(1)
    prepare = of_run("train#trainer").prepare_batch
    batches = [prepare(default_collate([dataset[key] for key in keys])) for keys in sampler]
    optimizer = torch.optim.Adam(network.parameters(), lr=of_run("learning_rate"))
    network.train()

    def epoch() -> None:
        for images, target, (domains,), _ in batches:
            optimizer.zero_grad(set_to_none=True)
            loss(network(images, domains), target).backward()
            optimizer.step()

    return epoch


def _check_labels(item: dict[str, Any], seed: int) -> None:
    item = item | {"pixel_spacing": np.ones(2)}  # MONAI's rotation is rigid in pixels
    transform = RandFlipRotateTranslated()
    angle, shift, signs, _ = transform.set_random_state(seed).randomize()
    flips = [Flipd(_KEYS, spatial_axis=axis) for axis in range(2) if signs[axis] < 0]
    move = Affined(_KEYS, translate_params=tuple(-_SLICE_SIZE * shift), **_MODES)
    expected = Compose([Rotated(_KEYS, angle=-angle, **_MODES), *flips, move])(item)["label"]
    found = transform.set_random_state(seed)(item)["label"]
    share = float((found == expected)[expected > 0].float().mean())  # MONAI's loses voxels that were outside in between
    if share < 0.95:
        raise RuntimeError(f"bone must lie where MONAI's transforms bring it, got only {share:.3f} of it")
