"""Names of label values, read from files of other programs."""

from __future__ import annotations

import codecs
import csv
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from custom_components.errors import InputError, show_path
from custom_components.io.records import RECORD_ENDING

_MOST_BYTES = 2**20  # of a file of names
_SNAP = re.compile(r'^\s*(\d+)\s+\d+\s+\d+\s+\d+\s+[\d.]+\s+\d\s+\d\s+"(.*)"\s*$')
_COLOURS = re.compile(r"^\s*(\d+)\s+(\S+)\s+\d+\s+\d+\s+\d+\s+\d+\s*$")


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


def find_label_names(folder: Path) -> tuple[LabelNames, str]:
    """Names of label values from the first file with names in a folder or its subfolders.

    The order is `dataset.json` of nnU-Net or the Medical Segmentation Decathlon, `*dseg.tsv` of BIDS, colour tables of
    3D Slicer (`.ctbl`), label descriptions of ITK-SNAP (`.txt`, `.label`), and records of `multijoint segment`
    (`*_seg.json`).

    Returns:
        The names, and the name of the file. Both are empty if no file has names.
    """
    for pattern in ("dataset.json", "*dseg.tsv", "*.ctbl", "*.label", "*.txt", f"*{RECORD_ENDING}"):
        for path in sorted(
            [*folder.glob(pattern), *folder.glob(f"*/{pattern}"), *folder.glob(f"derivatives/*/{pattern}")]
        ):
            found = _try(path)
            if found.names or found.notes:
                return found, path.name
    return LabelNames({}), ""


def read_label_names(path: Path) -> LabelNames:
    """Names of label values from one file; see `find_label_names`.

    Raises:
        InputError: the file holds no names.
    """
    found = _try(path)
    if not found.names:
        why = f"; {'; '.join(found.notes)}" if found.notes else ""
        raise InputError(
            f"names of labels in {show_path(path)} must be a dataset.json, dseg.tsv, .ctbl or an ITK-SNAP label "
            f"description, got no name{why}; correct the file or leave it out"
        )
    return found


def sort_names(given: Mapping[int, str]) -> LabelNames:
    """Names without the background, and without nnU-Net's `ignore`, which is no bone.

    Example:
        >>> sort_names({0: "background", 1: "talus", 4: "ignore"})[:2]
        ({1: 'talus'}, (4,))
    """
    named = {value: name.strip() for value, name in given.items() if value and name.strip()}
    ignored = tuple(sorted(value for value, name in named.items() if name.lower() == "ignore"))
    return LabelNames({value: name for value, name in named.items() if value not in ignored}, ignored)


def _try(path: Path) -> LabelNames:
    readers: dict[str, Callable[[str], tuple[dict[int, str], list[str]]]] = {".json": _json, ".tsv": _tsv}
    try:
        if path.stat().st_size > _MOST_BYTES:
            return LabelNames({})
        names, notes = readers.get(path.suffix.lower(), _lines)(_decode(path.read_bytes()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return LabelNames({})
    return sort_names(names)._replace(notes=tuple(notes))


def _decode(data: bytes) -> str:
    """Text in UTF-8, in UTF-16 with its mark, or as Windows writes it in Western Europe."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252")


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


def _tsv(text: str) -> tuple[dict[int, str], list[str]]:
    return {int(row["index"]): row["name"] for row in csv.DictReader(text.splitlines(), delimiter="\t")}, []


def _lines(text: str) -> tuple[dict[int, str], list[str]]:
    found = [_SNAP.match(line) or _COLOURS.match(line) for line in text.splitlines()]
    return {int(match[1]): match[2] for match in found if match}, []
