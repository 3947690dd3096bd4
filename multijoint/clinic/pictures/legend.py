"""The legend of a label map: name and colour of each bone, the same in pictures, meshes and pages."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from custom_components.io.pictures import bone_color
from custom_components.io.records import read_names

__all__ = ["LegendEntry", "read_legend"]


class LegendEntry(NamedTuple):
    """How a bone is called and drawn."""

    name: str
    color: str


def read_legend(segmentation: Path, values: Iterable[int] = ()) -> dict[int, LegendEntry]:
    """Names and colours of a label map's bones, by label value.

    A bone keeps its colour whether or not the others are in the map: first come those that the record names, in its
    order, then other values in theirs. The record is the `.json` next to the label map, if there is one; `values` must
    be in the legend, named or not.

    Raises:
        InputError: the `.json` cannot be used.
    """
    names = read_names(segmentation)
    order = [*names, *sorted(set(values) - names.keys())]
    return {
        value: LegendEntry(names.get(value, f"label {value}"), bone_color(place))
        for place, value in enumerate(order, 1)
    }
