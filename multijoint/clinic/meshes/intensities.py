"""Intensities of a scan inside each bone of its label map."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from custom_components.io.volumes import Volume, on_grid
from custom_components.label_maps import find_bones

_PERCENTILES = {"intensity_median": 50, "intensity_p5": 5, "intensity_p95": 95}
INTENSITIES = ("intensity_mean", "intensity_sd", *_PERCENTILES)
"""Columns of `bones.csv`, in units of the scan: slope and intercept of its header are applied."""


def measure_intensities(scan: Volume, label_map: Volume) -> Mapping[int, dict[str, str]]:
    """Mean, standard deviation, median, 5th and 95th percentile of the scan's voxels in each bone.

    The deviation is that of the voxels themselves (divided by their number), so it is 0 for one voxel; percentiles are
    interpolated linearly between voxels.

    Args:
        scan: the image that was segmented, or another one on its grid, such as a map of T2.
        label_map: values 0..255, in any axis order.

    Returns:
        Columns of `bones.csv` by label value; only of bones that have voxels.

    Raises:
        InputError: the label map does not lie on the scan's grid.
    """
    labels = on_grid(label_map, scan).array.astype(np.uint8)
    found = {}
    for bone in find_bones(labels, num_classes=256):
        voxels = scan.array[bone.box][labels[bone.box] == bone.index].astype(np.float64)
        numbers = (voxels.mean(), voxels.std(), *np.percentile(voxels, list(_PERCENTILES.values())))
        found[bone.index] = {name: f"{number:.6g}" for name, number in zip(INTENSITIES, numbers, strict=True)}
    return found
