"""Label maps of an output folder and their records, `<case>_seg.nii.gz` and `<case>_seg.json`.

A record states what a label map was made from, how, and what was measured of each bone. Its keys are those that
`inference.results.ResultFolder` writes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from custom_components.errors import InputError, explain, show_path
from custom_components.io.nifti_files import case_id
from custom_components.system.files import file_digest, write_atomically

_SUFFIX = "_seg"
LABEL_MAP_ENDING = f"{_SUFFIX}.nii.gz"
RECORD_ENDING = f"{_SUFFIX}.json"


def label_map_path(folder: Path, case: str) -> Path:
    """File of a case's label map in an output folder."""
    return folder / f"{case}{LABEL_MAP_ENDING}"


def probability_paths(label_map: Path, names: Mapping[int, str]) -> dict[int, Path]:
    """Files of the probability maps of a label map's values, by value.

    Example:
        >>> probability_paths(Path("out/a01_seg.nii.gz"), {1: "left femur"})[1].as_posix()
        'out/a01_prob_left_femur.nii.gz'
    """
    files = bone_file_names(names)
    return {value: label_map.with_name(f"{case_of(label_map)}_prob_{name}.nii.gz") for value, name in files.items()}


def bone_file_names(names: Mapping[int, str]) -> dict[int, str]:
    """A file name for each label value, also where names differ only in characters that a file name cannot hold."""
    plain = {value: file_name_of(name) for value, name in names.items()}
    taken = [name.casefold() for name in plain.values()]
    return {value: f"{name}_{value}" if taken.count(name.casefold()) > 1 else name for value, name in plain.items()}


def file_name_of(name: str) -> str:
    """A name as the name of a file: without separators and leading dots, never empty."""
    return re.sub(r"[^\w.+-]+", "_", name).lstrip(".")[:100] or "_"


def record_path(label_map: Path) -> Path:
    """File of a label map's record.

    Example:
        >>> record_path(Path("out/a01_seg.nii.gz")).as_posix()
        'out/a01_seg.json'
    """
    return label_map.with_name(f"{case_id(label_map)}.json")


def case_of(label_map: str | Path) -> str:
    """Name of the case that a label map is of.

    Example:
        >>> case_of("out/a01_seg.nii.gz")
        'a01'
    """
    return case_id(label_map).removesuffix(_SUFFIX)


def read_record(label_map: Path) -> dict[str, Any]:
    """Record of a label map; empty if there is none, or none that can be read."""
    try:
        record = json.loads(record_path(label_map).read_bytes())
    except (OSError, ValueError, RecursionError):  # the last for lists in lists, thousands deep
        return {}
    return record if isinstance(record, dict) else {}


def write_record(label_map: Path, record: Mapping[str, Any]) -> None:
    """Write the record of a label map, whole or not at all."""
    write_atomically(record_path(label_map), (json.dumps(record, indent=2) + "\n").encode())


def is_finished(label_map: Path, *, image: Path) -> bool:
    """Whether a label map is unchanged since it was written, and made from `image` as that file is now."""
    record = read_record(label_map)
    stated = record.get("image_sha256"), record.get("label_map_sha256")
    return None not in stated and label_map.is_file() and stated == (file_digest(image), file_digest(label_map))


def read_names(label_map: Path) -> dict[int, str]:
    """Names of a label map's values without the background, in the order of its record; empty without a record.

    Raises:
        InputError: the record holds no names.
    """
    path = record_path(label_map)
    if not path.is_file():
        return {}
    try:
        names = {int(value): str(name) for value, name in json.loads(path.read_text())["labels"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f'record {show_path(path)} must hold "labels": {{value: name}}, got something else ({explain(error)}); '
            "remove it or segment again"
        ) from error
    names.pop(0, None)
    return names
