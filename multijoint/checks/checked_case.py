"""A checked case: its measurements, digests, small copies and a picture, without its voxels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from custom_components.data.cases import Case
from custom_components.domains import Domain


@dataclass(frozen=True)
class Outline:
    """The flat ends and the lengths of a bone.

    Args:
        faces: largest share of its widest cross-section that begins, and that ends, between the same two planes, for
            each axis (RAS+).
        steps: mean change of the image there, in units of that between neighbours inside the bone.
        extents_mm: standard deviation of its voxels along each axis.
    """

    faces: tuple[float, ...]
    steps: tuple[float, ...]
    extents_mm: tuple[float, ...]


@dataclass(frozen=True)
class BoneMeasure:
    """A bone of a reference label map.

    Args:
        index: class index, which also gives its colour.
        large: volumes of its 6-connected components from 1 % of it on, in ml, largest first.
        num_far: components that lie far away from the largest.
        num_voxels: its size in voxels.
        centre_mm: its centre in RAS+ mm, from a corner of the field of view.
        at_edge: whether it reaches the edge of the field of view, which may then have cut it.
    """

    index: int
    volume_ml: float
    large: tuple[float, ...]
    num_components: int
    num_far: int
    num_voxels: int
    centre_mm: tuple[float, float, float]
    outline: Outline
    at_edge: bool


@dataclass(frozen=True)
class Digests:
    """SHA-256 in hexadecimal, empty where there is nothing to digest.

    Args:
        voxels: the image in RAS+ order.
        labels: the labels in RAS+ order; with so few voxels that chance may make them equal, empty.
        bones: the labels likewise, but only the box around all bones.
    """

    image_file: str = ""
    label_file: str = ""
    voxels: str = ""
    labels: str = ""
    bones: str = ""


def no_array() -> np.ndarray:
    """An empty array, for one that could not be made."""
    return np.zeros(0, np.float32)


@dataclass(frozen=True)
class CheckedCase:
    """A case with its measurements; an unreadable one has only `problems`.

    Args:
        problems: (rule, message) of each reason why it is unusable.
        shape: of the image, as stored.
        sizes: of the image, in RAS+ order.
        spacing_mm: in RAS+ order.
        axes: axis codes as stored, such as "LPS".
        centre_mm: middle of the field of view in world mm, RAS+.
        thick_plane: plane whose normal is the one axis with much larger voxels; None if there is none.
        thumbnail: the image in RAS+ order in a few voxels, zero mean, unit length.
        bone_thumbnail: likewise of the box around all bones.
        layout: where the bones are: the labels likewise, a small copy a bone of the domain.
        percentiles: 0, 1, 50, 99 and 100 % of the intensities.
        num_levels: different intensities, counted to 1000.
        quantum: the number that all intensities are multiples of, apart from an offset; 0 if there is none.
        lowest_share: share of voxels that have the lowest intensity.
        contrast: mean intensity in the bones over that of the whole image, both from the 1 % percentile.
        roughness: steps between neighbours along the smoothest axis, see `measures.roughness`.
        fits: how well labels follow the image's edges as they are and mirrored, see `measures.edge_fits`.
        layers: intensities around each bone for many placements of the labels, see `placement.layer_sums`.
        peaks: fingerprint of the image, see `fingerprints.fingerprint`.
    """

    case: Case
    problems: tuple[tuple[str, str], ...] = ()
    remarks: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()
    sizes: tuple[int, ...] = ()
    spacing_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    axes: str = ""
    centre_mm: tuple[float, ...] = (0.0, 0.0, 0.0)
    thick_plane: str | None = None
    digests: Digests = field(default_factory=Digests)
    thumbnail: np.ndarray = field(default_factory=no_array)
    bone_thumbnail: np.ndarray = field(default_factory=no_array)
    layout: np.ndarray = field(default_factory=no_array)
    percentiles: tuple[float, ...] = ()
    num_levels: int = 0
    quantum: float = 0.0
    lowest_share: float = 0.0
    contrast: float = float("nan")
    roughness: float = 0.0
    fits: tuple[float, ...] = ()
    layers: np.ndarray = field(default_factory=no_array)
    peaks: np.ndarray = field(default_factory=no_array)
    bones: Mapping[str, BoneMeasure] = field(default_factory=dict)
    picture: bytes = b""

    @property
    def name(self) -> str:
        """Name of the case."""
        return self.case.name

    @property
    def domain(self) -> str:
        """Name of its domain."""
        return self.case.domain

    @property
    def subject(self) -> str:
        """Its person."""
        return self.case.subject


Said = Iterator[tuple[str, str, str]]
"""Results of a rule: level, name of the case (empty for the data set) and message."""

Rule = Callable[[Sequence[CheckedCase], Domain], Said]
"""Looks at the readable cases of one data set."""
