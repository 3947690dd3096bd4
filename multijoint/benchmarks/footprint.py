"""What a clinic's computer must give: memory for a large scan, and time until a command has started."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from multijoint.benchmarks.fixtures import DOMAIN, manifests, multijoint, scan, trained_model
from multijoint.benchmarks.peak_memory import run_measured
from multijoint.benchmarks.rows import Row, Target
from multijoint.benchmarks.segmenting import segment_command, time_commands
from multijoint.running import find_bundle

__all__ = ["memory", "start"]


def memory(folder: Path) -> Iterator[Row]:
    """Peak of `multijoint segment`, all its processes together, on a scan of 512 x 512 x 600 voxels."""
    image = scan(folder, shape=(512, 512, 600), name="large")
    with tempfile.TemporaryDirectory(dir=folder) as out:
        _, peak = run_measured(segment_command(folder, [image], Path(out)))
    yield Row("memory, 512 x 512 x 600 int16", peak, None, unit="GiB", n=1, target=Target(2.0, of="ours"))


def start(folder: Path) -> Iterator[Row]:
    """The first answers of the command, against those of MONAI's for the same bundle.

    What `segment` takes for a small scan, to the very end, is more than it takes until the first slice.
    """
    bundle, image = find_bundle(), folder / "phantoms" / DOMAIN / "images" / f"{DOMAIN}_000.nii.gz"
    manifests(folder)
    commands = multijoint("--help"), multijoint("--help", module="monai.bundle")
    ours, theirs = time_commands(*commands, repetitions=5, warm_up=1)
    yield Row("start, --help", ours, theirs, unit="s", n=5, target=Target(0.4, of="ours"))
    with tempfile.TemporaryDirectory(dir=folder) as out:
        checkpoint = trained_model(folder)
        command = multijoint(
            *("segment", image, "--checkpoint", checkpoint, "--domain", DOMAIN, "--device", "cpu", "--overwrite"),
            *("--output", Path(out, "ours")),
        )
        peer = multijoint(
            *("run", "inference", "--config_file", bundle / "configs" / "inference.yaml", "--bundle_root", bundle),
            *("--images", [str(image)], "--checkpoint", checkpoint, "--domain", DOMAIN, "--device", "cpu"),
            *("--output_dir", Path(out, "theirs"), "--overwrite", True),
            module="monai.bundle",
        )
        ours, theirs = time_commands(command, peer, repetitions=3, warm_up=1)
    yield Row("start, segment a small scan", ours, theirs, unit="s", n=3, target=Target(4.0, of="ours"))
