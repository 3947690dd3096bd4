"""Data manifests: the files of a data set, the meaning of their labels, and their subjects."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from custom_components.data.cases import Case, take_corrections
from custom_components.data.layouts import (
    check_relative,
    files_of_channels,
    is_dataset_json,
    match_pattern,
    translate_dataset_json,
)
from custom_components.domains import PLANES, Domain
from custom_components.errors import InputError, show_path, suggest
from custom_components.io.formats import case_id
from custom_components.io.geometry import canonical_spacing_mm, orientation_of
from custom_components.io.volumes import read_grid
from custom_components.postprocessing.rows import find_row

_CUBE = 1.2  # times as long as wide: up to here a voxel shows no plane of acquisition
_LONGER = 7 / 6

_TOP: dict[str, Any] = {
    **dict.fromkeys(
        ("domain", "description", "modality", "plane", "licence", "source", "root", "tested", "corrections"), str
    ),
    **{"slice_axis": int, "labels": dict, "channels": list, "cases": (list, dict)},
}
_IMAGE = (str, list, dict)
_CASE = {**dict.fromkeys(("name", "image", "label", "subject", "group"), str), "image": _IMAGE}
_PATTERN = {**dict.fromkeys(("image", "label", "subject", "subject_pattern"), str), "image": _IMAGE}
_MOST_BITS = 64
_TYPE_NAMES: dict[Any, str] = {
    **{str: "text (in quotes if it looks like a number)", int: "a whole number", dict: "a mapping", list: "a list"},
    _IMAGE: "a file, or one for each of the channels",
}


@dataclass(frozen=True)
class Manifest:
    """One data set: its domain, its cases in order, and where it comes from."""

    domain: Domain
    cases: tuple[Case, ...]
    licence: str
    source: str
    path: Path


def load_manifest(path: str | Path, *, dataset_dir: str | Path | None = None, check_files: bool = True) -> Manifest:
    """Read and check a manifest; `data_manifests/README.md` shows the format.

    A `dataset.json` of the Medical Segmentation Decathlon or of nnU-Net v2 is accepted unchanged: its files lie
    in the same folder, and every case counts as its own subject. It names no plane: slices run along the last array
    axis, or, where voxels are about cubes, along the longest side of most images if that is longer than the others by a
    sixth. Such slices are small and many. Vertebrae in a row, which must be seen together, stay along the last axis.

    Args:
        path: YAML or JSON.
        dataset_dir: what `root` is relative to; the manifest's own folder if None. Not used for a `dataset.json`.
        check_files: whether files must exist. If not, a pattern may match nothing, and without any image `slice_axis`
            is taken as an axis of a volume in RAS+ order; images that cannot be read have no say in it.

    Raises:
        InputError: the manifest breaks a rule of the format, or a file is missing.
    """
    path = Path(path)
    data = given = _parse(path)
    base = path.parent if dataset_dir is None else Path(dataset_dir)
    if is_dataset_json(given, path):
        data, base = translate_dataset_json(given, path), path.parent
    _check_keys(data, _TOP, required=("domain", "labels", "licence", "source", "cases"), where=str(path))
    name = data["domain"]
    if not re.fullmatch(r"[a-z0-9_-]+", name):
        raise InputError(f"domain in {path} must be lower-case letters, digits, _ or -, got {name!r}; rename it")
    root = base / check_relative(data.get("root", "."), key="root", where=str(path))
    if check_files and not root.is_dir():
        shown = show_path(root)
        raise InputError(f"root of {path} must be an existing folder, got {shown}; set root: or the data set folder")
    entries = data["cases"] if isinstance(data["cases"], list) else _expand(data, root, path, check_files)
    cases = tuple(_read_case(entry, index, root, data, path) for index, entry in enumerate(entries))
    if "corrections" in data:
        folder = root / check_relative(data["corrections"], key="corrections", where=str(path))
        cases = take_corrections(cases, folder, where=str(path), strict=check_files)
    if check_files:
        _check_files(cases, given.get("numTraining", len(cases)), path)
    labels, images = _read_labels(data["labels"], path), [case.image for case in cases if case.image.is_file()]
    small = data is not given and not find_row(list(labels.values()))
    plane = _find_plane(data, images, path, strict=check_files, small=small)
    try:
        domain = Domain(name, labels, plane, data.get("modality", "MR"), data.get("channels", ()))
    except InputError as error:
        raise InputError(f"{error} ({path})") from error
    return Manifest(domain, cases, data["licence"], data["source"], path)


def load_manifests(
    paths: str | Path | Sequence[str | Path], *, dataset_dir: str | Path | None = None
) -> list[Manifest]:
    """Read one manifest per domain, in the given order.

    Args:
        paths: manifest files, or a single one.
        dataset_dir: folder that their relative paths start from; by default that of each manifest.

    Raises:
        InputError: no path, two manifests of one domain, or see `load_manifest`.
    """
    paths = [paths] if isinstance(paths, (str, Path)) else list(paths)
    if not paths:
        raise InputError("manifests must be one or more files, got none; name one, as multijoint init writes it")
    manifests: dict[str, Manifest] = {}
    for path in paths:
        manifest = load_manifest(path, dataset_dir=dataset_dir)
        first = manifests.setdefault(manifest.domain.name, manifest)
        if first is not manifest:
            raise InputError(
                f"domain of {path} must differ from the others, got {manifest.domain.name!r} as in {first.path}; "
                "rename one of them"
            )
    return list(manifests.values())


class _Loader(yaml.SafeLoader):
    """YAML in which a key that appears twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        build = partial(self.construct_object, deep=True)
        return _unique([(build(key), build(value)) for key, value in node.value])


