"""MONAI transforms of the inference workflow: read, slice, restore to the source grid, name the labels, save."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from custom_components.data.preprocessing import restore_stack, slice_size, stack_slices
from custom_components.domains import find_domain
from custom_components.errors import InputError, show_path
from custom_components.io.volumes import read_volume, volume_of
from custom_components.models.trained_model import TrainedModel
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

__all__ = ["DecodeLabelsd", "ReadVolumed", "RestoreSourceGridd", "StackSlicesd"]


class ReadVolumed(MapTransform):
    """Read and check a NIfTI volume: the path under `keys` becomes the voxels, and `source` the volume's geometry.

    A `MetaTensor` (X, Y, Z) or (1, X, Y, Z) in the place of a path, as other tools hand over what they have read
    already, is checked likewise.

    Raises:
        InputError: the volume cannot be used; see `volumes.read_volume`.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Transform one item."""
        item = dict(data)
        for key in self.key_iterator(item):
            given = item[key]
            if isinstance(given, MetaTensor):
                voxels = given.numpy()
                volume = volume_of(voxels[0] if voxels.ndim == 4 else voxels, np.asarray(given.affine))
                item[key] = MetaTensor(volume.array, affine=torch.from_numpy(volume.affine))
            else:
                volume = read_volume(given)
                item[key] = volume.array
            item["source"] = volume.without_voxels()
        return item


class _ModelTransform(MapTransform):
    """A transform that acts by the domain of the item, or else by a default one.

    Args:
        keys: what to transform.
        model: the trained model.
        domain: name of the domain of items that do not say; may be left out when the model has one.
    """

    def __init__(self, keys: KeysCollection, *, model: TrainedModel, domain: str | None = None) -> None:
        super().__init__(keys)
        self.model = model
        self.default_domain = domain

    def _domain_index(self, item: Mapping[Hashable, Any]) -> int:
        return find_domain(self.model.domains, item.get("domain", self.default_domain))


class StackSlicesd(_ModelTransform):
    """Turn a volume (X, Y, Z) into the network's slices, shape (1, rows, columns, num_slices), float32.

    A `MetaTensor` stays one. `source_slice` becomes the rows and columns that the source's own slices have.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Transform one item."""
        item = dict(data)
        plane = self.model.domains[self._domain_index(item)].plane
        for key in self.key_iterator(item):
            source, settings = item["source"], self.model.preprocessing
            name = show_path(source.path)
            slices = stack_slices(np.asarray(item[key]), source.affine, plane=plane, settings=settings, name=name)
            stacked = slices.permute(1, 2, 0)[None]
            item[key] = MetaTensor(stacked) if isinstance(item[key], MetaTensor) else stacked
            item["source_slice"] = slice_size(source.array.shape, source.affine, plane=plane)
        return item


class RestoreSourceGridd(_ModelTransform):
    """Turn logits (channels, rows, columns, num_slices) into class indices on the source grid, shape (1, X, Y, Z).

    Or channel indices, uint8, shape (1, *source_slice, num_slices), as `SlicewiseInferer.classes` gives them. With one
    head for all domains, a class of another domain becomes background.

    Raises:
        InputError: logits that are not finite.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Transform one item."""
        item = dict(data)
        index, source = self._domain_index(item), item["source"]
        for key in self.key_iterator(item):
            stack = torch.as_tensor(item[key]).permute(3, 0, 1, 2)
            if stack.dtype == torch.uint8:
                stack = stack[:, 0]
            elif not bool(torch.isfinite(stack).all()):
                raise InputError(
                    f"prediction for {show_path(source.path)} must be finite, got NaN or infinity; train again"
                )
            plane = self.model.domains[index].plane
            channels = restore_stack(stack, shape=source.array.shape, affine=source.affine, plane=plane)
            own = self.model.channels(self.model.domains[index].name)
            if own != list(range(len(own))):
                class_of_channel = np.zeros(256, dtype=np.uint8)
                class_of_channel[own] = np.arange(len(own))
                channels = class_of_channel[channels]
            classes = torch.from_numpy(channels)[None]
            item[key] = MetaTensor(classes, affine=torch.from_numpy(source.affine))
        return item


class DecodeLabelsd(_ModelTransform):
    """Turn class indices into the label values of the domain's manifest; any shape, uint8."""

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Transform one item."""
        item = dict(data)
        domain = self.model.domains[self._domain_index(item)]
        for key in self.key_iterator(item):
            values = torch.from_numpy(domain.decode(np.asarray(item[key])))
            item[key] = MetaTensor(values, affine=torch.from_numpy(item["source"].affine))
        return item
