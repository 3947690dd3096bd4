"""`multijoint segment`, float32 and int8, from file to file against the same network in plain PyTorch and MONAI."""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from custom_components.io.formats import case_id
from custom_components.io.records import label_map_path, record_path
from custom_components.models.checkpoints import load_model
from custom_components.system.files import read_csv
from custom_components.system.number_formats import computes_bfloat16

from multijoint.benchmarks.fixtures import (
    DOMAIN,
    SLICE_SIZE,
    Workplace,
    multijoint,
    run_command,
    run_measured,
    time_commands,
)
from multijoint.benchmarks.rows import Row, Target, interleave
from multijoint.running import find_bundle

_OPTIONS = ("--domain", DOMAIN, "--device", "cpu", "--overwrite", "--out")
# Of our label map and the peer's; below it, they clearly differ. The network, trained on smaller slices, is unsure on
# these: int8 has changed up to a tenth of its label map. What that costs in Dice has rows of its own.
_LEAST_DICE = {"float32": 0.9999, "bfloat16": 0.8, "int8": 0.8}
_PACKAGES = ("openvino", "onnx", "onnxruntime")  # of int8


def float32(place: Workplace) -> Iterator[Row]:
    """Whole processes, file to file, 256 x 256 x 194, widths 32 to 512; the label maps must be the same.

    The second row segments in bfloat16, where this machine has it; the peer stays in float32.
    """
    yield Row("segment-cpu", *_file_to_file(place, place.checkpoint(), "float32"), target=Target(0.33))
    if computes_bfloat16(torch.device("cpu")):
        yield Row("segment-cpu, bfloat16", *_file_to_file(place, place.checkpoint(), "bfloat16"), target=Target(0.25))
    else:
        yield Row("segment-cpu: no bfloat16 here", math.nan, None, "s", 0)


def int8(place: Workplace) -> Iterator[Row]:
    """Whole processes, file to file, on the scan of `segment-cpu`; then the price of int8 in Dice."""
    from multijoint.sharing import quantise_model, write_networks

    # The networks for slices larger than those of the training, which changes Dice but not the time.
    bundle = place.folder / "int8"
    if not bundle.is_dir():
        model = load_model(place.checkpoint())
        files, _ = quantise_model(model, place.manifests(), domain=DOMAIN)
        with tempfile.TemporaryDirectory(dir=place.folder) as scratch:
            write_networks(Path(scratch, "new"), model, files)
            Path(scratch, "new").rename(bundle)
    yield Row("segment-int8", *_file_to_file(place, bundle, "int8"), target=Target(0.2), packages=_PACKAGES)
    yield from int8_accuracy(place)


def int8_accuracy(place: Workplace) -> Iterator[Row]:
    """Fall of each bone's Dice, in points, on held-out phantoms at the network's own slice size."""
    from multijoint.sharing import MOST_FALL, measure_int8, quantise_model

    model, target = load_model(place.trained_model()), Target(100 * MOST_FALL, of="ours")
    for row in measure_int8(model, *quantise_model(model, place.manifests())):
        name = f"segment-int8, fall of Dice, {row.domain} {row.label}"
        yield Row(name, 100 * row.fall, None, "points", row.cases, target, packages=_PACKAGES)


def _file_to_file(place: Workplace, checkpoint: Path, precision: str) -> tuple[float, float, str, int]:
    """Our time and the peer's for the large scan, their unit and the repetitions; the label maps must agree."""
    image, n = place.scan(), 1  # half a minute, of which a disturbance is a small part
    with tempfile.TemporaryDirectory(dir=place.folder) as out:
        command = multijoint("segment", image, "--checkpoint", checkpoint, "--precision", precision, *_OPTIONS, out)
        [own] = time_commands(command, repetitions=n)
        other, theirs = _peer(place)
        check_same(label_map_path(Path(out), case_id(image)), theirs, least_dice=_LEAST_DICE[precision])
    return own, other, "s", n


@cache
def _peer(place: Workplace) -> tuple[float, Path]:
    """The peer's seconds for the large scan in float32, a minute, once a run of the benchmarks; and its label map."""
    theirs = place.folder / "peer.nii.gz"
    command = multijoint(place.checkpoint(), DOMAIN, place.scan(), theirs, module="multijoint.benchmarks.monai_peer")
    [seconds] = time_commands(command, repetitions=1)
    return seconds, theirs