def _unique(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    keys = [key for key, _ in pairs]
    repeated = sorted({str(key) for key in keys if keys.count(key) > 1})
    if repeated:
        raise ValueError(f"the key {', '.join(repeated)} twice")
    return dict(pairs)


def _parse(path: Path) -> dict[str, Any]:
    suffix = path.suffix.lower()
    if suffix not in (".yaml", ".yml", ".json") or not path.is_file():
        raise InputError(f"manifest must be an existing .yaml or .json file, got {path}; check the path")
    try:
        text = path.read_text(encoding="utf-8")
        data = json.loads(text, object_pairs_hook=_unique) if suffix == ".json" else yaml.load(text, Loader=_Loader)
    except (ValueError, TypeError, RecursionError, yaml.YAMLError) as error:
        raise InputError(f"manifest {path} must be valid {suffix[1:]}, got: {error}; correct it") from error
    if _has_huge_number(data):
        raise InputError(f"numbers in manifest {path} must have at most 64 bits, got a longer one; correct it")
    if not isinstance(data, dict):
        raise InputError(
            f"manifest {path} must be a mapping of keys, got {type(data).__name__}; see data_manifests/README.md"
        )
    return data


def _has_huge_number(data: Any) -> bool:
    """Whether a number is too long even to be printed in an error; keys of mappings included."""
    waiting = [data]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict | list):
            waiting += [*each, *each.values()] if isinstance(each, dict) else each
        elif isinstance(each, int) and each.bit_length() > _MOST_BITS:
            return True
    return False


def _check_keys(data: Any, table: Mapping[str, Any], *, required: Sequence[str], where: str) -> None:
    if not isinstance(data, dict):
        raise InputError(f"{where} must be a mapping, got {data!r}; allowed keys are {', '.join(table)}")
    for key, value in data.items():
        if key not in table:
            raise InputError(f"key in {where} must be a known one, got {key!r}; {suggest(str(key), table)}")
        if not isinstance(value, table[key]) or isinstance(value, bool) or value == "":
            rule = _TYPE_NAMES.get(table[key], "a list or a mapping")
            raise InputError(f"{key} in {where} must be {rule}, got {value!r}; correct it")
    for key in required:
        if key not in data:
            raise InputError(f"{key} in {where} must be given, got nothing; add it")


def _read_labels(labels: dict[Any, Any], path: Path) -> dict[int, str]:
    found: dict[int, str] = {}
    for key, name in labels.items():
        if isinstance(key, bool) or not re.fullmatch(r"\d{1,3}", str(key)) or int(key) in found:
            raise InputError(f"label value in {path} must be a whole number given once, got {key!r}; correct labels")
        if not isinstance(name, str) or not name:
            raise InputError(f"name of label {key} in {path} must be text, got {name!r}; put it in quotes")
        found[int(key)] = name
    if found.get(0, "background").lower() != "background":
        raise InputError(f"label 0 in {path} must be background, got {found[0]!r}; renumber the labels")
    return {value: name for value, name in found.items() if value}


