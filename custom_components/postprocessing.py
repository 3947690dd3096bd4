"""Clean a predicted label map, a bone at a time: keep the largest 3D component, then close it with a ball."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from functools import reduce
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.transforms import MapTransform
from monai.utils import convert_to_dst_type, convert_to_numpy
from scipy import ndimage
from skimage.morphology import ball

from custom_components.errors import InputError
from custom_components.geometry import to_canonical

__all__ = [
    "KeepLargestComponentd",
    "SphericalClosingd",
    "component_counts",
    "largest_component",
    "spherical_closing",
]


def largest_component(
    labels: np.ndarray, *, num_classes: int, connectivity: int = 1, affine: np.ndarray | None = None
) -> np.ndarray:
    """Keep the largest connected component of each bone; the others become background.

    Of equally large components, the one whose first voxel comes first in C order stays; with `affine`, in C order of
    the closest RAS+ axis order, so that any storage order of the same map keeps the same one.

    Args:
        labels: class indices 0..num_classes-1, an integer array of shape (H, W, D).
        num_classes: number of classes, background included.
        connectivity: 1, 2 or 3: neighbours share a face (6), an edge (18) or a corner (26).
        affine: voxel index -> RAS+ position, (4, 4).

    Returns:
        A new array of the same shape and type. A bone without voxels stays without.

    Raises:
        InputError: `labels` is no class-index map, or `connectivity` is unknown.

    Example:
        >>> largest_component(np.array([[[1, 0, 1, 1]]]), num_classes=2)
        array([[[0, 0, 1, 1]]])
    """
    structure = _structure(connectivity)
    result = labels.copy()
    view = result if affine is None or labels.ndim != 3 else to_canonical(result, affine)
    for index, box in _boxes(view, num_classes):
        components, count = ndimage.label(view[box] == index, structure)
        if count > 1:
            sizes = np.bincount(components.ravel())
            sizes[0] = 0
            largest = np.isin(components, np.flatnonzero(sizes == sizes.max()))
            kept = components.ravel()[largest.ravel().argmax()]
            view[box][(components != kept) & (components != 0)] = 0
    return result


def component_counts(labels: np.ndarray, *, num_classes: int, connectivity: int = 1) -> list[int]:
    """Count the connected components of each bone, e.g. to report epiphyses that a growth plate separates.

    Args:
        labels: class indices 0..num_classes-1, an integer array of shape (H, W, D).
        num_classes: number of classes, background included.
        connectivity: as for `largest_component`.

    Returns:
        One count for each foreground class 1..num_classes-1; 0 for a bone without voxels.

    Raises:
        InputError: `labels` is no class-index map, or `connectivity` is unknown.

    Example:
        >>> component_counts(np.array([[[1, 0, 1, 2]]]), num_classes=4)
        [2, 1, 0]
    """
    structure = _structure(connectivity)
    counts = [0] * (num_classes - 1)
    for index, box in _boxes(labels, num_classes):
        counts[index - 1] = int(ndimage.label(labels[box] == index, structure)[1])
    return counts


def spherical_closing(labels: np.ndarray, *, num_classes: int, radius: int = 2) -> np.ndarray:
    """Close holes and clefts of each bone with a ball, leaving every other bone as it is.

    Each bone is closed as if background went on beyond the array, so a bone that the field of view cuts keeps its cut
    face. Only background changes hands. A background voxel that the closings of two bones claim goes to the bone with
    the nearer voxel in the input (centre to centre, in voxels), and at equal distance to the lower class index; all
    closings start from the input, so their order plays no part.

    Args:
        labels: class indices 0..num_classes-1, an integer array of shape (H, W, D).
        num_classes: number of classes, background included.
        radius: radius of the ball in voxels; 2 is the paper's 5x5x5 ball of 33 voxels, 0 changes nothing.

    Returns:
        A new array of the same shape and type. A bone without voxels stays without.

    Raises:
        InputError: `labels` is no class-index map, or `radius` is no whole number from 0.

    Example:
        >>> bone = np.ones((3, 3, 3), dtype=int)
        >>> bone[1, 1, 1] = 0
        >>> int(spherical_closing(bone, num_classes=2)[1, 1, 1])
        1
    """
    if isinstance(radius, bool) or not isinstance(radius, int | np.integer) or radius < 0:
        raise InputError(f"radius must be a whole number of voxels from 0, got {radius!r}; the paper's ball has 2")
    result = labels.copy()
    claims = [_claims(labels, index, box, int(radius)) for index, box in _boxes(labels, num_classes)]
    if claims:
        voxels, squared_distances, classes = (np.concatenate(part) for part in zip(*claims, strict=True))
        order = np.lexsort((classes, squared_distances, voxels))
        voxels, first = np.unique(voxels[order], return_index=True)
        result[np.unravel_index(voxels, labels.shape)] = classes[order][first]
    return result


class _LabelMapTransform(MapTransform):
    """Apply `_process` to class-index maps of shape (1, H, W, D), keeping type, dtype, device and metadata."""

    def __init__(self, keys: KeysCollection, *, num_classes: int | None, allow_missing_keys: bool) -> None:
        super().__init__(keys, allow_missing_keys)
        self.num_classes = num_classes

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = self._apply(result[key], key)
        return result

    def _apply(self, item: Any, key: Hashable) -> Any:
        values = convert_to_numpy(item)
        if values.ndim != 4 or values.shape[0] != 1:
            raise InputError(
                f"label map {key!r} must have shape (1, H, W, D), got {tuple(values.shape)}; "
                "take the class of each voxel (argmax over channels) first"
            )
        labels = values[0]
        if labels.dtype.kind == "f":
            # MONAI's AsDiscrete(argmax=True) writes class indices as floats.
            whole = np.isfinite(labels) & (labels == np.trunc(labels))
            if not whole.all():
                raise InputError(
                    f"label map {key!r} must hold whole numbers, got {labels[~whole][0]:g}; take the argmax first"
                )
            labels = labels.astype(np.int64)
        num_classes = int(labels.max(initial=0)) + 1 if self.num_classes is None else self.num_classes
        cleaned = self._process(labels, num_classes, getattr(item, "affine", None))
        return convert_to_dst_type(cleaned[None], item, dtype=item.dtype)[0]

    def _process(self, labels: np.ndarray, num_classes: int, affine: Any) -> np.ndarray:
        raise NotImplementedError


class KeepLargestComponentd(_LabelMapTransform):
    """Dictionary transform around `largest_component`.

    Args:
        keys: keys of class-index maps, each a tensor, MetaTensor (whose affine then breaks ties) or array of shape
            (1, H, W, D).
        num_classes: number of classes, background included; `None` takes the map's maximum plus one.
        connectivity: as for `largest_component`.
        allow_missing_keys: whether an item may lack a key.

    Example:
        >>> clean = KeepLargestComponentd("pred")
        >>> clean({"pred": np.array([[[[1, 0, 1, 1]]]])})["pred"]
        array([[[[0, 0, 1, 1]]]])
    """

    def __init__(
        self,
        keys: KeysCollection,
        num_classes: int | None = None,
        connectivity: int = 1,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, num_classes=num_classes, allow_missing_keys=allow_missing_keys)
        self.connectivity = connectivity

    def _process(self, labels: np.ndarray, num_classes: int, affine: Any) -> np.ndarray:
        affine = None if affine is None else np.asarray(affine, np.float64)
        return largest_component(labels, num_classes=num_classes, connectivity=self.connectivity, affine=affine)


class SphericalClosingd(_LabelMapTransform):
    """Dictionary transform around `spherical_closing`.

    Args:
        keys: keys of class-index maps, each a tensor, MetaTensor or array of shape (1, H, W, D).
        num_classes: number of classes, background included; `None` takes the map's maximum plus one.
        radius: radius of the ball in voxels.
        allow_missing_keys: whether an item may lack a key.

    Example:
        >>> bone = np.ones((1, 3, 3, 3))
        >>> bone[0, 1, 1, 1] = 0
        >>> float(SphericalClosingd("pred", num_classes=2)({"pred": bone})["pred"].min())
        1.0
    """

    def __init__(
        self,
        keys: KeysCollection,
        num_classes: int | None = None,
        radius: int = 2,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, num_classes=num_classes, allow_missing_keys=allow_missing_keys)
        self.radius = radius

    def _process(self, labels: np.ndarray, num_classes: int, affine: Any) -> np.ndarray:
        return spherical_closing(labels, num_classes=num_classes, radius=self.radius)


def _structure(connectivity: int) -> np.ndarray:
    if connectivity not in (1, 2, 3):
        raise InputError(f"connectivity must be 1, 2 or 3, got {connectivity!r}; 1 joins voxels that share a face")
    return ndimage.generate_binary_structure(3, connectivity)


def _boxes(labels: np.ndarray, num_classes: int) -> Iterator[tuple[int, tuple[slice, ...]]]:
    """Class and bounding box of each bone that has voxels, in class order, once the map is known to be one."""
    if labels.ndim != 3 or labels.dtype.kind not in "iu":
        raise InputError(
            f"labels must be an integer array of shape (H, W, D), got {labels.dtype} of shape {labels.shape}; "
            "give class indices, without channels"
        )
    if labels.size and (labels.min() < 0 or labels.max() >= num_classes):
        raise InputError(
            f"labels must lie in 0..{num_classes - 1}, got {labels.min()}..{labels.max()}; "
            "encode label values as class indices or correct num_classes"
        )
    boxes = ndimage.find_objects(labels, max_label=num_classes - 1) if num_classes > 1 else []
    return ((index, box) for index, box in enumerate(boxes, start=1) if box is not None)


def _claims(labels: np.ndarray, index: int, box: tuple[slice, ...], radius: int) -> tuple[np.ndarray, ...]:
    """Background voxels that closing one bone would add: flat position, squared distance to the bone, class.

    A closing never leaves the bounding box, so the box is all there is to look at; two radii of background around it
    are what the dilation and then the erosion reach into.
    """
    padded = np.pad(labels[box] == index, 2 * radius)
    closed = _over_ball(_over_ball(padded, radius, np.logical_or), radius, np.logical_and)
    gained = np.argwhere(closed & (labels[box] == 0))
    squared_distances = np.zeros(len(gained), np.int64)
    # Farthest first: nearer voxels of the bone overwrite. Each gained voxel has one within the radius.
    for offset in sorted(np.argwhere(ball(radius)) - radius, key=lambda step: -int(step @ step)):
        hit = padded[tuple((gained + offset + 2 * radius).T)]
        squared_distances[hit] = offset @ offset
    start = [side.start for side in box]
    voxels = np.ravel_multi_index(tuple((gained + start).T), labels.shape)
    return voxels, squared_distances, np.full(len(gained), index, labels.dtype)


def _over_ball(mask: np.ndarray, radius: int, combine: np.ufunc) -> np.ndarray:
    """Dilate (`np.logical_or`) or erode (`np.logical_and`) by the ball; the result is `radius` smaller on each side.

    Ors of shifted views: for small balls an order of magnitude faster than distance transforms, and exact.
    """
    size = [length - 2 * radius for length in mask.shape]
    boxes = (tuple(map(slice, start, start + size)) for start in np.argwhere(ball(radius)))
    return reduce(combine, (mask[box] for box in boxes))
