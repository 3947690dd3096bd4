"""Label maps of an output folder and their records, `<case>_seg.nii.gz` (or another format) and `<case>_seg.json`.

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
from custom_components.io.formats import LABEL_ENDINGS, case_id, ending_of
from custom_components.system.files import file_digest, write_atomically

_SUFFIX = "_seg"
RECORD_ENDING = f"{_SUFFIX}.json"
PROBABILITIES = "probabilities"
"""Key of a record, of the probability maps that go with its label map."""


def label_map_path(folder: Path, case: str, *, ending: str | None = None) -> Path:
    """File of a case's label map in an output folder.

    Args:
        folder: the folder.
        case: name of the case.
        ending: of the format to write; by default that of the label map that is there (the record names it), or NIfTI.

    Example:
        >>> label_map_path(Path("out"), "a01", ending=".mha").as_posix()
        'out/a01_seg.mha'
    """
    paths = [folder / f"{case}{_SUFFIX}{each}" for each in LABEL_ENDINGS]
    if ending is not None:
        return folder / f"{case}{_SUFFIX}{ending}"
    found = [path for path in paths if path.is_file()]
    if len(found) > 1:
        recorded = read_record(paths[0]).get("label_map")
        found.sort(key=lambda path: path.name != recorded)
    return found[0] if found else paths[0]


def is_label_map(path: str | Path) -> bool:
    """Whether a file is named as a label map of an output folder, and not hidden.

    Example:
        >>> is_label_map("a01_seg.seg.nrrd"), is_label_map("a01_seg.nii"), is_label_map("a01.nii.gz")
        (True, False, False)
    """
    name = Path(path).name
    return ending_of(name) in LABEL_ENDINGS and case_id(name).endswith(_SUFFIX) and not name.startswith(".")


def find_label_maps(folder: Path) -> dict[str, Path]:
    """The label map of each case in an output folder, in the order of the cases' names."""
    cases = sorted({case_of(path) for path in folder.iterdir() if is_label_map(path)}) if folder.is_dir() else []
    return {case: label_map_path(folder, case) for case in cases}


def probability_paths(label_map: Path, names: Mapping[int, str]) -> dict[int, Path]:
    """Files of the probability maps of a label map's values, by value.

    Example:
        >>> probability_paths(Path("out/a01_seg.nii.gz"), {1: "left femur"})[1].as_posix()
        'out/a01_prob_left_femur.nii.gz'
    """
    files = bone_file_names(names)
    return {value: label_map.with_name(f"{case_of(label_map)}_prob_{name}.nii.gz") for value, name in files.items()}


def is_probability_map(path: Path) -> bool:
    """Whether the record of a label map in the folder names a file as one of its probability maps."""
    parts = case_id(path).split("_prob_")
    cases = ("_prob_".join(parts[:number]) for number in range(1, len(parts)))
    for case in cases:
        maps = read_record(path.with_name(f"{case}{_SUFFIX}.nii.gz")).get(PROBABILITIES)
        known = maps.values() if isinstance(maps, dict) else ()
        if any(isinstance(each, dict) and each.get("file") == path.name for each in known):
            return True
    return False


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


def label_name_files(label_map: Path) -> list[Path]:
    """Files of names and colours next to a label map, which `label_names.write_label_names` writes.

    Example:
        >>> [path.name for path in label_name_files(Path("out/a01_seg.nii.gz"))]
        ['a01_seg.ctbl', 'a01_seg.label', 'a01_dseg.tsv']
    """
    stem = case_id(label_map)
    names = (f"{stem}.ctbl", f"{stem}.label", f"{case_of(label_map)}_dseg.tsv")
    return [label_map.with_name(name) for name in names]


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


def image_digest(image: Path) -> str:
    """SHA-256 of a scan's bytes, in hexadecimal, as `Volume.digest`, with those of its voxels in another file."""
    if ending_of(image) in (".nii", ".nii.gz"):
        return file_digest(image)
    from custom_components.io.raster_files import scan_digest

    return scan_digest(image)


def is_finished(label_map: Path, *, image: Path) -> bool:
    """Whether a label map is unchanged since it was written, and made from `image` as that file is now."""
    record = read_record(label_map)
    stated = record.get("image_sha256"), record.get("label_map_sha256")
    return None not in stated and label_map.is_file() and stated == (image_digest(image), file_digest(label_map))


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
