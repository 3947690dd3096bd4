"""Scans to segment: items of an inference data set, with names that tell them apart."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from custom_components.data.cases import Case
from custom_components.errors import InputError, show_path
from custom_components.io.formats import KINDS, SEGMENTATION, case_id, is_volume
from custom_components.io.records import is_label_map, is_probability_map, record_path

_NUMBERED = re.compile(r"(?P<case>.+)_(?P<number>\d{4})(\.[a-z]+)+", re.IGNORECASE)


def list_scans(
    images: Sequence[str | Path | Mapping[str, Any]] | str | Path, *, channels: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Items of an inference data set from paths; a folder stands for the volumes directly in it.

    In a folder, hidden files, segmentations of 3D Slicer (`.seg.nrrd`), label maps of ours (`*_seg.nii.gz` or another
    format, with a `.json`) and their maps of probabilities are left out; a file given twice is one. An item's `name`,
    the case id, is the file's name without extension, with as many folders before it (`a_scan`) as it takes to tell
    apart those of equal names; `shown` names the file likewise (`a/scan.nii`). An item of an earlier call is taken as
    it is.

    For images of several channels, of which `channels` are the names, the files `<case>_0000`, `<case>_0001`, ... of a
    folder are one scan, as nnU-Net names them: `image` is the first and `further` holds the others. Its name is the
    case's. A scan with a gap in its numbers, or with more than there are channels, has a `failure`.

    Raises:
        InputError: nothing to segment.
    """
    given = [images] if isinstance(images, str | Path) else list(images)
    paths: list[Path] = []
    for path in (Path(each) for each in given if not isinstance(each, Mapping)):
        found = sorted(filter(is_scan, path.iterdir())) if path.is_dir() else [path]
        if not found and is_scan(path):
            found = [path]  # a folder called like a file: a bad scan among others
        if not found:
            raise InputError(f"folder {show_path(path)} must hold {KINDS} files, got none; give another folder")
        paths += found
    unique: dict[str, Path] = {}
    for path in paths:
        unique.setdefault(os.path.realpath(path), path)
    scans = _grouped(list(unique.values()), channels) if channels else {path: [path] for path in unique.values()}
    items = [dict(each) for each in given if isinstance(each, Mapping)]
    for item, files in zip(_name_apart(list(scans)), scans.values(), strict=True):
        items.append(item if files == [item["image"]] else {**item, **_as_channels(files, channels)})
    if not items:
        raise InputError("images must name at least one scan, got none; give a file or a folder")
    return items


def scan_of_channels(files: Mapping[str, Path] | Sequence[Path], channels: Sequence[str]) -> dict[str, Any]:
    """Item of one scan from the file of each channel by its name, or in their order; the first one names the scan.

    Raises:
        InputError: a channel without a file, or a file without a channel.

    Example:
        >>> item = scan_of_channels({"fat": Path("a/f.nii"), "water": Path("a/w.nii")}, ["water", "fat"])
        >>> item["name"], item["further"]
        ('w', [PosixPath('a/f.nii')])
    """
    rule = (
        f"scan must have the channels {', '.join(channels)}" if channels else "scan must be one file without channels"
    )
    if isinstance(files, Mapping):
        missing = [name for name in channels if name not in files]
        surplus = [name for name in files if name not in channels]
        if missing or surplus:
            found = f"none called {missing[0]}" if missing else f"{surplus[0]} as well"
            raise InputError(f"{rule}, got {found}; give NAME=FILE for each channel of the domain")
        files = [files[name] for name in channels]
    if len(files) != max(1, len(channels)):
        raise InputError(f"{rule}, got {len(files)} files; give one for each channel of the domain")
    first, *further = files
    match = _NUMBERED.fullmatch(Path(first).name)
    name = match["case"] if match and further else case_id(first)
    return {"image": first, "name": name, "shown": show_path(first)} | ({"further": further} if further else {})


def _grouped(paths: Sequence[Path], channels: Sequence[str]) -> dict[Path, list[Path]]:
    """Files of each scan, in the order of their numbers, by a path that is named after the case."""
    found: dict[Path, list[Path]] = {}
    for path in paths:
        match = _NUMBERED.fullmatch(path.name)
        case = path if match is None else path.with_name(f"{match['case']}{path.name[match.end('number') :]}")
        found.setdefault(case, []).append(path)
    return {case: sorted(files) for case, files in found.items()}


def _as_channels(files: Sequence[Path], channels: Sequence[str]) -> dict[str, Any]:
    """What an item states of the numbered files of one scan."""
    numbers = [int(_NUMBERED.fullmatch(path.name)["number"]) for path in files]  # type: ignore[index]
    item: dict[str, Any] = {"image": files[0], "shown": show_path(files[0])}
    gap = next((number for number in range(len(files)) if number not in numbers), None)
    names = ", ".join(f"{number:04d} {name}" for number, name in enumerate(channels))
    rule = f"scan {show_path(files[0])} must have a file for each channel ({names})"
    if gap is not None:
        item["failure"] = f"{rule}, got none with {gap:04d}; add it"
    elif len(files) > len(channels):
        item["failure"] = f"{rule}, got {show_path(files[len(channels)])} as well; take it away"
    return item | ({"further": list(files[1:])} if files[1:] else {})


def is_scan(path: Path) -> bool:
    """Whether a file of a folder is a scan to segment, as far as its name and its neighbours tell."""
    if not is_volume(path) or path.name.lower().endswith(SEGMENTATION):
        return False
    return not (is_label_map(path) and record_path(path).exists()) and not is_probability_map(path)


def _name_apart(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Items whose names differ, also where a file system does not tell upper from lower case."""
    parts = [Path(os.path.abspath(path)).parts for path in paths]
    depths, clashing = [1] * len(paths), [True]
    while any(clashing):
        names = ["_".join((*own[-depth:-1], case_id(own[-1]))) for own, depth in zip(parts, depths, strict=True)]
        folders: dict[str, set[tuple[str, ...]]] = {}
        for own, name in zip(parts, names, strict=True):
            folders.setdefault(name.casefold(), set()).add(own[:-1])
        each = zip(parts, names, depths, strict=True)
        clashing = [len(folders[name.casefold()]) > 1 and depth < len(own) - 1 for own, name, depth in each]
        depths = [depth + more for depth, more in zip(depths, clashing, strict=True)]
    taken, seen = {name.casefold() for name in names}, set[str]()
    for k, name in enumerate(names):  # left are `scan.nii` and `scan.nii.gz` of one folder
        if name.casefold() in seen:
            numbered = (f"{name}-{number}" for number in itertools.count(2))
            names[k] = next(each for each in numbered if each.casefold() not in taken)
            taken.add(names[k].casefold())
        seen.add(name.casefold())
    return [
        {"image": path, "name": name, "shown": show_path(path) if depth == 1 else str(Path(*own[-depth:]))}
        for path, name, own, depth in zip(paths, names, parts, depths, strict=True)
    ]


def list_cases(cases: Sequence[Case]) -> list[dict[str, Any]]:
    """Items of an evaluation data set; results go to a folder a domain."""
    if not cases:
        raise InputError("the split must have a test case, got none; choose another fold or num_folds")
    return [
        {
            **case.scan,
            "reference": case.label,
            "name": f"{case.domain}/{case.name}",
            "case": case.name,
            "subject": case.subject,
            "domain": case.domain,
        }
        for case in cases
    ]
