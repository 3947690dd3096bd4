"""Names of label values, read from files of other programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from custom_components.errors import InputError, explain, show_path
from custom_components.io.label_name_files import NAME_FILES, read_labels, read_text, visible_files
from custom_components.io.label_names import clean_name
from custom_components.io.records import RECORD_ENDING


class LabelNames(NamedTuple):
    """Names of label values, and what else a file says of its labels.

    Args:
        names: value -> name of a bone, without the background 0.
        ignored: values of voxels that nobody has annotated.
        notes: what was understood otherwise than as the name of one bone, a line each.
    """

    names: dict[int, str]
    ignored: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()


def find_label_names(folder: Path, *, label_maps: Sequence[Path] = ()) -> tuple[LabelNames, str]:
    """Names of label values from the first file with names in a folder or its subfolders, or else from label maps.

    The order is `dataset.json` of nnU-Net or the Medical Segmentation Decathlon, `*dseg.tsv` of BIDS, segmentations
    (`.seg.nrrd`) and colour tables (`.ctbl`) of 3D Slicer, label descriptions of ITK-SNAP (`.label`, `.txt`), and
    records of `multijoint segment` (`*_seg.json`). Then come the headers of `label_maps`, all of them together.

    Returns:
        The names, and the name of the file. Both are empty if no file has names.
    """
    for pattern in ("dataset.json", *NAME_FILES, f"*{RECORD_ENDING}"):
        for path in visible_files(folder, pattern, f"*/{pattern}", f"derivatives/*/{pattern}"):
            found = _try(path)
            if found.names or found.notes:
                return found, path.name
    names: dict[int, str] = {}
    source = ""
    for path in label_maps:
        own = _try(path).names
        source = source or (path.name if own else "")
        names = own | names
    return LabelNames(names), source


def read_label_names(path: Path) -> LabelNames:
    """Names of label values from one file; see `find_label_names`.

    Raises:
        InputError: the file holds no names.
    """
    why = ""
    try:
        found = _read(path)
        why = f"; {'; '.join(found.notes)}" if found.notes else ""
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        found = LabelNames({})
        why = f"; {explain(error)}" if isinstance(error, InputError) else ""
    if not found.names:
        raise InputError(
            f"names of labels in {show_path(path)} must be a dataset.json, dseg.tsv, .seg.nrrd, .ctbl or an ITK-SNAP "
            f"label description, got no name{why}; correct the file or leave it out"
        )
    return found


def sort_names(given: Mapping[int, str]) -> LabelNames:
    """Names without the background, and without nnU-Net's `ignore`, which is no bone.

    Example:
        >>> sort_names({0: "background", 1: "talus", 4: "ignore"})[:2]
        ({1: 'talus'}, (4,))
    """
    named = {value: clean_name(name) for value, name in given.items() if value and clean_name(name)}
    ignored = tuple(sorted(value for value, name in named.items() if name.lower() == "ignore"))
    return LabelNames({value: name for value, name in named.items() if value not in ignored}, ignored)


def _try(path: Path) -> LabelNames:
    try:
        return _read(path)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return LabelNames({})


def _read(path: Path) -> LabelNames:
    if path.suffix.lower() == ".json":
        names, notes = _json(read_text(path))
        return sort_names(names)._replace(notes=tuple(notes))
    return sort_names({value: label.name for value, label in read_labels(path).items()})


def _json(text: str) -> tuple[dict[int, str], list[str]]:
    """Either way round: `"1": "talus"` as in the Decathlon, `"talus": 1` as in nnU-Net, where values may be text."""
    names: dict[int, str] = {}
    notes: list[str] = []
    for key, value in json.loads(text)["labels"].items():
        single = value[0] if isinstance(value, list) and len(value) == 1 else value
        if isinstance(single, list):
            notes.append(f"{key!r} is a region of the values {', '.join(map(str, single))}, not the name of one bone")
        elif (number := _whole(single)) is not None and (_whole(key) is None or not isinstance(single, str)):
            names[number] = str(key)
        elif (number := _whole(key)) is not None and isinstance(single, str):
            names[number] = single
        else:
            notes.append(f"label {key!r} has {value!r}, which is neither a whole number nor a name")
    return names, notes


def _whole(value: object) -> int | None:
    """A whole number, also as text or as 2.0."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return int(number) if number.is_integer() else None
