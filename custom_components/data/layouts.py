"""Layouts of data sets: relative paths, file name patterns, the `dataset.json` of two other projects."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from custom_components.errors import InputError


def check_relative(value: str, *, key: str, where: str) -> str:
    """The path as given, unless it is absolute (on any system) or leaves its folder by `..`.

    Raises:
        InputError: it is or does; `key` and `where` name the place in the message.
    """
    if PurePosixPath(value).is_absolute() or PureWindowsPath(value).drive or ".." in re.split(r"[/\\]", value):
        rule = "must be relative and without '..'"
        raise InputError(f"{key} in {where} {rule}, got {value!r}; give the folder at run time")
    return value


def files_of_channels(given: Any, channels: Sequence[str], *, where: str) -> list[str]:
    """The file, or pattern, of each channel in their order, from a single one, a list, or a mapping of their names.

    Raises:
        InputError: a channel without a file, a file too many, or something else than text; `where` names the place.

    Example:
        >>> files_of_channels({"fat": "f.nii", "water": "w.nii"}, ["water", "fat"], where="case 1")
        ['w.nii', 'f.nii']
    """
    rule = f"image in {where} must be one file for each of the channels {', '.join(map(str, channels))}"
    if not channels:
        if isinstance(given, str):
            return [given]
        raise InputError(f"image in {where} must be one file, got {given!r}; name the channels of the images: channels")
    if isinstance(given, Mapping):
        odd = [*(name for name in channels if name not in given), *(name for name in given if name not in channels)]
        if odd:
            found = f"{odd[0]!r} besides" if odd[0] in given else f"none for {odd[0]}"
            raise InputError(f"{rule}, got {found}; correct it")
        given = [given[name] for name in channels]
    files = [given] if isinstance(given, str) else list(given)
    if len(files) != len(channels) or not all(isinstance(file, str) and file for file in files):
        raise InputError(f"{rule}, got {files!r}; correct it")
    return files


def match_pattern(
    pattern: Mapping[str, str], root: Path, *, further: Sequence[str] = (), where: str
) -> list[dict[str, Any]]:
    """One entry for each file that fits `image`, in the order of the case names; hidden files are not cases.

    The pattern has `image` and perhaps `label` and `subject`, paths relative to `root` or texts that hold `{case}`,
    which stands for one path part or a piece of one; and perhaps `subject_pattern`, a regular expression whose first
    group is the subject in the case name. `further` are patterns of the other channels: with them, `image` of an entry
    is a list.

    Returns:
        Mappings with `name` and the given keys, filled in; none if no file fits.

    Raises:
        InputError: a pattern without `{case}` or with another wildcard, an `image` that is not relative, or a
            `subject_pattern` that does not fit.
    """
    filled = {key: pattern[key] for key in ("image", "label", "subject") if key in pattern}
    for key, text in (*filled.items(), *(("image", text) for text in further)):
        if "{case}" not in text or re.search(r"[{}*?]", text.replace("{case}", "")):
            raise InputError(f"{key} in {where} must hold {{case}} and no other wildcard, got {text!r}; correct it")
    image = check_relative(pattern["image"], key="image", where=where)
    parts = [re.escape(part) for part in str(PurePosixPath(image)).split("{case}")]
    fits = re.compile(parts[0] + r"(?P<case>[^/.][^/]*)" + "(?P=case)".join(parts[1:]))
    files = root.glob(image.replace("[", "[[]").replace("{case}", "*")) if root.is_dir() else ()
    found = (fits.fullmatch(file.relative_to(root).as_posix()) for file in files)
    entries = []
    for name in sorted(match["case"] for match in found if match):
        entry: dict[str, Any] = {"name": name} | {key: text.replace("{case}", name) for key, text in filled.items()}
        if further:
            entry["image"] = [entry["image"], *(text.replace("{case}", name) for text in further)]
        if "subject_pattern" in pattern:
            entry["subject"] = _find_subject(pattern["subject_pattern"], name, where)
        entries.append(entry)
    return entries


def is_dataset_json(data: Mapping[str, Any], path: Path) -> bool:
    """Whether a file's content is a `dataset.json` of the Medical Segmentation Decathlon or of nnU-Net v2."""
    return path.suffix.lower() == ".json" and ("training" in data or "channel_names" in data)


def translate_dataset_json(data: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The keys of a manifest for a Decathlon or nnU-Net v2 `dataset.json`.

    The domain takes the data set's name, or that of the file's folder; slices run along the last array axis, unless
    `load_manifest` finds smaller ones.

    Raises:
        InputError: several channels in one file (Decathlon), or labels that are not single values.

    Example:
        >>> nnunet = {"channel_names": {"0": "T1"}, "labels": {"background": 0, "talus": 1}, "name": "My Ankle"}
        >>> manifest = translate_dataset_json(nnunet, Path("dataset.json"))
        >>> manifest["domain"], manifest["labels"], manifest["cases"]["image"]
        ('my_ankle', {'0': 'background', '1': 'talus'}, 'imagesTr/{case}_0000.nii.gz')
    """
    decathlon = "training" in data
    channels = data.get("modality" if decathlon else "channel_names", {})
    if not isinstance(channels, dict) or not channels or (decathlon and len(channels) > 1):
        raise InputError(f"images of {path} must have one channel, got {channels!r}; write a manifest for one channel")
    numbers = [str(number) for number in range(len(channels))]
    if len(channels) > 1 and sorted(channels) != sorted(numbers):
        raise InputError(f"channel_names in {path} must be numbered from 0, got {', '.join(channels)}; correct it")
    names = [str(channels[number]) for number in numbers] if len(channels) > 1 else []
    labels = data.get("labels")
    if not isinstance(labels, dict):
        raise InputError(f"labels in {path} must be a mapping, got {labels!r}; correct it")
    if not decathlon:
        odd = [name for name, value in labels.items() if not isinstance(value, int) or name == "ignore"]
        if odd:
            raise InputError(
                f"labels in {path} must be single values, got a region or ignore label {odd[0]!r}; write a manifest"
            )
        labels = {str(value): name for name, value in labels.items()}
    ending = data.get("file_ending", ".nii.gz")
    files = [f"imagesTr/{{case}}_{number:04d}{ending}" for number in range(len(channels))]
    pattern = {"image": files if names else files[0], "label": f"labelsTr/{{case}}{ending}"}
    return {
        "domain": re.sub(r"[^a-z0-9_-]+", "_", str(data.get("name") or path.absolute().parent.name).lower()),
        "modality": ", ".join(map(str, channels.values())),
        **({"channels": names} if names else {}),
        "slice_axis": 2,
        "labels": labels,
        "licence": str(data.get("licence") or data.get("license") or "not stated"),
        "source": str(data.get("reference") or "not stated"),
        "cases": data["training"] if decathlon else pattern,
    }


def _find_subject(pattern: str, name: str, where: str) -> str:
    try:
        match = re.search(pattern, name)
        if match and match[1]:
            return match[1]
    except (re.error, IndexError) as error:
        raise InputError(
            f"subject_pattern in {where} must be a regular expression with one group, got {pattern!r}; {error}"
        ) from error
    raise InputError(f"subject_pattern in {where} must fit every case name, got no subject for {name}; correct it")
