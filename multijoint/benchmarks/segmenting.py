"""`multijoint segment` from file to file against the same network in plain PyTorch and MONAI."""

from __future__ import annotations

import csv
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
from custom_components.io.records import LABEL_MAP_ENDING

from multijoint.benchmarks.fixtures import DOMAIN, SLICE_SIZE, Workplace, multijoint, run_command
from multijoint.benchmarks.rows import Row, Target, interleave

__all__ = ["check_same", "float32", "many_volumes", "overhead", "peer_command", "segment_command", "time_commands"]

_OPTIONS = ("--domain", DOMAIN, "--device", "cpu", "--overwrite", "--output")


def segment_command(place: Workplace, scans: Sequence[Path], out: Path) -> list[str]:
    """The command line of `multijoint segment` with the full network."""
    return multijoint("segment", *scans, "--checkpoint", place.checkpoint(), *_OPTIONS, out)


def peer_command(place: Workplace, image: Path, out: Path) -> list[str]:
    """The command line of `monai_peer`."""
    return multijoint(place.checkpoint(), DOMAIN, image, out, module="multijoint.benchmarks.monai_peer")


def float32(place: Workplace) -> Iterator[Row]:
    """Whole processes, file to file, 256 x 256 x 194, widths 32 to 512; the label maps must be the same."""
    image, n = place.scan(), place.choose(2)
    with tempfile.TemporaryDirectory(dir=place.folder) as out:
        ours, theirs = Path(out, "ours"), Path(out, "theirs.nii.gz")
        commands = segment_command(place, [image], ours), peer_command(place, image, theirs)
        own, peer = time_commands(*commands, repetitions=n)
        check_same(next(ours.glob(f"*{LABEL_MAP_ENDING}")), theirs, least_dice=0.9999)
    yield Row("segment-cpu", own, peer, unit="s", n=n, target=Target(0.5))


def overhead(place: Workplace) -> Iterator[Row]:
    """File to file in a process that has started, one volume and each of three, against the network alone."""
    import torch
    from custom_components.inference.inferers import SlicewiseInferer
    from custom_components.inference.transforms import ReadVolumed, StackSlicesd
    from custom_components.models.checkpoints import build_network, load_model
    from custom_components.networks.folding import fold_network

    from multijoint.api.segmenting import segment

    image, model, n = place.scan(), load_model(place.checkpoint()), place.choose(2)
    item = StackSlicesd("image", model=model, domain=DOMAIN)(ReadVolumed("image")({"image": image}))
    network = fold_network(build_network(model, domain=DOMAIN))
    inferer = SlicewiseInferer(roi_size=SLICE_SIZE, spatial_dim=2, sw_batch_size=16)
    with tempfile.TemporaryDirectory(dir=place.folder) as scratch:
        copies = [Path(scratch, f"scan{number}.nii.gz") for number in range(3)]
        for copy in copies:
            shutil.copy(image, copy)
        run = partial(
            segment, model=place.checkpoint(), output_dir=Path(scratch, "out"), domain=DOMAIN, device="cpu",
            overwrite=True,
        )  # fmt: skip
        with torch.no_grad():
            one, three, alone = interleave(
                lambda: run(copies[:1]),
                lambda: run(copies),
                lambda: inferer(item["image"][None], network),
                repetitions=n,
                warm_up=0,
            )
    yield Row("segment-overhead, one volume", one, alone, unit="s", n=n, target=Target(1.15))
    yield Row("segment-overhead, each of three", three / 3, alone, unit="s", n=n, target=Target(1.15))


def many_volumes(place: Workplace) -> Iterator[Row]:
    """Fifty small volumes in one call against fifty calls, and against the stages of one call without overlap."""
    image, checkpoint = place.small_scan, place.trained_model()
    with tempfile.TemporaryDirectory(dir=place.folder) as scratch:
        scans = [Path(scratch, f"scan{number:02d}.nii.gz") for number in range(place.choose(50, 4))]
        for copy in scans:
            shutil.copy(image, copy)

        def call(images: Sequence[Path], out: str) -> None:
            run_command(multijoint("segment", *images, "--checkpoint", checkpoint, *_OPTIONS, Path(scratch, out)))

        def one_by_one() -> None:
            for each in scans:
                call([each], "each")

        together, apart = interleave(lambda: call(scans, "one"), one_by_one, repetitions=1, warm_up=0)
        with Path(scratch, "one", "segment_report.csv").open(newline="") as file:
            stages = sum(float(row["seconds"]) for row in csv.DictReader(file))
        for copy in scans:
            name = f"{copy.name.partition('.')[0]}{LABEL_MAP_ENDING}"
            check_same(Path(scratch, "one", name), Path(scratch, "each", name), least_dice=1.0)
    yield Row(f"segment-many, {len(scans)} volumes", together, apart, unit="s", n=1, target=Target(0.4))
    in_turn = stages + (apart - stages) / len(scans)  # the start and the end of one call
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
