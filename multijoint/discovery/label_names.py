"""Names of label values, read from files of other programs."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path

from custom_components.errors import InputError, show_path
from custom_components.io.records import RECORD_ENDING

_MOST_BYTES = 2**20  # of a file of names
_SNAP = re.compile(r'^\s*(\d+)\s+\d+\s+\d+\s+\d+\s+[\d.]+\s+\d\s+\d\s+"(.*)"\s*$')
_COLOURS = re.compile(r"^\s*(\d+)\s+(\S+)\s+\d+\s+\d+\s+\d+\s+\d+\s*$")


def find_label_names(folder: Path) -> tuple[dict[int, str], str]:
    """Names of label values from the first file with names in a folder or its subfolders.

    The order is `dataset.json` of nnU-Net or the Medical Segmentation Decathlon, `*dseg.tsv` of BIDS, colour tables of
    3D Slicer (`.ctbl`), label descriptions of ITK-SNAP (`.txt`, `.label`), and records of `multijoint segment`
    (`*_seg.json`).

    Returns:
        Value -> name, without the background 0, and the name of the file. Both are empty if no file has names.
    """
    for pattern in ("dataset.json", "*dseg.tsv", "*.ctbl", "*.label", "*.txt", f"*{RECORD_ENDING}"):
        for path in sorted(
            [*folder.glob(pattern), *folder.glob(f"*/{pattern}"), *folder.glob(f"derivatives/*/{pattern}")]
        ):
            names = _try(path)
            if names:
                return names, path.name
    return {}, ""


def read_label_names(path: Path) -> dict[int, str]:
    """Names of label values from one file; see `find_label_names`.

    Raises:
        InputError: the file holds no names.
    """
    names = _try(path)
    if not names:
        raise InputError(
            f"names of labels in {show_path(path)} must be a dataset.json, dseg.tsv, .ctbl or an ITK-SNAP label "
            "description, got no name; correct the file or leave it out"
        )
    return names


def _try(path: Path) -> dict[int, str]:
    readers: dict[str, Callable[[str], dict[int, str]]] = {".json": _json, ".tsv": _tsv}
    try:
        if path.stat().st_size > _MOST_BYTES:
            return {}
        text = path.read_text(encoding="utf-8-sig")
        names = readers.get(path.suffix.lower(), _lines)(text)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}
    return {value: name.strip() for value, name in names.items() if value and name.strip()}


def _json(text: str) -> dict[int, str]:
    labels = json.loads(text)["labels"]
    if all(isinstance(value, int) for value in labels.values()):  # nnU-Net: name -> value
        return {value: str(name) for name, value in labels.items()}
    return {int(value): str(name) for value, name in labels.items()}


def _tsv(text: str) -> dict[int, str]:
    return {int(row["index"]): row["name"] for row in csv.DictReader(text.splitlines(), delimiter="\t")}


def _lines(text: str) -> dict[int, str]:
    found = [_SNAP.match(line) or _COLOURS.match(line) for line in text.splitlines()]
    return {int(match[1]): match[2] for match in found if match}