def overhead(place: Workplace) -> Iterator[Row]:
    """File to file in a process that has started, one volume and each of three, against the network alone.

    The scan looks like its domain, as most scans do: eight of its slices are judged, and not computed again. One that
    does not is judged by the other domain, too; it has a row of its own.
    """
    from custom_components.inference.domain_fit import norm_distance
    from custom_components.inference.inferers import SlicewiseInferer
    from custom_components.inference.transforms import ReadVolumed, StackSlicesd
    from custom_components.models.checkpoints import build_network, save_checkpoint
    from custom_components.models.trained_model import QUALITY
    from custom_components.networks.folding import fold_network

    from multijoint.api.segmenting import segment

    image, model, n = place.scan((*SLICE_SIZE, place.choose(48, 24))), load_model(place.checkpoint()), 1
    item = StackSlicesd("image", model=model, domain=DOMAIN)(ReadVolumed("image")({"image": image}))
    network = build_network(model, domain=DOMAIN)
    inferer = SlicewiseInferer(roi_size=SLICE_SIZE, spatial_dim=2, sw_batch_size=16)
    quality = dict(model.training[QUALITY][DOMAIN], farthest=norm_distance(network, item["image"], domain=DOMAIN))
    known = replace(model, training={**model.training, QUALITY: {DOMAIN: quality}})
    folded = fold_network(network)
    with tempfile.TemporaryDirectory(dir=place.folder) as scratch:
        familiar = Path(scratch, "model.pt")
        save_checkpoint(familiar, known)
        copies = [Path(scratch, f"scan{number}.nii.gz") for number in range(3)]
        for copy in copies:
            shutil.copy(image, copy)
        run = partial(segment, output_dir=Path(scratch, "out"), domain=DOMAIN, device="cpu", overwrite=True)
        with torch.no_grad():
            one, three, unlike, alone = interleave(
                lambda: run(copies[:1], model=familiar),
                lambda: run(copies, model=familiar),
                lambda: run(copies[:1], model=place.checkpoint()),
                lambda: inferer(item["image"][None], folded),
                repetitions=n,
                warm_up=0,
            )
        record = json.loads(record_path(label_map_path(Path(scratch, "out"), case_id(copies[0]))).read_text())
        if record["domain_fit"]["fits"]:  # of the last run
            raise RuntimeError("the scan must not look like the domain of the network as trained, got one that does")
    yield Row("segment-overhead, one volume", one, alone, unit="s", n=n, target=Target(1.15))
    yield Row("segment-overhead, each of three", three / 3, alone, unit="s", n=n, target=Target(1.15))
    yield Row("segment-overhead, one volume unlike its domain", unlike, alone, unit="s", n=n)


def many_volumes(place: Workplace) -> Iterator[Row]:
    """Small volumes in one call against as many calls, and against the stages of one call without overlap."""
    image, checkpoint = place.small_scan, place.trained_model()
    with tempfile.TemporaryDirectory(dir=place.folder) as scratch:
        scans = [Path(scratch, f"scan{number:02d}.nii.gz") for number in range(place.choose(8, 4))]
        for copy in scans:
            shutil.copy(image, copy)

        def call(images: Sequence[Path], out: str) -> None:
            run_command(multijoint("segment", *images, "--checkpoint", checkpoint, *_OPTIONS, Path(scratch, out)))

        def one_by_one() -> None:
            for each in scans:
                call([each], "each")

        together, apart = interleave(lambda: call(scans, "one"), one_by_one, repetitions=1, warm_up=0)
        stages = sum(float(row["seconds"]) for row in read_csv(Path(scratch, "one", "segment_report.csv")))
        for copy in scans:
            one, each = (label_map_path(Path(scratch, name), case_id(copy)) for name in ("one", "each"))
            check_same(one, each, least_dice=1.0)
    yield Row(f"segment-many, {len(scans)} volumes", together, apart, unit="s", n=1, target=Target(0.4))
    in_turn = stages + (apart - stages) / len(scans)  # the start and the end of one call
    yield Row("segment-many, stages overlapped against in turn", together, in_turn, unit="s", n=1)


def memory(place: Workplace) -> Iterator[Row]:
    """Peak memory of `multijoint segment`, all its processes together, on a scan of 512 x 512 x 600 voxels."""
    shape = place.choose((512, 512, 600), (256, 256, 100))
    with tempfile.TemporaryDirectory(dir=place.folder) as out:
        command = multijoint("segment", place.scan(shape), "--checkpoint", place.checkpoint(), *_OPTIONS, out)
        _, peak = run_measured(command)
    name = f"memory, {' x '.join(map(str, shape))} int16"
    yield Row(name, peak, None, unit="GiB", n=1, target=Target(2.0, of="ours"))


def start(place: Workplace) -> Iterator[Row]:
    """The first answers of the command, against those of MONAI's for the same bundle.

    The time of `segment` for a small scan runs to the end of the process, beyond the first slice. The peers, which take
    seconds, run once.
    """
    bundle, image, n = find_bundle(), place.small_scan, place.choose(3)
    [ours] = time_commands(multijoint("--help"), repetitions=n, warm_up=1)
    [theirs] = time_commands(multijoint("--help", module="monai.bundle"), repetitions=1)
    yield Row("start, --help", ours, theirs, unit="s", n=n, target=Target(0.06, of="ours"))
    checkpoint = place.trained_model()
    with tempfile.TemporaryDirectory(dir=place.folder) as out:
        command = multijoint("segment", image, "--checkpoint", checkpoint, *_OPTIONS, Path(out, "ours"))
        peer = multijoint(
            *("run", "inference", "--config_file", bundle / "configs" / "inference.yaml", "--bundle_root", bundle),
            *("--images", [str(image)], "--checkpoint", checkpoint, "--domain", DOMAIN, "--device", "cpu"),
            *("--output_dir", Path(out, "theirs"), "--overwrite", True),
            module="monai.bundle",
        )
        [ours] = time_commands(command, repetitions=n, warm_up=place.choose(1, 0))
        [theirs] = time_commands(peer, repetitions=1)
    yield Row("start, segment a small scan", ours, theirs, unit="s", n=n, target=Target(2.0, of="ours"))


def check_same(ours: Path, theirs: Path, *, least_dice: float) -> None:
    """Refuse label maps whose Dice, over all bones, is below a limit.

    Raises:
        RuntimeError: it is, or there is no bone at all.
    """
    first, second = (np.asarray(nib.load(path).dataobj) for path in (ours, theirs))
    bones = int(np.count_nonzero(first)) + int(np.count_nonzero(second))
    dice = 2 * int(np.count_nonzero((first == second) & (first > 0))) / max(bones, 1)
    if dice < least_dice:
        raise RuntimeError(f"label maps must agree to Dice {least_dice}, got {dice:.6f}: {ours.name}, {theirs.name}")
