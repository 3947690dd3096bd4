"""What the benchmarks segment and with what: phantoms, the full network trained on them for a while, a large scan."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

from multijoint.running import find_bundle

__all__ = ["DOMAIN", "checkpoint_at", "manifests", "multijoint", "scan", "trained_model"]

DOMAIN = "ankle"
"""Of `scan`."""

_DOMAINS = (DOMAIN, "shoulder")
_SIZE = 96
_SPACING_MM = (0.6, 0.6, 0.6)


def multijoint(*arguments: object, module: str = "multijoint.cli") -> list[str]:
    """The command line of this package in a process of its own."""
    return [sys.executable, "-m", module, *map(str, arguments)]


def manifests(folder: Path) -> list[Path]:
    """Manifests of two small phantom data sets, eight subjects each."""
    from multijoint.phantoms import write_phantoms

    found = [folder / "phantoms" / domain / "manifest.yaml" for domain in _DOMAINS]
    if not all(path.is_file() for path in found):
        write_phantoms(folder / "phantoms", domains=list(_DOMAINS), num_cases=8, seed=0, size=_SIZE)
    return found


def trained_model(folder: Path, *, epochs: int = 12) -> Path:
    """A run's `model.pt`: the full network, widths 32 to 512, trained on the phantoms for a few minutes."""
    path = folder / "model" / "model.pt"
    if path.is_file():
        return path
    bundle = find_bundle()
    configs = [str(bundle / "configs" / name) for name in ("train.yaml", "demo.yaml")]
    _run(
        multijoint(
            *("run", "training", "--config_file", configs, "--bundle_root", bundle, "--output_dir", path.parent),
            *("--manifests", [str(each) for each in manifests(folder)], "--num_folds", 4, "--val_interval", 5),
            *("--widths", "[32,64,128,256,512]", "--max_epochs", epochs),
            module="monai.bundle",
        )
    )
    return path


def checkpoint_at(folder: Path, image_size: Sequence[int]) -> Path:
    """The weights of `trained_model` for slices of another size."""
    from custom_components.data.preprocessing import Preprocessing
    from custom_components.models.checkpoints import load_model, save_checkpoint

    path = folder / "model" / f"model_{image_size[0]}x{image_size[1]}.pt"
    if not path.is_file():
        model = load_model(trained_model(folder))
        save_checkpoint(path, replace(model, preprocessing=Preprocessing((image_size[0], image_size[1]))))
    return path


def scan(folder: Path, *, shape: Sequence[int] = (256, 256, 194), name: str = "scan") -> Path:
    """A phantom that the network has not seen, magnified to a shape (X, Y, Z), as int16 NIfTI."""
    path = folder / "scans" / f"{name}_{'x'.join(map(str, shape))}.nii.gz"
    if not path.is_file():
        manifests(folder)
        image = nib.load(folder / "phantoms" / DOMAIN / "images" / f"{DOMAIN}_000.nii.gz")
        voxels = np.asarray(image.dataobj, np.float32)
        factors = [wanted / given for wanted, given in zip(shape, voxels.shape, strict=True)]
        large = ndimage.zoom(voxels, factors, order=1, grid_mode=True, mode="nearest")
        path.parent.mkdir(parents=True, exist_ok=True)
        affine = np.diag([*_SPACING_MM, 1.0])
        temporary = path.with_name(f"tmp_{path.name}")
        nib.save(nib.Nifti1Image(np.clip(large, -32768, 32767).astype(np.int16), affine), temporary)
        os.replace(temporary, path)
    return path


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"training for the benchmarks ended with code {done.returncode}: {done.stderr[-500:]}")
