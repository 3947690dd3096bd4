"""The legend of a label map: name and colour of each bone, the same in pictures, meshes and pages."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from custom_components.domains import COLORS
from custom_components.errors import InputError, show_path
from custom_components.io.nifti_files import case_id

__all__ = ["LegendEntry", "read_legend"]


class LegendEntry(NamedTuple):
    """How a bone is called and drawn."""

    name: str
    color: str


def read_legend(segmentation: Path, values: Iterable[int] = ()) -> dict[int, LegendEntry]:
    """Names and colours of a label map's bones, by label value.

    A bone keeps its colour whether or not the others are in the map: first come those that the record names, in its
    order, then other values in theirs.

    Args:
        segmentation: label map; names come from the `.json` beside it, if there is one.
        values: label values that must be in the legend, named or not.

    Raises:
        InputError: the `.json` cannot be used.
    """
    names = _names(segmentation)
    order = [*names, *sorted(set(values) - names.keys())]
    return {
        value: LegendEntry(names.get(value, f"label {value}"), COLORS[index % len(COLORS)])
        for index, value in enumerate(order)
    }


def _names(segmentation: Path) -> dict[int, str]:
    path = segmentation.with_name(f"{case_id(segmentation)}.json")
    if not path.is_file():
        return {}
    try:
        labels = json.loads(path.read_text())["labels"]
        names = {int(value): str(name) for value, name in labels.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f'record {show_path(path)} must hold "labels": {{value: name}}, got something else ({error!r}); '
            "remove it or segment again"
        ) from error
    names.pop(0, None)
    return names
