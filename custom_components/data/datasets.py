"""Labelled volumes as a data set of preprocessed slices."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from custom_components.data.cases import Case, as_case, check_shows_bone, in_planes
from custom_components.data.channels import (
    check_channels,
    context_offsets,
    position_channels,
    read_channels,
    stack_channels,
    with_context,
)
from custom_components.data.preprocessing import Preprocessing, pixel_spacing_mm, slice_spacing_mm, stack_labels
from custom_components.data.sampling import SampleKey
from custom_components.domains import Domain, find_domain
from custom_components.errors import InputError, show_path
from custom_components.io.volumes import read_label
from custom_components.system.terminal import count
from monai.transforms import Randomizable
from torch import Tensor
from torch.utils.data import Dataset

_logger = logging.getLogger(__name__)


class SliceDataset(Dataset[dict[str, Any]]):
    """Every slice of the given cases, preprocessed once and kept in memory; slices without bone are kept too.

    A slice takes 5 bytes a pixel, with a second channel 9: the paper's 32 exams (6,215 slices at 256 x 256) take 2 GB.

    Args:
        data: labelled cases of any of the domains; or items with `image` and `label`, paths, see `cases.as_case`.
        domains: all domains of the run; an item's `domain` is an index into them.
        preprocessing: the settings shared with inference.
        transform: MONAI transform of one item. A random one is reseeded for each sample, so that its result is a pure
            function of (seed, index, epoch, cycle), whatever the number of workers.
        seed: seed of the augmentation.
        domain: name of the domain of items that do not say.
        may_be_empty: whether there may be no case, as where none validates.

    Items:
        `image` (in_channels, H, W) float32; `label` (1, H, W) uint8, class indices; `domain`; `case` (index into
        `data`); `slice`; `num_channels` of the image; `pixel_spacing` (2,) in mm; `label_box` (2, 2), `side_axis` and
        `mirrored`, see `RandFlipRotateTranslated`.

    Raises:
        InputError: no cases, or one that cannot be read or whose label map shows no bone.
    """

    def __init__(
        self,
        data: Sequence[Case | Mapping[str, Any]],
        *,
        domains: Sequence[Domain],
        preprocessing: Preprocessing,
        transform: Callable[[dict[str, Any]], Any] | None = None,
        seed: int = 0,
        domain: str | None = None,
        may_be_empty: bool = False,
    ) -> None:
        if not data and not may_be_empty:
            raise InputError("the split must leave at least one case on each side, got none; check fold and num_folds")
        self.transform = transform
        self.seed = seed
        self.preprocessing = preprocessing
        # Images of each channel, labels, spacings in and across the plane
        self._stacks: list[tuple[list[Tensor], Tensor, Any, float]] = []
        self._boxes: list[np.ndarray] = []
        self._side_axes = [2 if domain.plane == "sagittal" else 0 for domain in domains]  # rows run to the right
        self._index: list[tuple[int, int]] = []
        self.case_domains: list[int] = []
        """Domain index of each case, for metrics."""
        self.cases = in_planes((as_case(item, domain=domain) for item in data), domains)
        """The cases, once for each plane of their data set."""
        for number, case in enumerate(self.cases):
            index = find_domain(domains, case.domain)
            self._stacks.append(_load(case, domains[index], preprocessing))
            self._boxes.append(_box_of(self._stacks[-1][1]))
            self.case_domains.append(index)
            self._index += [(number, position) for position in range(len(self._stacks[-1][1]))]
        sizes = dict.fromkeys(" x ".join(map(str, stack[1].shape[1:])) for stack in self._stacks)
        if sizes:
            _logger.info("%s, %s of %s", count(len(data), "case"), count(len(self), "slice"), " and ".join(sizes))

    def __len__(self) -> int:
        """Number of slices."""
        return len(self._index)

    @property
    def sample_domains(self) -> list[int]:
        """Domain index of each slice, for the sampler."""
        return [self.case_domains[case] for case, _ in self._index]

    @property
    def samples_empty(self) -> list[bool]:
        """Whether a slice has no bone, for the sampler."""
        with_bone = [set(self.slices_with_bone(case)) for case in range(len(self._stacks))]
        return [number not in with_bone[case] for case, number in self._index]

    def slices_with_bone(self, case: int) -> list[int]:
        """Numbers of the slices of a case whose label is not empty."""
        return [number for number, label in enumerate(self._stacks[case][1]) if bool(label.any())]

    def __getitem__(self, key: int | SampleKey) -> dict[str, Any]:
        """One slice; a plain index stands for its first drawing in epoch 0."""
        sample = key if isinstance(key, SampleKey) else SampleKey(key, 0, 0)
        case, position = self._index[sample.index]
        images, labels, spacing, slice_mm = self._stacks[case]
        offsets = context_offsets(self.preprocessing, slice_mm=slice_mm, pixel_mm=spacing)
        item = {
            "image": with_context(images, [position], offsets=offsets)[0],
            "label": labels[position][None],
            "domain": self.case_domains[case],
            "case": case,
            "slice": position,
            "num_channels": len(images),
            "pixel_spacing": spacing,
            "label_box": self._boxes[case],
            "side_axis": self._side_axes[self.case_domains[case]],
            "mirrored": False,
        }
        if self.transform is not None:
            if isinstance(self.transform, Randomizable):
                self.transform.set_random_state(seed=_seed_of(self.seed, sample))
            item = self.transform(item)
        if self.preprocessing.position:  # last: coordinates are those of the pixels, however the image was moved
            how: Any = {"size": labels.shape[1:], "slice_mm": slice_mm, "pixel_mm": spacing}
            place = len(labels) - 1 - position if item["mirrored"] else position
            where = position_channels(place, num_slices=len(labels), **how)
            item["image"] = torch.cat([torch.as_tensor(item["image"]), where])
        return item


def _load(case: Case, domain: Domain, preprocessing: Preprocessing) -> tuple[list[Tensor], Tensor, Any, float]:
    if case.label is None:
        raise InputError(f"case {case.name} must have a label to train or validate on; add it or leave the case out")
    check_channels(len(case.images), domain, scan=show_path(case.image))
    image, *further = read_channels(case.images)
    label = domain.encode(read_label(case.label, like=image).array, source=show_path(case.label))
    check_shows_bone(case.label, found=bool(label.any()))
    arrays = [channel.array for channel in (image, *further)]
    plane, affine, preprocessing = domain.plane, image.affine, preprocessing.for_domain(domain.name)
    return (
        stack_channels(arrays, affine, plane=plane, settings=preprocessing, name=show_path(case.image)),
        stack_labels(label, affine, plane=plane, settings=preprocessing),
        pixel_spacing_mm(image.array.shape, affine, plane=plane, settings=preprocessing),
        slice_spacing_mm(affine, plane=plane),
    )


def _box_of(labels: Tensor) -> np.ndarray:
    """First and last row and column with a label in any of (n, rows, columns), as fractions; without labels, all."""
    seen = (labels > 0).any(dim=0)
    ends = []
    for axis, size in enumerate(seen.shape):
        places = seen.any(dim=1 - axis).nonzero()[:, 0].tolist() or [0, size - 1]
        ends.append([places[0] / size, (places[-1] + 1) / size])
    return np.array(ends)


def _seed_of(seed: int, sample: SampleKey) -> int:
    """32 well-mixed bits; a hash, since neighbouring integers make poor seeds."""
    text = f"{seed},{sample.index},{sample.epoch},{sample.cycle}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "little")
