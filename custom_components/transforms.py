"""MONAI transforms of the inference workflow: read, slice, restore to the source grid, name the labels, save."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

from custom_components.checkpoints import TrainedModel
from custom_components.domains import find_domain, output_channels
from custom_components.errors import InputError
from custom_components.files import write_atomically
from custom_components.preprocessing import restore_stack, stack_slices
from custom_components.volumes import read_volume, write_label_map

__all__ = ["DecodeLabelsd", "ReadVolumed", "RestoreSourceGridd", "SaveLabelMapd", "StackSlicesd"]


class ReadVolumed(MapTransform):
    """Read and check a NIfTI volume: the path under `keys` becomes the voxels, and `source` the volume's geometry.

    Raises:
        InputError: the file cannot be used; see `volumes.read_volume`.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Transform one item."""
        item = dict(data)
        for key in self.key_iterator(item):
            volume = read_volume(item[key])
            item[key] = volume.array
            # The geometry outlives the voxels: a view of no memory keeps the shape.
            item["source"] = replace(volume, array=np.broadcast_to(np.float32(0), volume.array.shape))
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
    """Turn a volume (X, Y, Z) into the network's slices, shape (1, rows, columns, num_slices), float32."""

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Transform one item."""
        item = dict(data)
        plane = self.model.domains[self._domain_index(item)].plane
        for key in self.key_iterator(item):
            slices = stack_slices(item[key], item["source"].affine, plane=plane, settings=self.model.preprocessing)
            item[key] = slices.permute(1, 2, 0)[None]
        return item


class RestoreSourceGridd(_ModelTransform):
    """Turn logits (channels, rows, columns, num_slices) into class indices on the source grid, shape (1, X, Y, Z).

    With one head for all domains, a class of another domain becomes background.

    Raises:
        InputError: logits that are not finite.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Transform one item."""
        item = dict(data)
        index, source = self._domain_index(item), item["source"]
        for key in self.key_iterator(item):
            logits = torch.as_tensor(item[key]).permute(3, 0, 1, 2)
            if not bool(torch.isfinite(logits).all()):
                raise InputError(f"prediction for {source.path.name} must be finite, got NaN or infinity; train again")
            channels = restore_stack(
                logits,
                shape=source.array.shape,
                affine=source.affine,
                plane=self.model.domains[index].plane,
            )
            class_of_channel = np.zeros(256, dtype=np.uint8)
            own = output_channels([domain.num_classes for domain in self.model.domains], self.model.network["head"])
            class_of_channel[own[index]] = np.arange(len(own[index]))
            classes = torch.from_numpy(class_of_channel[channels])[None]
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


class SaveLabelMapd(_ModelTransform):
    """Write `<output_dir>/<name>_seg.nii.gz` on the source grid, and its labels' names beside it as JSON.

    `name` is the item's `name`, else the file name of the source. The JSON is written first: whoever finds the
    label map finds its names.
    """

    def __init__(
        self, keys: KeysCollection, *, output_dir: str | Path, model: TrainedModel, domain: str | None = None
    ) -> None:
        super().__init__(keys, model=model, domain=domain)
        self.output_dir = Path(output_dir)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Save one item; adds the path written as `saved`."""
        item = dict(data)
        domain, source = self.model.domains[self._domain_index(item)], item["source"]
        name = item.get("name") or source.path.name.removesuffix(".gz").removesuffix(".nii")
        for key in self.key_iterator(item):
            path = self.output_dir / f"{name}_seg.nii.gz"
            names = {"0": "background"} | {str(value): label for value, label in domain.labels.items()}
            record = {"image": source.path.name, "domain": domain.name, "labels": names}
            write_atomically(self.output_dir / f"{name}_seg.json", (json.dumps(record, indent=2) + "\n").encode())
            write_label_map(path, np.asarray(item[key])[0], like=source)
            item["saved"] = path
        return item
