"""The voxels of a bone, taken out of its label map in the axis order closest to the patient's, and where it is cut."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from custom_components.errors import InputError
from custom_components.io.geometry import orientation_of, to_canonical
from custom_components.label_maps import find_bones
from nibabel.orientations import inv_ornt_aff

SIDES = (("left", "right"), ("posterior", "anterior"), ("inferior", "superior"))
"""For each axis of a volume in closest RAS+ order, the side of the patient at its first and at its last voxel."""

_MAX_VALUE = 255


@dataclass(frozen=True)
class BoneMask:
    """The voxels of a bone in their bounding box, in closest RAS+ axis order whatever the order in the file.

    Args:
        voxels: boolean array (X, Y, Z); each of its six sides holds a voxel of the bone.
        affine: voxel index in the box -> RAS+ position in mm, (4, 4).
        cut: (3, 2), whether the box touches the first and the last voxel of the volume along each axis: there the
            field of view has cut the bone.
    """

    value: int
    voxels: np.ndarray
    affine: np.ndarray
    cut: np.ndarray

    @property
    def cut_sides(self) -> tuple[str, ...]:
        """Sides of the volume that cut the bone, as names of `SIDES`."""
        return tuple(SIDES[axis][side] for axis, side in np.argwhere(self.cut).tolist())


def bone_masks(labels: np.ndarray, affine: np.ndarray) -> Iterator[BoneMask]:
    """The bones of a label map, in the order of their values.

    Labels are integers (X, Y, Z), 0 for background; the affine, (4, 4), is voxel index -> RAS+ position in mm.

    Raises:
        InputError: values outside 0..255.

    Example:
        >>> labels = np.zeros((4, 5, 6), int); labels[1, 2, 3:] = 7
        >>> [(bone.value, bone.voxels.shape, bone.cut_sides) for bone in bone_masks(labels, np.eye(4))]
        [(7, (1, 1, 3), ('superior',))]
    """
    if labels.size and not (labels.min() >= 0 and labels.max() <= _MAX_VALUE):
        rule = f"label values must be whole numbers from 0 to {_MAX_VALUE}, got {labels.min()} to {labels.max()}"
        raise InputError(f"{rule}; give a label map, not a scan, or renumber it")
    volume = to_canonical(labels.astype(np.uint8), affine)
    canonical = affine @ inv_ornt_aff(orientation_of(affine), labels.shape)
    for bone in find_bones(volume, num_classes=_MAX_VALUE + 1):
        cropped = canonical.copy()
        cropped[:3, 3] += canonical[:3, :3] @ [side.start for side in bone.box]
        cut = [(side.start == 0, side.stop == size) for side, size in zip(bone.box, volume.shape, strict=True)]
        yield BoneMask(bone.index, volume[bone.box] == bone.index, cropped, np.array(cut))
