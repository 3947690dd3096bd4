"""Data, models and processes of the benchmarks: phantoms, the full network trained on them, large scans, memory."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from scipy import ndimage

from multijoint.benchmarks.rows import interleave
from multijoint.running import find_bundle

DOMAIN = "ankle"
"""Domain of the scans."""

DOMAINS = (DOMAIN, "shoulder")
"""Domains of the training."""

SLICE_SIZE = (256, 256)
"""Rows and columns of the slices that the network gets."""

_SIZE = 96
_SPACING_MM = (0.6, 0.6, 0.6)
_INTERVAL_S, _RESTING = 0.02, 10  # between samples of the memory


def multijoint(*arguments: object, module: str = "multijoint.cli") -> list[str]:
    """The command line of a module of this package, or of another one, for a separate process."""
    return [sys.executable, "-m", module, *map(str, arguments)]


def run_command(command: Sequence[str], *, env: dict[str, str] | None = None) -> str:
    """Run a command to its end and return its standard output; raises RuntimeError if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[1:5])} ended with code {done.returncode}: {done.stderr[-1000:]}")
    return done.stdout


def time_commands(*commands: Sequence[str], repetitions: int, warm_up: int = 0) -> list[float]:
    """Median seconds of each command, in turns; see `rows.interleave`."""
    return interleave(*(partial(run_command, each) for each in commands), repetitions=repetitions, warm_up=warm_up)


def run_measured(command: Sequence[str], *, env: dict[str, str] | None = None) -> tuple[float, float]:
    """Run a command; returns seconds, and the largest sum over its processes alive at one time, in GiB.

    Memory that processes share counts once (Linux's proportional set size), sampled every 20 ms, or less often if a
    sample takes more than 2 ms. Memory shared with other commands counts in part.

    Raises:
        RuntimeError: the command failed; with its last lines.
    """
    start, peak = time.perf_counter(), 0
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=env)
        while process.poll() is None:
            asked = time.perf_counter()
            peak = max(peak, sum(map(_resident_bytes, _tree(process.pid))))
            # Counting the pages of a large process stops it for a while, so the pause is ten times as long.
            time.sleep(max(_INTERVAL_S, _RESTING * (time.perf_counter() - asked)))
        seconds = time.perf_counter() - start
        output.seek(0)
        printed = output.read().decode(errors="replace").strip()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command[:4])} ended with code {process.returncode}: {printed[-500:]}")
    return seconds, peak / 2**30


def _tree(pid: int) -> list[int]:
    found = [pid]
    for process in found:
        for path in Path(f"/proc/{process}/task").glob("*/children"):
            try:
                found += map(int, path.read_text().split())
            except OSError:
                continue
    return found


def _resident_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:  # it has ended
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def magnify(voxels: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Interpolate linearly to a shape."""
    factors = [wanted / given for wanted, given in zip(shape, voxels.shape, strict=True)]
    return ndimage.zoom(voxels, factors, order=1, grid_mode=True, mode="nearest")


@dataclass(frozen=True)
class Workplace:
    """A folder in which benchmarks make their data and models, once; `quick` measures once and on small inputs."""

    folder: Path
    quick: bool = False

    def choose(self, full: Any, quick: Any = 1) -> Any:
        """The second value in a quick run, else the first; by default for numbers of repetitions."""
        return quick if self.quick else full

    @property
    def small_scan(self) -> Path:
        """A phantom of 96 voxels a side."""
        self.manifests()
        return self.folder / "phantoms" / DOMAIN / "images" / f"{DOMAIN}_000.nii.gz"

    def manifests(self) -> list[Path]:
        """Manifests of two small phantom data sets, eight subjects each."""
        from multijoint.phantoms import write_phantoms

        root = self.folder / "phantoms"
        found = [root / domain / "manifest.yaml" for domain in DOMAINS]
        if not all(path.is_file() for path in found):
            write_phantoms(root, domains=list(DOMAINS), num_cases=8, seed=0, size=_SIZE)
        return found

    def trained_model(self) -> Path:
        """A run's `model.pt`: the full network, widths 32 to 512 (a quick run: 8 to 128), trained on the phantoms."""
        path = self.folder / "model" / "model.pt"
        if path.is_file():
            return path
        bundle = find_bundle()
        configs = [str(bundle / "configs" / name) for name in ("train.yaml", "paper.yaml")]
        widths = self.choose("[32,64,128,256,512]", "[8,16,32,64,128]")
        run_command(
            multijoint(
                *("run", "training", "--config_file", configs, "--bundle_root", bundle, "--output_dir", path.parent),
                *("--manifests", [str(each) for each in self.manifests()], "--num_folds", 4, "--val_interval", 5),
                *("--train_subjects", dict.fromkeys(DOMAINS, 2), "--precision", "auto"),
                *("--widths", widths, "--max_epochs", self.choose(12, 10), "--image_size", "[64,64]"),
                *("--batch_size", 8, "--learning_rate", 1e-3),
                *("--learning_rate_decay", 0.9, "--head_learning_rate_factor", 10),
                *("--flip_axes", "[]", "--max_translation", 0.05, "--max_rotation", 10),
                module="monai.bundle",
            )
        )
        return path

    def checkpoint(self) -> Path:
        """The weights of `trained_model` for slices of `SLICE_SIZE`."""
        from custom_components.data.preprocessing import Preprocessing
        from custom_components.models.checkpoints import load_model, save_checkpoint

        path = self.folder / "model" / f"model_{SLICE_SIZE[0]}x{SLICE_SIZE[1]}.pt"
        if not path.is_file():
            save_checkpoint(path, replace(load_model(self.trained_model()), preprocessing=Preprocessing(SLICE_SIZE)))
        return path

    def scan(self, shape: Sequence[int] | None = None) -> Path:
        """A phantom that the network has not seen, magnified to a shape (X, Y, Z), as int16 NIfTI.

        The shape is by default (256, 256, 194), in a quick run (256, 256, 24).
        """
        shape = shape or (*SLICE_SIZE, self.choose(194, 24))
        path = self.folder / "scans" / f"scan_{'x'.join(map(str, shape))}.nii.gz"
        if not path.is_file():
            large = magnify(np.asarray(nib.load(self.small_scan).dataobj, np.float32), shape)
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f"tmp_{path.name}")
            affine = np.diag([*_SPACING_MM, 1.0])
            nib.save(nib.Nifti1Image(np.clip(large, -32768, 32767).astype(np.int16), affine), temporary)
            os.replace(temporary, path)
        return path
