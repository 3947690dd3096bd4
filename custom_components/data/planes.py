"""Slices of one data set in several planes, each plane a domain of its own in the network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from custom_components.domains import PLANES, Domain
from custom_components.errors import InputError

OWN, ALL = "own", "all"


def add_planes(domains: Sequence[Domain], *, planes: Any = OWN, head: str = "domain") -> list[Domain]:
    """The domains, and behind them the further planes of some, called `<domain>_<plane>`.

    Each plane has norms and, but for bones that share their weights by name, a head of its own: one anatomy looks
    different from each side. `inference.VolumeEvaluator` averages their probabilities.

    Args:
        domains: those of the data sets.
        planes: "own", which adds none; "all", those of all domains; or the names of the domains that get them.
        head: that of the network, "domain": each plane answers in channels of its own.

    Raises:
        InputError: an unknown name, a name that is taken, or a shared head.

    Example:
        >>> [each.name for each in add_planes([Domain("hip", {1: "femur"}, "axial")], planes="all")]
        ['hip', 'hip_sagittal', 'hip_coronal']
    """
    names = [domain.name for domain in domains]
    if planes == OWN:
        return list(domains)
    chosen = names if planes == ALL else list(planes) if isinstance(planes, list | tuple) else [planes]
    unknown = [name for name in chosen if name not in names]
    if unknown:
        raise InputError(f"planes must be own, all, or names among {', '.join(names)}, got {unknown[0]!r}; correct it")
    if chosen and head != "domain":
        raise InputError(f"planes must be own where all domains share a head, got {planes!r}; set head: domain")
    added = [
        replace(domain, name=f"{domain.name}_{plane}", plane=plane, plane_of=domain.name)
        for domain in domains
        for plane in PLANES
        if domain.name in chosen and plane != domain.plane
    ]
    taken = [domain.name for domain in added if domain.name in names]
    if taken:
        raise InputError(f"{taken[0]} must be the name of a further plane alone, got a data set of that name")
    return [*domains, *added]
