"""`multijoint segment` with int8 weights against the float32 peer from file to file, and the price in Dice."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from custom_components.io.records import LABEL_MAP_ENDING
from custom_components.models.checkpoints import load_model

from multijoint.benchmarks.fixtures import DOMAIN, Workplace, multijoint
from multijoint.benchmarks.rows import Row, Target
from multijoint.benchmarks.segmenting import check_same, peer_command, time_commands

__all__ = ["int8", "int8_accuracy"]

_LEAST_DICE = 0.95  # between label maps of two precisions; below it, the networks clearly differ
_PACKAGES = ("openvino", "onnx", "onnxruntime")


def int8(place: Workplace) -> Iterator[Row]:
    """Whole processes, file to file, on the scan of `segment-cpu`; then the price of int8 in Dice."""
    image, n = place.scan(), place.choose(2)
    with tempfile.TemporaryDirectory(dir=place.folder) as out:
        ours, theirs = Path(out, "ours"), Path(out, "theirs.nii.gz")
        options = ("--checkpoint", _bundle(place), "--precision", "int8", "--domain", DOMAIN, "--device", "cpu")
        commands = (
            multijoint("segment", image, *options, "--output", ours, "--overwrite"),
            peer_command(place, image, theirs),
        )
        seconds, peer = time_commands(*commands, repetitions=n)
        check_same(next(ours.glob(f"*{LABEL_MAP_ENDING}")), theirs, least_dice=_LEAST_DICE)
    yield Row("segment-int8", seconds, peer, unit="s", n=n, target=Target(0.2), packages=_PACKAGES)
    yield from int8_accuracy(place)


def int8_accuracy(place: Workplace) -> Iterator[Row]:
    """Fall of each bone's Dice, in points, on held-out phantoms at the network's own slice size."""
    from multijoint.sharing import MOST_FALL, measure_int8, quantise_model

    model, target = load_model(place.trained_model()), Target(100 * MOST_FALL, of="ours")
    for row in measure_int8(model, *quantise_model(model, place.manifests())):
        name = f"segment-int8, fall of Dice, {row.domain} {row.label}"
        yield Row(name, 100 * row.fall, None, "points", row.cases, target, packages=_PACKAGES)


def _bundle(place: Workplace) -> Path:
    """The networks for slices larger than those of the training, which changes Dice but not the time."""
    from multijoint.sharing import quantise_model, write_networks

    bundle = place.folder / "int8"
    if not bundle.is_dir():
        model = load_model(place.checkpoint())
        files, _ = quantise_model(model, place.manifests())
        with tempfile.TemporaryDirectory(dir=place.folder) as scratch:
            write_networks(Path(scratch, "new"), model, files)
            Path(scratch, "new").rename(bundle)
    return bundle
