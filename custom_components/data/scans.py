"""Scans to segment: items of an inference data set, with names that tell them apart."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from custom_components.data.cases import Case
from custom_components.errors import InputError, show_path
from custom_components.io.nifti_files import case_id
from custom_components.io.records import LABEL_MAP_ENDING, record_path


def list_scans(images: Sequence[str | Path | Mapping[str, Any]] | str | Path) -> list[dict[str, Any]]:
    """Items of an inference data set from paths; a folder stands for the NIfTI files directly in it.

    In a folder, hidden files and label maps of ours (`*_seg.nii.gz` with a `.json`) are left out; a file given
    twice is one. An item's `name`, the case id, is the file's name without extension, with as many folders before it
    (`a_scan`) as it takes to tell apart those of equal names; `shown` names the file likewise (`a/scan.nii`). An item
    of an earlier call is taken as it is.

    Raises:
        InputError: nothing to segment.
    """
    given = [images] if isinstance(images, str | Path) else list(images)
    paths: list[Path] = []
    for path in (Path(each) for each in given if not isinstance(each, Mapping)):
        found = sorted(filter(_is_scan, path.iterdir())) if path.is_dir() else [path]
        if not found and _is_scan(path):
            found = [path]  # a folder called like a file: a bad scan among others
        if not found:
            raise InputError(f"folder {show_path(path)} must hold .nii or .nii.gz files, got none; give another folder")
        paths += found
    unique: dict[str, Path] = {}
    for path in paths:
        unique.setdefault(os.path.realpath(path), path)
    items = [dict(each) for each in given if isinstance(each, Mapping)] + _name_apart(list(unique.values()))
    if not items:
        raise InputError("images must name at least one scan, got none; give a file or a folder")
    return items


def _is_scan(path: Path) -> bool:
    name = path.name.lower()
    ours = name.endswith(LABEL_MAP_ENDING) and record_path(path).exists()
    return name.endswith((".nii", ".nii.gz")) and not name.startswith(".") and not ours


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
    seen: dict[str, int] = {}
    for k, name in enumerate(names):  # left are `scan.nii` and `scan.nii.gz` of one folder
        seen[name.casefold()] = seen.get(name.casefold(), 0) + 1
        names[k] += f"-{seen[name.casefold()]}" if seen[name.casefold()] > 1 else ""
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