def _expand(data: dict[str, Any], root: Path, path: Path, check_files: bool) -> list[dict[str, Any]]:
    pattern, where = data["cases"], f"cases of {path}"
    _check_keys(pattern, _PATTERN, required=("image",), where=where)
    image, *further = files_of_channels(pattern["image"], data.get("channels", ()), where=where)
    entries = match_pattern({**pattern, "image": image}, root, further=further, where=where)
    if check_files and not entries:
        found = f"in {show_path(root)}, got none for {image}"
        raise InputError(f"{where} must match files {found}; check root and pattern")
    return entries


def _read_case(entry: Any, index: int, root: Path, data: dict[str, Any], path: Path) -> Case:
    where = f"case {index + 1} of {path}"
    _check_keys(entry, _CASE, required=("image",), where=where)
    files = files_of_channels(entry["image"], data.get("channels", ()), where=where)
    image, *further = (root / check_relative(file, key="image", where=where) for file in files)
    label = root / check_relative(entry["label"], key="label", where=where) if "label" in entry else None
    name = entry.get("name", case_id(image))
    if re.search(r"[/\\]|^\.", name):
        raise InputError(
            f"name in {where} must be usable as a file name, got {name!r}; leave out slashes and leading dots"
        )
    return Case(name, data["domain"], image, label, entry.get("subject", name), entry.get("group"), tuple(further))


def _check_files(cases: Sequence[Case], expected: int, path: Path) -> None:
    repeated = sorted(name for name, count in Counter(case.name for case in cases).items() if count > 1)
    if repeated:
        raise InputError(f"case names in {path} must differ, got {', '.join(repeated)} twice; set name:")
    if not cases or len(cases) != expected:
        stated = "one or more" if expected == len(cases) else f"{expected} (numTraining)"
        raise InputError(f"cases of {path} must be {stated}, got {len(cases)}; check that all files are there")
    for case in cases:
        for key, file in (*(("image", image) for image in case.images), ("label", case.label)):
            if file is not None and not file.is_file():
                missing = f"got no file {show_path(file)}"
                raise InputError(f"{key} of case {case.name} in {path} must exist, {missing}; check root and path")


def _find_plane(data: dict[str, Any], images: Sequence[Path], path: Path, *, strict: bool, small: bool) -> str:
    if ("plane" in data) == ("slice_axis" in data):
        found = "both" if "plane" in data else "none"
        raise InputError(f"{path} must have either plane or slice_axis, got {found}; keep one")
    if "plane" in data:
        return data["plane"]
    axis = data["slice_axis"]
    if axis not in (0, 1, 2):
        raise InputError(f"slice_axis in {path} must be 0, 1 or 2, got {axis}; count the array axes from 0")
    names = {index: name for name, index in PLANES.items()}
    planes: dict[Path, str] = {}
    longest: Counter[int | None] = Counter()
    for image in images:
        try:
            shape, affine = read_grid(image)
        except InputError:
            if strict:
                raise
            continue
        order = orientation_of(affine)[:, 0]
        planes[image] = names[int(order[axis])]
        longest[_longest_side(np.asarray(shape)[np.argsort(order)], canonical_spacing_mm(affine))] += 1
    values = list(planes.values()) or [names[axis]]
    [(usual, _)] = Counter(values).most_common(1)  # the first of equally frequent ones
    for image, plane in planes.items():
        if plane != usual and strict:
            name = show_path(image)
            raise InputError(
                f"slices of {name} along axis {axis} must be {usual} as in the other files, got {plane}; set plane:"
            )
    side = longest.most_common(1)[0][0] if small and longest else None
    return usual if side is None else names[side]


def _longest_side(shape: np.ndarray, spacing_mm: Sequence[float]) -> int | None:
    """The axis in RAS+ order along which a volume is clearly longest; None without one, or if voxels are no cubes."""
    sides = shape * np.asarray(spacing_mm)
    *_, second, longest = np.sort(sides)
    is_clear = max(spacing_mm) < _CUBE * min(spacing_mm) and longest > _LONGER * second
    return int(sides.argmax()) if is_clear else None
