"""Commands of every day: a training on a busy machine, `check` and `report` of many cases, tables of many jobs."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import yaml
from custom_components.system.files import read_csv
from custom_components.system.waiting import ASLEEP, VARIABLE, is_idle

from multijoint.benchmarks.finished_experiment import NUM_SLICES, make_experiment
from multijoint.benchmarks.fixtures import DOMAIN, DOMAINS, Workplace, magnify, multijoint, run_command, time_commands
from multijoint.benchmarks.rows import Row, Target, interleave
from multijoint.running import find_bundle

_SHAPE, _SPACING_MM = (224, 224, 77), (0.7, 0.7, 2.0)
_EPOCHS = 3  # of 24 steps; the whole benchmark takes a minute
_NOISE = 0.02  # of the largest intensity, so that no two volumes are copies
_ONE_PROCESSOR = """
import os, sys
os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
os.execv(sys.argv[1], sys.argv[1:])
"""


def busy(place: Workplace) -> Iterator[Row]:
    """An epoch of the demo's training while another process keeps one processor busy, against one undisturbed.

    Threads wait as `choose_waiting` says at the start of each training; the other rows have them sleep, or wait in a
    loop, whatever the machine does.
    """
    n, name = place.choose(_EPOCHS), "busy, epoch with one processor taken"
    undisturbed = _epoch(place, None, n)
    yield Row(name, _epoch(place, None, n, disturbed=True), undisturbed, "s", n, Target(2.2))
    if not place.quick:
        loop = _epoch(place, "ACTIVE", n, disturbed=True)
        yield Row(f"{name}, threads that wait in a loop", loop, undisturbed, "s", n)
    waiting = _epoch(place, "ACTIVE", n)
    yield Row("busy, epoch undisturbed, peer's threads wait in a loop", undisturbed, waiting, "s", n, Target(1.05))
    if not place.quick:
        asleep = _epoch(place, "PASSIVE", n)
        yield Row("busy, epoch undisturbed, peer's threads sleep", undisturbed, asleep, "s", n)


def _epoch(place: Workplace, policy: str | None, number: int, *, disturbed: bool = False) -> float:
    """Median seconds of some epochs after the first, of the demo's training on few slices, in a process of its own.

    A `policy` of None is the choice of `multijoint train`.
    """
    bundle, processors = find_bundle(), sorted(os.sched_getaffinity(0))
    configs = [str(bundle / "configs" / name) for name in ("train.yaml", "demo.yaml")]
    env = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")}
    spin = f"import os\nos.sched_setaffinity(0, [{processors[-1]}])\nwhile True: pass"
    with tempfile.TemporaryDirectory(dir=place.folder) as out:
        other = subprocess.Popen([sys.executable, "-c", spin]) if disturbed else None
        time.sleep(1)  # until it spins, or the last process has gone
        if policy is None and not is_idle():
            policy = ASLEEP
        try:
            run_command(
                multijoint(
                    *("run", "training", "--config_file", configs, "--bundle_root", bundle, "--output_dir", out),
                    *("--manifests", [str(each) for each in place.manifests()], "--num_folds", 4, "--device", "cpu"),
                    *("--max_epochs", 1 + number, "--val_interval", 2 + number),
                    *("--train_subjects", dict.fromkeys(DOMAINS, 1), "--image_size", [64, 64]),
                    module="monai.bundle",
                ),
                env=env if policy is None else env | {VARIABLE: policy},
            )
        finally:
            if other is not None:
                other.kill()
                other.wait()
        return statistics.median(float(row["seconds"]) for row in read_csv(Path(out, "log.csv"))[1:])


def check(place: Workplace) -> Iterator[Row]:
    """`check` of many volumes of 224 x 224 x 77 with labels, against the same on one processor."""
    number = place.choose(24, 4)
    command = multijoint("check", _data_set(place, number))
    ours, alone = _against_one_processor(command)
    yield Row(f"check, {number} volumes", ours, alone, "s", 1, Target(7.2, of="ours"))  # 200 in a minute


def report(place: Workplace) -> Iterator[Row]:
    """`report` of many segmented scans, with pictures, against the same on one processor."""
    number, image = place.choose(200, 12), place.small_scan
    with tempfile.TemporaryDirectory(dir=place.folder) as scratch:
        first, out, scans = (Path(scratch, name) for name in ("first", "out", "scans"))
        options = ("--checkpoint", place.trained_model(), "--domain", DOMAIN, "--device", "cpu", "--out", first)
        run_command(multijoint("segment", image, *options))
        out.mkdir()
        scans.mkdir()
        own = image.name.partition(".")[0]
        for index in range(number):
            name = f"case{index:03d}"
            shutil.copy(image, scans / f"{name}.nii.gz")
            shutil.copy(first / f"{own}_seg.nii.gz", out / f"{name}_seg.nii.gz")
            (out / f"{name}_seg.json").write_text((first / f"{own}_seg.json").read_text().replace(own, name))
        ours, alone = _against_one_processor(multijoint("report", out, "--scans", scans))
    yield Row(f"report, {number} cases", ours, alone, "s", 1, Target(6.0, of="ours"))  # 500 in 15 s


def tables(place: Workplace) -> Iterator[Row]:
    """A finished experiment gathered, its tables written and its figures drawn, by three processes in turn."""
    with tempfile.TemporaryDirectory(dir=place.folder) as scratch:
        folder = Path(scratch).resolve()
        number = make_experiment(folder, folds=place.choose(17, 2))
        gathering = "import pathlib, sys; from multijoint.experiments import gather; gather(pathlib.Path(sys.argv[1]))"
        commands = {
            "gather": [sys.executable, "-c", gathering, str(folder)],
            "tables": multijoint("tables", folder),
            f"figures, {NUM_SLICES} slices in figure 4": multijoint("figures", folder),
        }
        seconds = time_commands(*commands.values(), repetitions=1)
    yield Row(f"tables, {number} jobs: all", sum(seconds), None, "s", 1, Target(10.0, of="ours"))
    for name, each in zip(commands, seconds, strict=True):
        yield Row(f"tables, {number} jobs: {name}", each, None, "s", 1)


def _against_one_processor(command: Sequence[str]) -> list[float]:
    alone = [sys.executable, "-c", _ONE_PROCESSOR, *command]
    return interleave(partial(run_command, command), partial(run_command, alone), repetitions=1, warm_up=0)


def _data_set(place: Workplace, number: int) -> Path:
    """Manifest of magnified phantoms, each with noise of its own."""
    folder = place.folder / f"check_{number}"
    if folder.is_dir():
        return folder / "manifest.yaml"
    source = place.manifests()[0]
    manifest = yaml.safe_load(source.read_text())
    affine, cases = np.diag([*_SPACING_MM, 1.0]), []
    with tempfile.TemporaryDirectory(dir=place.folder) as scratch:
        new = Path(scratch, "new")
        new.mkdir()
        for index in range(number):
            case = manifest["cases"][index % len(manifest["cases"])]
            image, label = (np.asarray(nib.load(source.parent / case[key]).dataobj) for key in ("image", "label"))
            large = magnify(image.astype(np.float32), _SHAPE)
            large += np.random.default_rng(index).normal(0, _NOISE * large.max(), _SHAPE)
            nearest = np.ix_(*(np.arange(size) * own // size for size, own in zip(_SHAPE, label.shape, strict=True)))
            name = f"case{index:03d}"
            voxels = {"image": np.clip(large, 0, 32767).astype(np.int16), "label": label[nearest].astype(np.uint8)}
            for key, array in voxels.items():
                nib.save(nib.Nifti1Image(array, affine), new / f"{name}_{key}.nii.gz")
            # `check` notices copies of one phantom, which one subject may have.
            cases.append({"name": name, "subject": case["subject"], **{key: f"{name}_{key}.nii.gz" for key in voxels}})
        (new / "manifest.yaml").write_text(yaml.safe_dump(manifest | {"cases": cases, "root": "."}))
        new.rename(folder)
    return folder / "manifest.yaml"
