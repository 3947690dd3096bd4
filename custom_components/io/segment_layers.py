"""Segmentations of 3D Slicer in several layers, as one label map."""

from __future__ import annotations

import re

import numpy as np
from custom_components.errors import InputError, show_path
from custom_components.io.raster import Raster

_UNNAMED = "a value without a name"


def merge_layers(voxels: np.ndarray, raster: Raster) -> np.ndarray:
    """One label value for each voxel of a segmentation whose segments lie in layers.

    Args:
        voxels: values, (number of voxels, layers), in the order of the file.
        raster: statement of the header, with the entries `Segment0_LabelValue`, `Segment0_Layer`, ...

    Returns:
        Label values, (number of voxels,), 0 where no segment is.

    Raises:
        InputError: two segments overlap or have one value, or a layer holds values of no segment.
    """
    name, merged = show_path(raster.path), np.zeros(len(voxels), voxels.dtype)
    names = _segments(raster)
    values = [value for _, value in names]
    for layer in range(raster.layers):
        plane = voxels[:, layer]
        for value in np.unique(plane[plane != 0]).tolist():
            segment = names.get((layer, value), _UNNAMED)
            mask = plane == value
            if segment == _UNNAMED:
                raise InputError(f"layer {layer} of {name} must hold segments, got {segment}, {value}; export it again")
            if values.count(value) > 1:
                other = next(each for key, each in names.items() if key != (layer, value) and key[1] == value)
                rule = f"segments of {name} must have different label values, got {value} for {segment} and {other}"
                raise InputError(f"{rule}; export the segmentation as a label map")
            if (taken := merged[mask]).any():
                first = int(taken[taken != 0][0])
                other = next(each for key, each in names.items() if key[1] == first)
                raise InputError(f"segments of {name} must not overlap, got {other} and {segment}; separate them")
            merged[mask] = value
    return merged


def _segments(raster: Raster) -> dict[tuple[int, int], str]:
    """Name of each segment by its layer and its label value."""
    found: dict[tuple[int, int], str] = {}
    number = 0
    while f"Segment{number}_ID" in raster.fields or f"Segment{number}_Name" in raster.fields:
        entries = {
            key: raster.fields.get(f"Segment{number}_{key}", "") for key in ("ID", "Name", "Layer", "LabelValue")
        }
        place = tuple(entries[key].strip() or default for key, default in (("Layer", "0"), ("LabelValue", "1")))
        if not all(re.fullmatch(r"\d{1,9}", each, re.ASCII) for each in place):
            rule = f"Segment{number}_Layer and _LabelValue of {show_path(raster.path)} must be whole numbers"
            raise InputError(f"{rule}, got {place[0][:20]!r} and {place[1][:20]!r}; export it again")
        found[int(place[0]), int(place[1])] = entries["Name"] or entries["ID"]
        number += 1
    return found
