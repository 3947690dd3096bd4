"""MONAI transforms of inference: read a volume, cut it into slices, restore the source grid, decode the labels."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from custom_components.data.channels import check_channels, network_channels, read_channels, stack_channels
from custom_components.data.preprocessing import Preprocessing, pixel_spacing_mm, restore_stack, slice_size
from custom_components.domains import Domain, find_domain
from custom_components.errors import InputError, show_path
from custom_components.io.volumes import Volume, volume_of
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

if TYPE_CHECKING:
    from custom_components.models.trained_model import TrainedModel


class ReadVolumed(MapTransform):
    """Read and check a volume: the path under `keys` becomes its voxels, `source` its geometry.

    With paths of other channels under `further`, the voxels are (channels, X, Y, Z), and `further_digests` is set. A
    `MetaTensor` (X, Y, Z) or (channels, X, Y, Z) instead of a path, from a tool that has read the files itself, is
    checked by the same rules.

    Raises:
        InputError: the volume cannot be used; see `volumes.read_volume`.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Transform one item."""
        item = dict(data)
        for key in self.key_iterator(item):
            given = item[key]
            if isinstance(given, MetaTensor):
                voxels, affine = given.numpy(), np.asarray(given.affine)
                volumes = [volume_of(channel, affine) for channel in (voxels if voxels.ndim == 4 else voxels[None])]
                item[key] = MetaTensor(_joined(volumes), affine=torch.from_numpy(volumes[0].affine))
            else:
                volumes = read_channels([given, *item.get("further", ())])
                item[key] = _joined(volumes)
            item["source"] = volumes[0].without_voxels()
            if len(volumes) > 1:
                item["further_digests"] = [volume.digest for volume in volumes[1:]]
        return item


def _joined(volumes: Sequence[Volume]) -> np.ndarray:
    """Voxels of one channel (X, Y, Z), or of several (channels, X, Y, Z)."""
    return volumes[0].array if len(volumes) == 1 else np.stack([volume.array for volume in volumes])


class _ModelTransform(MapTransform):
    """Base of transforms that depend on the item's domain.

    Args:
        keys: keys to transform.
        model: the trained model.
        domain: default domain of items that name none; not needed for a model of one domain.
    """

    def __init__(self, keys: KeysCollection, *, model: TrainedModel, domain: str | None = None) -> None:
        super().__init__(keys)
        self.model = model
        self.default_domain = domain

    def _domain_index(self, item: Mapping[Hashable, Any]) -> int:
        return find_domain(self.model.domains, item.get("domain", self.default_domain))


class StackSlicesd(_ModelTransform):
    """Cut a volume (X, Y, Z) into the network's slices, shape (in_channels, rows, columns, num_slices), float32.

    A volume of several channels is (channels, X, Y, Z). `source_slice` is set to the rows and columns of the source's
    own slices, `pixel_mm` to the size of the network's pixels. A data set in several planes is cut in its own; `planes`
    then holds the domains and settings of all, its own first, and `voxels` the volume, for `cut_slices`.

    A `MetaTensor` stays one, in the data set's own plane alone: tools that read files themselves take one stack.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Transform one item."""
        item = dict(data)
        planes = self.model.planes(item.get("domain", self.default_domain))
        chosen = [(each, self.model.preprocessing.for_domain(each.name)) for each in planes]
        for key in self.key_iterator(item):
            voxels = item[key]
            cut = cut_slices(voxels, item["source"], *chosen[0])
            if isinstance(voxels, MetaTensor):
                cut["image"] = MetaTensor(cut["image"])
            elif len(planes) > 1:
                item |= {"planes": chosen, "voxels": voxels}
            item |= {key if name == "image" else name: value for name, value in cut.items()}
        return item


def cut_slices(voxels: Any, source: Volume, domain: Domain, settings: Preprocessing) -> dict[str, Any]:
    """The slices of a volume in the plane of a domain; `settings` are those of `Preprocessing.for_domain`.

    Returns:
        `image`, `pixel_mm` and `source_slice` as in `items.VolumeItem`.

    Raises:
        InputError: the domain has other channels.
    """
    voxels, name, shape = np.asarray(voxels), show_path(source.path), source.array.shape
    arrays = list(voxels) if voxels.ndim == 4 else [voxels]
    check_channels(len(arrays), domain, scan=name)
    how: Any = {"plane": domain.plane, "settings": settings}
    stacks = stack_channels(arrays, source.affine, name=name, **how)
    return {
        "image": network_channels(stacks, affine=source.affine, shape=shape, **how).permute(1, 2, 3, 0),
        "pixel_mm": pixel_spacing_mm(shape, source.affine, **how).tolist(),
        "source_slice": slice_size(shape, source.affine, plane=domain.plane),
    }


class RestoreSourceGridd(_ModelTransform):
    """Restore a prediction to the source grid, as class indices (1, X, Y, Z).

    The prediction holds logits (channels, rows, columns, num_slices), or channel indices from
    `SlicewiseInferer.classes`, uint8 (1, *source_slice, num_slices). With one head for all domains, classes of other
    domains become background.

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
            if self.model.network["head"] == "shared":
                own = self.model.channels(self.model.domains[index].name)
                class_of_channel = np.zeros(256, dtype=np.uint8)
                class_of_channel[own] = np.arange(len(own))
                channels = class_of_channel[channels]
            classes = torch.from_numpy(channels)[None]
            item[key] = MetaTensor(classes, affine=torch.from_numpy(source.affine))
        return item


class DecodeLabelsd(_ModelTransform):
    """Decode class indices into the label values of the domain's manifest; any shape, uint8."""

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Transform one item."""
        item = dict(data)
        domain = self.model.domains[self._domain_index(item)]
        for key in self.key_iterator(item):
            values = torch.from_numpy(domain.decode(np.asarray(item[key])))
            item[key] = MetaTensor(values, affine=torch.from_numpy(item["source"].affine))
        return item
