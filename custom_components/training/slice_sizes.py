"""Image sizes that fit the fields of view of data sets, from cheap to dear."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from custom_components.data.cases import Case, check_shows_bone
from custom_components.data.preprocessing import Preprocessing, slice_size
from custom_components.domains import PLANES, Domain, find_domain
from custom_components.errors import InputError, show_path
from custom_components.io.geometry import canonical_spacing_mm, orientation_of, to_canonical
from custom_components.io.volumes import read_grid, read_label

AUTO = "auto"
"""Value of a setting that is chosen by itself."""
LADDER = tuple(
    (longest, tuple(first * 2**level for level in range(5)))
    for longest, first in [
        *[(64, 8), (80, 8), (96, 8), (112, 8), (112, 12)],
        *[(128, 16), (160, 16), (192, 32), (256, 32)],
    ]
)
"""Pixels of a slice's longest side, and widths, from cheap to dear."""

_LEAST_SIDE = 32  # pixels
_SLACK = 1e-3  # pixels that a rounded header may state too many


@dataclass(frozen=True)
class Field:
    """Field of view and pixel of a domain's slices, (rows, columns) each in mm: the medians of its training cases."""

    extent_mm: np.ndarray
    pixel_mm: np.ndarray

    def size(self, longest: int, *, factor: int) -> list[int]:
        """Rows and columns, multiples of `factor`, with at most `longest` pixels along the longer side of the field.

        Pixels are square but where the field's own are not and larger; none are made that the domain does not have.
        """
        pixel_mm = np.maximum(self.extent_mm.max() / longest, self.pixel_mm)
        counts = (self.extent_mm / pixel_mm - _SLACK).tolist()
        return [max(_LEAST_SIDE, factor * math.ceil(count / factor)) for count in counts]


def candidates(
    image_size: Any, widths: Any, fields: Mapping[str, Field], *, shared: bool
) -> list[tuple[Any, list[int]]]:
    """Image sizes with widths, those of `LADDER` in place of "auto", without repetition.

    Each domain has its own size, unless all are alike or norms are `shared`: then all have the largest rows and
    columns.
    """
    found: list[tuple[Any, list[int]]] = []
    for longest, own_widths in LADDER:
        own = list(own_widths if widths == AUTO else widths)
        factor = 2 ** (len(own) - 1)
        size = image_size
        if image_size == AUTO:
            sizes = {name: field.size(longest, factor=factor) for name, field in fields.items()}
            largest = np.max(list(sizes.values()), axis=0).tolist()
            size = largest if shared or all(each == largest for each in sizes.values()) else sizes
        settings = Preprocessing(size)
        for name in fields:
            if any(side % factor for side in settings.size_of(name)):
                raise InputError(
                    f"image_size must be multiples of {factor} for {len(own)} widths, got {size}; round it"
                )
        if (size, own) not in found:
            found.append((size, own))
    return found


def look_at(cases: Sequence[Case], domains: Sequence[Domain]) -> tuple[dict[str, Field], list[int]]:
    """By headers alone: the field of view of each domain with cases, by name, and the domain's index of each slice."""
    grids: dict[str, list[tuple[Any, Any]]] = {}
    slices: list[int] = []
    for case in cases:
        index = find_domain(domains, case.domain)
        plane = domains[index].plane
        shape, affine = read_grid(case.image)
        normal = PLANES[plane]
        pixel_mm = np.delete(canonical_spacing_mm(affine), normal)
        grids.setdefault(case.domain, []).append((slice_size(shape, affine, plane=plane) * pixel_mm, pixel_mm))
        slices += [index] * shape[orientation_of(affine)[:, 0].tolist().index(normal)]
    medians = {name: np.median(own, axis=0) for name, own in grids.items()}  # (2, 2): extents and pixels
    return {name: Field(*median) for name, median in medians.items()}, slices


def empty_slices(cases: Sequence[Case], domains: Sequence[Domain]) -> list[bool]:
    """Whether each slice has no bone, in the order of `look_at`; from the label maps of the cases.

    Raises:
        InputError: a label map cannot be read, shows nothing, or has not the slices of its image.
    """
    empty: list[bool] = []
    for case in cases:
        _, slices = look_at([case], domains)
        plane = domains[find_domain(domains, case.domain)].plane
        own: Sequence[bool] = [False] * len(slices)
        if case.label is not None:  # which the data set will ask for
            label = read_label(case.label)
            stack = np.moveaxis(to_canonical(label.array, label.affine), PLANES[plane], 0)
            own = [not each.any() for each in stack]
            check_shows_bone(case.label, found=not all(own))
        if len(own) != len(slices):
            raise InputError(
                f"label map {show_path(case.label or '')} must have the {len(slices)} slices of its image, "
                f"got {len(own)}; resample the labels with nearest neighbour"
            )
        empty += own
    return empty
