"""The writer of probability maps: a byte a voxel, which readers scale to 0..1."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from custom_components.io.label_files import compress, label_header, voxels_of
from custom_components.io.volumes import Volume
from custom_components.system.files import write_atomically


def write_probability_map(path: Path, values: np.ndarray, *, like: Volume) -> str:
    """Write probabilities as NIfTI on the grid of `like`, whole or not at all; the same values give the same bytes.

    The header states a slope of 1/255, with which a reader gives 0..1. Of the source's header it has the grid alone.

    Args:
        path: a `.nii.gz` file, which is replaced if it exists.
        values: 255 times the probability, uint8, (X, Y, Z).
        like: the volume that was segmented.

    Returns:
        SHA-256 of the file's bytes.

    Raises:
        OSError: the file could not be written; nothing is left behind.
    """
    header = label_header(values.shape, like.header)
    header["scl_slope"], header["cal_max"] = 1 / 255, 1
    header.set_intent("estimate", name="probability")
    header["descrip"] = b"multijoint probability"
    content = compress(header.binaryblock + bytes(4), voxels_of(values))
    write_atomically(path, content)
    return hashlib.sha256(content).hexdigest()
