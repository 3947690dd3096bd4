"""MONAI transforms that clean predicted label maps: names in order, largest component, spherical closing."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from custom_components.domains import Domain, find_domain
from custom_components.errors import InputError
from custom_components.io.geometry import spacing_of
from custom_components.postprocessing.closing import spherical_closing
from custom_components.postprocessing.components import largest_component
from custom_components.postprocessing.rows import find_row, name_in_order
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform


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
        # MONAI's conversions would copy arrays that are not in C order, as scans rarely are.
        values = item.detach().cpu().numpy() if isinstance(item, torch.Tensor) else np.asarray(item)
        if values.ndim != 4 or values.shape[0] != 1:
            raise InputError(
                f"label map {key!r} must have shape (1, H, W, D), got {tuple(values.shape)}; "
                "take the class of each voxel (argmax over channels) first"
            )
        labels = values[0]
        if labels.dtype.kind == "f":  # MONAI's AsDiscrete(argmax=True) writes class indices as floats
            labels = _as_integers(labels, key)
        num_classes = int(labels.max(initial=0)) + 1 if self.num_classes is None else self.num_classes
        cleaned = self._process(labels, num_classes, getattr(item, "affine", None))
        if not isinstance(item, torch.Tensor):
            return cleaned[None].astype(values.dtype, copy=False)
        result = torch.from_numpy(cleaned[None]).to(item.device, item.dtype)
        return MetaTensor(result).copy_meta_from(item) if isinstance(item, MetaTensor) else result

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
        self, keys: KeysCollection, num_classes: int | None = None, radius: int = 2, allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, num_classes=num_classes, allow_missing_keys=allow_missing_keys)
        self.radius = radius

    def _process(self, labels: np.ndarray, num_classes: int, affine: Any) -> np.ndarray:
        return spherical_closing(labels, num_classes=num_classes, radius=self.radius)


class NameInOrderd(MapTransform):
    """Dictionary transform around `name_in_order`, for the vertebrae among the labels of the item's domain.

    Args:
        keys: keys of class-index maps (1, H, W, D), each a MetaTensor whose affine gives the spacing.
        domains: of the model.
        domain: name of the domain of items that name none; not needed for one domain.
        enabled: False changes nothing, and neither do domains without a row of labels, see `find_row`.
    """

    def __init__(
        self, keys: KeysCollection, *, domains: Sequence[Domain], domain: str | None = None, enabled: bool = True
    ) -> None:
        super().__init__(keys)
        self.domains = list(domains)
        self.default_domain = domain
        self.enabled = enabled

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Transform one item."""
        item = dict(data)
        domain = self.domains[find_domain(self.domains, item.get("domain", self.default_domain))]
        row = find_row(list(domain.labels.values()))
        if self.enabled and row:
            for key in self.key_iterator(item):
                item[key] = _InOrder(key, num_classes=domain.num_classes, row=row)(item)[key]
        return item


class _InOrder(_LabelMapTransform):
    def __init__(self, keys: KeysCollection, *, num_classes: int, row: Sequence[int]) -> None:
        super().__init__(keys, num_classes=num_classes, allow_missing_keys=False)
        self.row = row

    def _process(self, labels: np.ndarray, num_classes: int, affine: Any) -> np.ndarray:
        spacing = (1.0, 1.0, 1.0) if affine is None else spacing_of(np.asarray(affine, np.float64))
        return name_in_order(labels, num_classes=num_classes, row=self.row, spacing_mm=spacing)


def default_steps(keys: KeysCollection, *, domains: Sequence[Domain] = ()) -> list[MapTransform]:
    """The post-processing of `inference.yaml` by its default numbers, on which the confidence is calibrated.

    Without the `domains` of the model, names are not put in order.
    """
    named = [NameInOrderd(keys, domains=domains)] if domains else []
    return [*named, KeepLargestComponentd(keys), SphericalClosingd(keys)]


def _as_integers(labels: np.ndarray, key: Hashable) -> np.ndarray:
    """Convert whole numbers stored as floats to integers of as few bytes as possible."""
    low, high = labels.min(initial=0), labels.max(initial=0)
    dtype = np.uint8 if low >= 0 and high < 256 else np.int64
    with np.errstate(invalid="ignore"):  # NaN and infinity become arbitrary integers, which differ from them below
        integers = labels.astype(dtype)
    if not (integers == labels).all():
        wrong = labels[integers != labels][0]
        raise InputError(f"label map {key!r} must hold whole numbers, got {wrong:g}; take the argmax first")
    return integers
