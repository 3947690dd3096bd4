"""Memory for a large scan, and time until a command answers: the demands on a clinic's computer."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from multijoint.benchmarks.fixtures import DOMAIN, Workplace, multijoint
from multijoint.benchmarks.peak_memory import run_measured
from multijoint.benchmarks.rows import Row, Target
from multijoint.benchmarks.segmenting import segment_command, time_commands
from multijoint.running import find_bundle

__all__ = ["memory", "start"]


def memory(place: Workplace) -> Iterator[Row]:
    """Peak memory of `multijoint segment`, all its processes together, on a scan of 512 x 512 x 600 voxels."""
    shape = place.choose((512, 512, 600), (256, 256, 100))
    with tempfile.TemporaryDirectory(dir=place.folder) as out:
        _, peak = run_measured(segment_command(place, [place.scan(shape)], Path(out)))
    name = f"memory, {' x '.join(map(str, shape))} int16"
    yield Row(name, peak, None, unit="GiB", n=1, target=Target(2.0, of="ours"))


def start(place: Workplace) -> Iterator[Row]:
    """The first answers of the command, against those of MONAI's for the same bundle.

    The time of `segment` for a small scan runs to the end of the process, beyond the first slice.
    """
    bundle, image, n = find_bundle(), place.small_scan, place.choose(5)
    commands = multijoint("--help"), multijoint("--help", module="monai.bundle")
    ours, theirs = time_commands(*commands, repetitions=n, warm_up=1)
    yield Row("start, --help", ours, theirs, unit="s", n=n, target=Target(0.4, of="ours"))
    n, checkpoint = place.choose(3), place.trained_model()
    with tempfile.TemporaryDirectory(dir=place.folder) as out:
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
        ours, theirs = time_commands(command, peer, repetitions=n, warm_up=place.choose(1, 0))
    yield Row("start, segment a small scan", ours, theirs, unit="s", n=n, target=Target(4.0, of="ours"))
