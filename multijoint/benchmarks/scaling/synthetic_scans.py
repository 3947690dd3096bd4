"""Scans of any size with up to 30 bones, and an untrained network that segments them."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from custom_components.data.preprocessing import Preprocessing
from custom_components.domains import Domain
from custom_components.models.checkpoints import save_checkpoint
from custom_components.models.trained_model import TrainedModel
from custom_components.networks.unet import MultiDomainUNet

_CELLS = (6, 5)  # grid of the bones, fixed so that their size does not depend on their number
WIDTHS = (8, 16)
"""Widths of the network."""

_STEP = 100  # of intensity, from one bone to the next
_NOISE = 20


def make_labels(shape: tuple[int, int, int], num_bones: int) -> np.ndarray:
    """Class indices of a volume (X, Y, Z), at least (18, 15, 4), with blocks from the first slice to the last but two.

    Raises:
        ValueError: more than 30 bones.
    """
    if num_bones > _CELLS[0] * _CELLS[1]:
        raise ValueError(f"num_bones must be at most {_CELLS[0] * _CELLS[1]}, got {num_bones}")
    labels = np.zeros(shape, np.uint8)
    for index in range(num_bones):
        cell = [_cell(shape, axis, index) for axis in (0, 1)]
        inner = [slice(first + max(size // 5, 1), first + size - max(size // 5, 1)) for first, size in cell]
        labels[inner[0], inner[1], :-2] = index + 1
    return labels


def add_islands(labels: np.ndarray) -> np.ndarray:
    """Add a stray voxel of each bone in the last slice, for post-processing to remove."""
    result = labels.copy()
    for index in range(int(labels.max())):
        x, y = (first + size // 2 for first, size in (_cell(labels.shape, axis, index) for axis in (0, 1)))
        result[x, y, -1] = index + 1
    return result


def domain_of(num_bones: int) -> Domain:
    """The domain of scans with so many bones."""
    return Domain("synthetic", {value: f"bone {value}" for value in range(1, num_bones + 1)}, "axial")


def save_scan(path: Path, labels: np.ndarray) -> None:
    """Write an int16 scan with one intensity a bone, islands included, and noise."""
    noise = np.random.default_rng(0).integers(-_NOISE, _NOISE + 1, labels.shape, dtype=np.int16)
    noise += add_islands(labels).astype(np.int16) * _STEP
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(noise, np.eye(4)), path)


def save_model(path: Path, labels: np.ndarray) -> None:
    """Write the checkpoint of a network that gives each voxel of such a scan the bone of the nearest intensity.

    One feature passes the intensity x through from end to end. The logit of a class with intensity c is c x - c**2 / 2,
    which is (x**2 - (x - c)**2) / 2, so the largest logit belongs to the nearest c. All other features are random, so
    the network takes as long as any of its size.
    """
    num_bones = int(labels.max())
    domain = domain_of(num_bones)
    torch.manual_seed(0)
    network = MultiDomainUNet([domain.num_classes], widths=WIDTHS, domain_names=[domain.name])
    intensities = labels * float(_STEP)
    centres = torch.arange(domain.num_classes) * _STEP / float(intensities.std())
    zero = float(intensities.mean()) / float(intensities.std())  # normalised background is -zero
    weights = network.state_dict()
    for name in ("encoder.0.conv1", "encoder.0.conv2", "decoder.0.conv1", "decoder.0.conv2"):
        weights[f"{name}.weight"][0] = 0
        weights[f"{name}.weight"][0, 0, 1, 1] = 1
        weights[f"{name}.bias"][0] = 0
    weights["encoder.0.conv1.bias"][0] = zero
    weights["heads.0.weight"][:] = 0
    weights["heads.0.weight"][:, 0, 0, 0] = centres
    weights["heads.0.bias"][:] = -(centres**2) / 2
    preprocessing = Preprocessing((labels.shape[0], labels.shape[1]))
    save_checkpoint(path, TrainedModel((domain,), preprocessing, network.settings(), weights, {}))


def _cell(shape: tuple[int, ...], axis: int, index: int) -> tuple[int, int]:
    """First voxel of a bone's cell along an axis, and its size."""
    size = shape[axis] // _CELLS[axis]
    return (index % _CELLS[0] if axis == 0 else index // _CELLS[0]) * size, size
