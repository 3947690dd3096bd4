"""Int8 beside float32: `multijoint segment` from file to file against ordinary PyTorch and MONAI, and what it costs."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from custom_components.models.checkpoints import load_model

from multijoint.benchmarks.fixtures import DOMAIN, checkpoint_at, manifests, multijoint, scan, trained_model
from multijoint.benchmarks.rows import Row, Target
from multijoint.benchmarks.segmenting import check_same, ordinary_command, time_commands

__all__ = ["int8", "int8_accuracy"]

_SIZE = (256, 256)
_LEAST_DICE = 0.95  # of label maps of two precisions: only what is clearly another network's is no result
_PACKAGES = ("openvino", "onnx", "onnxruntime")


def int8(folder: Path) -> Iterator[Row]:
    """Whole processes, file to file, 256 x 256 x 194, widths 32 to 512; then what int8 costs in Dice."""
    image = scan(folder)
    with tempfile.TemporaryDirectory(dir=folder) as out:
        ours, theirs = Path(out, "ours"), Path(out, "theirs.nii.gz")
        options = ("--checkpoint", _bundle(folder), "--precision", "int8", "--domain", DOMAIN, "--device", "cpu")
        commands = (
            multijoint("segment", image, *options, "--output", ours, "--overwrite"),
            ordinary_command(folder, image, theirs),
        )
        seconds, ordinary = time_commands(*commands, repetitions=2)
        check_same(next(ours.glob("*_seg.nii.gz")), theirs, least_dice=_LEAST_DICE)
    yield Row("segment-int8", seconds, ordinary, unit="s", n=2, target=Target(0.2), packages=_PACKAGES)
    yield from int8_accuracy(folder)


def int8_accuracy(folder: Path) -> Iterator[Row]:
    """By how many points the Dice of each bone falls on phantoms that the network has not seen, at its own size."""
    from multijoint.sharing import MOST_FALL, measure_int8, quantise_model

    model = load_model(trained_model(folder))
    for row in measure_int8(model, *quantise_model(model, manifests(folder))):
        yield Row(
            f"segment-int8, fall of Dice, {row.domain} {row.label}",
            100 * row.fall,
            None,
            unit="points",
            n=row.cases,
            target=Target(100 * MOST_FALL, of="ours"),
            packages=_PACKAGES,
        )


def _bundle(folder: Path) -> Path:
    """What segments of a bundle, for slices of another size than trained on: that changes Dice, but no time."""
    from multijoint.sharing import quantise_model, write_networks

    bundle = folder / "int8"
    if not bundle.is_dir():
        model = load_model(checkpoint_at(folder, _SIZE))
        files, _ = quantise_model(model, manifests(folder))
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            write_networks(Path(scratch, "new"), model, files)
            Path(scratch, "new").rename(bundle)
    return bundle
