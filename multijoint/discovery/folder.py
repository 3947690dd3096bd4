"""The data set in a folder: its cases, names of labels and acquisition plane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from custom_components.domains import PLANES
from custom_components.errors import InputError, show_path
from custom_components.system.terminal import count

from multijoint.discovery.corrected_results import find_corrected, is_results_folder
from multijoint.discovery.found_cases import FoundCase, FoundDataset, guess_plane, read_cases
from multijoint.discovery.label_names import LabelNames, find_label_names, read_label_names, sort_names
from multijoint.discovery.manifest_writing import earlier_names
from multijoint.discovery.pairing import find_pairs

_STRAY = 30  # voxels in all cases together, up to which a nameless value ...
_STRAY_SHARE = 20  # ... that has this many times fewer than other values is no bone


def find_dataset(
    folder: Path,
    *,
    scans: Sequence[Path] = (),
    images: str = "*",
    labels: str = "*",
    names: Path | None = None,
    plane: str | None = None,
    everything: bool = False,
    manifest: Path | None = None,
) -> tuple[FoundDataset, Path]:
    """Find the data set in a folder, for a manifest.

    Args:
        folder: of images and labels, or of results of `multijoint segment`.
        scans: files and folders that such results were segmented from.
        images: pattern that file names of images must fit.
        labels: pattern that file names of labels must fit.
        names: file with names of label values; `None` looks for one.
        plane: acquisition plane; `None` guesses it.
        everything: also take results of `multijoint segment` that were not corrected.
        manifest: the file to be written later; an earlier version of it gives names of labels. `None` chooses
            `manifest.yaml` in the folder that all paths have in common.

    Returns:
        The data set, and the path of the manifest.

    Raises:
        InputError: there is no folder or no case, or the plane is unknown.
    """
    if not folder.is_dir():
        raise InputError(f"folder must exist, got {show_path(folder)}; check the path")
    if plane is not None and plane not in PLANES:
        raise InputError(f"plane must be one of {', '.join(PLANES)}, got {plane!r}")
    if scans or is_results_folder(folder):
        root, found = find_corrected(folder, scans, everything=everything)
    else:
        root, found = folder, find_pairs(folder, images=images, labels=labels)
    manifest = root / "manifest.yaml" if manifest is None else manifest
    unused = dict(found.unused)
    cases = read_cases(root, found.pairs, unused)
    last = [path.rpartition("/")[2] for path in unused]  # the name alone, where it tells files apart
    shown = {
        name if last.count(name) == 1 else path: why for name, (path, why) in zip(last, unused.items(), strict=True)
    }
    if not cases:
        listed = "; ".join(f"{name}: {why}" for name, why in list(shown.items())[:3]) or "no volume"
        raise InputError(
            f"folder {show_path(folder)} must hold images with labels, got none ({listed}); "
            "docs/how-to/data.md lists the layouts that are understood"
        )
    given, source = _names(folder, names, manifest, label_maps=[case.label for case in cases])
    no_bones = _no_bones(cases, given)
    guessed, reason = guess_plane(cases)
    return (
        FoundDataset(
            layout=found.layout,
            cases=tuple(cases),
            unused=shown,
            names=_name_labels(cases, given.names, no_bones),
            names_from=source,
            no_bones=no_bones,
            notes=given.notes,
            plane=plane or guessed,
            plane_from="as given" if plane else reason,
        ),
        manifest,
    )


def _names(folder: Path, names: Path | None, manifest: Path, *, label_maps: Sequence[Path]) -> tuple[LabelNames, str]:
    if names is not None:
        return read_label_names(names), names.name
    found, source = find_label_names(folder, label_maps=label_maps)
    before = sort_names(earlier_names(manifest))
    if not before.names:
        return found, source
    return before._replace(ignored=before.ignored + found.ignored), f"the {manifest.name} before"


def _no_bones(cases: Sequence[FoundCase], given: LabelNames) -> dict[int, str]:
    """Values that are no bones, and why: those called `ignore`, and nameless ones of a few voxels in a few cases."""
    reasons = {}
    counts = [count for case in cases for count in case.values.values()]
    for value in sorted({value for case in cases for value in case.values}):
        having = [case for case in cases if value in case.values]
        number = sum(case.values[value] for case in having)
        if value in given.ignored:
            rest = "such voxels cannot be left out of a training: label them, or leave the cases out"
            reasons[value] = f"'ignore' in {_share(having, cases)}; {rest}"
        elif (
            value not in given.names
            and number <= _STRAY
            and number * _STRAY_SHARE < np.median(counts)
            and len(having) <= max(1, len(cases) // 5)
        ):
            reasons[value] = (
                f"{count(number, 'voxel')} of {', '.join(case.name for case in having)}: a stray value? Correct it"
            )
    return reasons


def _share(having: Sequence[FoundCase], cases: Sequence[FoundCase]) -> str:
    """How many of the cases some are."""
    return f"{len(having)} of {count(len(cases), 'case')}"


def _name_labels(cases: Sequence[FoundCase], given: Mapping[int, str], no_bones: Mapping[int, str]) -> dict[int, str]:
    """A name for each value that is a bone; a missing name, or one given twice, gets the value as a number."""
    names: dict[int, str] = {}
    for value in sorted({value for case in cases for value in case.values} - set(no_bones)):
        if not 1 <= value <= 255:
            strange = next(case for case in cases if value in case.values)
            raise InputError(
                f"label values of case {strange.name} must be whole numbers from 1 to 255, got {value}; renumber them"
            )
        name = given.get(value, f"label_{value}")
        names[value] = f"{name}_{value}" if name in names.values() or name.lower() == "background" else name
    if not names:
        raise InputError("label maps must hold a label somewhere, got only background; choose others with --labels")
    return names
