"""`multijoint segment` from file to file, beside the same network in ordinary PyTorch and MONAI."""

from __future__ import annotations

import csv
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from multijoint.benchmarks.fixtures import DOMAIN, checkpoint_at, manifests, multijoint, scan
from multijoint.benchmarks.rows import Row, Target, interleave

__all__ = [
    "check_same",
    "float32",
    "many_volumes",
    "ordinary_command",
    "overhead",
    "run_command",
    "segment_command",
    "time_commands",
]

_SIZE = (256, 256)


def segment_command(folder: Path, scans: Sequence[Path], out: Path, *more: object) -> list[str]:
    """The command line of `multijoint segment` with the full network."""
    checkpoint = checkpoint_at(folder, _SIZE)
    options = ("--checkpoint", checkpoint, "--domain", DOMAIN, "--device", "cpu", "--output", out, "--overwrite")
    return multijoint("segment", *scans, *options, *more)


def ordinary_command(folder: Path, image: Path, out: Path) -> list[str]:
    """The command line of the peer, `ordinary.py`."""
    module = "multijoint.benchmarks.monai_peer"
    return multijoint(checkpoint_at(folder, _SIZE), DOMAIN, image, out, module=module)


def float32(folder: Path) -> Iterator[Row]:
    """Whole processes, file to file, 256 x 256 x 194, widths 32 to 512; the label maps must be the same."""
    image = scan(folder)
    with tempfile.TemporaryDirectory(dir=folder) as out:
        ours, theirs = Path(out, "ours"), Path(out, "theirs.nii.gz")
        commands = segment_command(folder, [image], ours), ordinary_command(folder, image, theirs)
        own, peer = time_commands(*commands, repetitions=2)
        found = next(ours.glob("*_seg.nii.gz"))
        check_same(found, theirs, least_dice=0.9999)
    yield Row("segment-cpu", own, peer, unit="s", n=2, target=Target(0.5))


def overhead(folder: Path) -> Iterator[Row]:
    """File to file in a process that has started, of one volume and of each of three, against the network alone."""
    import torch
    from custom_components.inference.inferers import SlicewiseInferer
    from custom_components.inference.transforms import ReadVolumed, StackSlicesd
    from custom_components.models.checkpoints import build_network, load_model
    from custom_components.networks.folding import fold_network

    image, model = scan(folder), load_model(checkpoint_at(folder, _SIZE))
    item = StackSlicesd("image", model=model, domain=DOMAIN)(ReadVolumed("image")({"image": image}))
    network = fold_network(build_network(model, domain=DOMAIN))
    inferer = SlicewiseInferer(roi_size=_SIZE, spatial_dim=2, sw_batch_size=16)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        copies = [Path(scratch, f"scan{number}.nii.gz") for number in range(3)]
        for copy in copies:
            shutil.copy(image, copy)

        def segment(scans: Sequence[Path]) -> None:
            from multijoint.api.segmenting import segment as run

            how: dict[str, Any] = {"domain": DOMAIN, "device": "cpu", "overwrite": True}
            run(scans, checkpoint=checkpoint_at(folder, _SIZE), output_dir=Path(scratch, "out"), **how)

        with torch.no_grad():
            one, three, alone = interleave(
                lambda: segment(copies[:1]),
                lambda: segment(copies),
                lambda: inferer(item["image"][None], network),
                repetitions=2,
                warm_up=0,
            )
    yield Row("segment-overhead, one volume", one, alone, unit="s", n=2, target=Target(1.15))
    yield Row("segment-overhead, each of three", three / 3, alone, unit="s", n=2, target=Target(1.15))


def many_volumes(folder: Path) -> Iterator[Row]:
    """Fifty small volumes in one call against fifty calls; and what the stages of one call would take in turn."""
    image = folder / "phantoms" / DOMAIN / "images" / f"{DOMAIN}_000.nii.gz"
    manifests(folder)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        scans = [Path(scratch, f"scan{number:02d}.nii.gz") for number in range(50)]
        for copy in scans:
            shutil.copy(image, copy)
        checkpoint = folder / "model" / "model.pt"
        options = ("--checkpoint", checkpoint, "--domain", DOMAIN, "--device", "cpu", "--overwrite", "--output")
        checkpoint_at(folder, _SIZE)

        def in_one() -> None:
            run_command(multijoint("segment", *scans, *options, Path(scratch, "one")))

        def one_by_one() -> None:
            for each in scans:
                run_command(multijoint("segment", each, *options, Path(scratch, "each")))

        together, apart = interleave(in_one, one_by_one, repetitions=1, warm_up=0)
        with Path(scratch, "one", "segment_report.csv").open(newline="") as file:
            stages = sum(float(row["seconds"]) for row in csv.DictReader(file))
        for copy in scans:
            name = f"{copy.name.partition('.')[0]}_seg.nii.gz"
            check_same(Path(scratch, "one", name), Path(scratch, "each", name), least_dice=1.0)
    yield Row("segment-many, 50 volumes", together, apart, unit="s", n=1, target=Target(0.4))
    in_turn = stages + (apart - stages) / len(scans)  # a call beginning and ending once
    yield Row("segment-many, stages overlapped against in turn", together, in_turn, unit="s", n=1)


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


def time_commands(*commands: Sequence[str], repetitions: int, warm_up: int = 0) -> list[float]:
    """Median seconds of each command, in turns; see `rows.interleave`."""
    return interleave(*(partial(run_command, each) for each in commands), repetitions=repetitions, warm_up=warm_up)


def run_command(command: Sequence[str]) -> None:
    """Run a command to its end; raises RuntimeError if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[1:5])} ended with code {done.returncode}: {done.stderr[-1000:]}")
