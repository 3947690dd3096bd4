"""Domains: the name, label set and slicing plane of a data set, which are stored with trained weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from custom_components.errors import InputError

__all__ = ["COLORS", "Domain", "PLANES", "bone_color", "check_planes", "find_domain", "output_channels", "planes_of"]

COLORS = ["#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#D55E00", "#F0E442", "#0072B2"]
"""Okabe and Ito's palette without black, distinguishable by colour-blind readers; used in label order, cyclically."""

PLANES = {"sagittal": 0, "coronal": 1, "axial": 2}
"""Slicing plane -> stacking axis of its slices in a volume in RAS+ order (x to the right, y anterior, z superior)."""


def bone_color(index: int) -> str:
    """Colour of a class, as `#rrggbb`; class 1 has the first of `COLORS`."""
    return COLORS[(index - 1) % len(COLORS)]


@dataclass(frozen=True)
class Domain:
    """A data set's labels and slicing plane.

    Class 0 is background (label value 0); class `i + 1` is the i-th entry of `labels`.

    Args:
        name: short identifier, e.g. "ankle".
        labels: foreground label value in the files -> name, in class order. Values lie in 1..255 and need not be dense.
        plane: acquisition plane, one of `PLANES`; slices are taken along its normal.
        modality: free text, e.g. "MR T1 gradient echo".
        channels: names of the channels of an image, in order, e.g. ("water", "fat"); none for images of one channel.
        plane_of: name of the domain whose volumes this one slices in another plane; "" for a domain by itself.

    Example:
        >>> ankle = Domain("ankle", {5: "calcaneus", 2: "talus"}, "axial")
        >>> ankle.num_classes
        3
        >>> ankle.encode(np.array([0, 5, 2]), source="scan.nii.gz")
        array([0, 1, 2], dtype=uint8)
        >>> ankle.decode(np.array([0, 1, 2]))
        array([0, 5, 2], dtype=uint8)
    """

    name: str
    labels: Mapping[int, str]
    plane: str
    modality: str = "MR"
    channels: Sequence[str] = ()
    plane_of: str = ""

    def __post_init__(self) -> None:
        if self.plane not in PLANES:
            raise InputError(f"plane of domain {self.name} must be one of {', '.join(PLANES)}, got {self.plane!r}")
        bad = [value for value in self.labels if not 1 <= value <= 255]
        if bad or not self.labels:
            raise InputError(
                f"label values of domain {self.name} must be whole numbers from 1 to 255 (0 is background), "
                f"got {bad or 'none'}; renumber them in the manifest and the label files"
            )
        if len(set(self.labels.values())) != len(self.labels):
            raise InputError(f"label names of domain {self.name} must differ, got {list(self.labels.values())}")
        names = list(self.channels)
        odd = [name for name in names if not (isinstance(name, str) and name.strip() and name.isprintable())]
        if len(names) == 1 or len(set(names)) != len(names) or odd or any("=" in name for name in names):
            rule = f"channels of domain {self.name} must be two or more different names without '='"
            raise InputError(f"{rule}, got {names}; leave channels out for images of one channel")
        object.__setattr__(self, "channels", tuple(names))

    @property
    def num_channels(self) -> int:
        """Number of channels of an image, each a file."""
        return max(1, len(self.channels))

    @property
    def num_classes(self) -> int:
        """Number of classes, background included."""
        return len(self.labels) + 1

    def encode(self, values: np.ndarray, *, source: str) -> np.ndarray:
        """Turn label values into class indices.

        Args:
            values: label map of any numeric type and shape.
            source: name of the file, for the error message.

        Returns:
            `uint8` array of the same shape, in 0..num_classes-1.

        Raises:
            InputError: a value is not a label of this domain.
        """
        # A lookup table; `np.unique` or `np.searchsorted` would take seconds for a large volume.
        class_of = np.full(256, -1, dtype=np.int16)
        class_of[[0, *self.labels]] = range(self.num_classes)
        with np.errstate(invalid="ignore"):  # NaN becomes an arbitrary byte, which differs from NaN below
            as_bytes = np.clip(values, 0, 255).astype(np.uint8)
        classes = class_of[as_bytes]
        unknown = (classes < 0) | (as_bytes != values)
        if unknown.any():
            shown = ", ".join(f"{value:g}" for value in np.unique(values[unknown])[:5])
            raise InputError(
                f"label values in {source} must be 0 or one of {list(self.labels)} (domain {self.name}), "
                f"got {shown}; correct the file or add the label to the manifest"
            )
        return classes.astype(np.uint8)

    def decode(self, classes: np.ndarray) -> np.ndarray:
        """Turn class indices (0..num_classes-1) back into the `uint8` label values of the files."""
        return np.array([0, *self.labels], dtype=np.uint8)[classes]

    def to_dict(self) -> dict[str, Any]:
        """Plain types only, so that a checkpoint loads with `weights_only=True`; `from_dict` reverses it."""
        return {
            "name": self.name,
            "labels": [[value, name] for value, name in self.labels.items()],
            "plane": self.plane,
            "modality": self.modality,
            **({"channels": list(self.channels)} if self.channels else {}),
            **({"plane_of": self.plane_of} if self.plane_of else {}),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Domain:
        """Rebuild a domain from `to_dict`."""
        labels = {int(value): str(name) for value, name in data["labels"]}
        channels = tuple(str(name) for name in data.get("channels", ()))
        of = str(data.get("plane_of") or "")
        return cls(str(data["name"]), labels, str(data["plane"]), str(data["modality"]), channels, of)


def find_domain(domains: Sequence[Domain], name: str | None) -> int:
    """Index of the domain called `name`; `None` is accepted if there is only one data set.

    Raises:
        InputError: the name is unknown, or missing although there are several domains.
    """
    names, own = [domain.name for domain in domains], [domain.name for domain in domains if not domain.plane_of]
    if name is None and len(own) == 1:
        return names.index(own[0])
    if name not in names:
        raise InputError(f"domain must be one of {', '.join(own)}, got {name!r}; name the one the scan belongs to")
    return names.index(name)


def planes_of(domains: Sequence[Domain], name: str | None) -> list[int]:
    """Indices of a domain and of those that slice its volumes in other planes, the domain itself first.

    Raises:
        InputError: see `find_domain`.

    Example:
        >>> hip = Domain("hip", {1: "femur"}, "axial")
        >>> domains = [hip, Domain("hip_coronal", {1: "femur"}, "coronal", plane_of="hip")]
        >>> planes_of(domains, "hip"), planes_of(domains, "hip_coronal")
        ([0, 1], [1])
    """
    own = find_domain(domains, name)
    return [own, *(index for index, each in enumerate(domains) if each.plane_of == domains[own].name)]


def check_planes(domains: Sequence[Domain], head: str) -> None:
    """Refuse a further plane whose data set does not stand before it with the same labels, and a shared head with any.

    Raises:
        InputError: naming the plane.
    """
    known: dict[str, Domain] = {}
    for domain in domains:
        own = known.get(domain.plane_of)
        if not domain.plane_of:
            known[domain.name] = domain
        elif own is None or list(own.labels.items()) != list(domain.labels.items()) or own.channels != domain.channels:
            rule = f"plane {domain.name} must come after a data set {domain.plane_of} of the same labels and channels"
            raise InputError(f"{rule}, got none; train again")
        elif head != "domain":
            raise InputError(f"plane {domain.name} must have a head of its own, got head {head!r}; train again")


def output_channels(num_classes: Sequence[int], head: str) -> list[list[int]]:
    """For each domain, the output channel of each of its classes.

    With domain-specific heads, each domain has separate channels 0..C_k-1. With one shared head, the channels are the
    union: background first, then the foreground classes of each domain in turn.

    Args:
        num_classes: classes of each domain, background included.
        head: "domain" or "shared".

    Example:
        >>> output_channels([4, 3], "domain")
        [[0, 1, 2, 3], [0, 1, 2]]
        >>> output_channels([4, 3], "shared")
        [[0, 1, 2, 3], [0, 4, 5]]
    """
    if head not in ("domain", "shared"):
        raise InputError(f"head must be 'domain' or 'shared', got {head!r}")
    channels, first = [], 1
    for count in num_classes:
        channels.append([0, *range(first, first + count - 1)])
        first += count - 1 if head == "shared" else 0
    return channels
