"""The peer of `multijoint segment`: the same network in eager PyTorch, with MONAI's transforms and `SliceInferer`.

Usage: `python -m multijoint.benchmarks.monai_peer CHECKPOINT DOMAIN SCAN OUT`, with an axial scan in RAS+ order whose
slices have the network's size, since the peer does not resample. MONAI and scikit-image do the paper's post-processing.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from custom_components.models.checkpoints import build_network, load_model
from monai.data import MetaTensor
from monai.inferers import SliceInferer
from monai.transforms import (
    AsDiscrete,
    Compose,
    EnsureChannelFirst,
    KeepLargestConnectedComponent,
    Lambda,
    LoadImage,
    NormalizeIntensity,
    SaveImage,
)
from skimage.morphology import ball, closing


def main(checkpoint: Path, domain: str, image: Path, out: Path) -> None:
    """Segment one scan."""
    model = load_model(checkpoint)
    network = build_network(model, domain=domain)
    rows, columns = model.preprocessing.size_of()
    bones = list(range(1, model.domain(domain).num_classes))
    before = Compose([LoadImage(image_only=True), EnsureChannelFirst(), NormalizeIntensity()])
    inferer = SliceInferer(roi_size=(rows, columns), spatial_dim=2, sw_batch_size=16, overlap=0.0)
    values = np.array([0, *model.domain(domain).labels], np.uint8)
    after = Compose(
        [
            AsDiscrete(argmax=True),
            KeepLargestConnectedComponent(applied_labels=bones, independent=True, connectivity=1),
            Lambda(lambda labels: MetaTensor(_close(np.asarray(labels[0], np.uint8), bones)[None], meta=labels.meta)),
            Lambda(lambda labels: MetaTensor(values[np.asarray(labels, np.uint8)], meta=labels.meta)),
        ]
    )
    with torch.no_grad():
        prediction = after(inferer(before(image)[None], network)[0])
    save = SaveImage(output_dtype=np.uint8, resample=False, print_log=False, separate_folder=False)
    save(prediction, filename=str(out).removesuffix(".nii.gz"))


def _close(labels: np.ndarray, bones: list[int]) -> np.ndarray:
    """Close bone by bone; only background changes, and the first bone keeps it."""
    result = labels.copy()
    for bone in bones:
        closed = closing(np.pad(labels == bone, 4), ball(2))[4:-4, 4:-4, 4:-4]
        result[closed & (result == 0)] = bone
    return result


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
