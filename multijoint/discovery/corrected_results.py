"""Label maps of `multijoint segment` that were corrected by hand, paired with their scans."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from custom_components.data.scans import list_scans
from custom_components.errors import InputError, show_path
from custom_components.io.formats import case_id, is_volume
from custom_components.io.records import RECORD_ENDING, case_of, label_map_path, read_record
from custom_components.system.files import file_digest

from multijoint.discovery.pairing import Pair, Pairing


def is_results_folder(folder: Path) -> bool:
    """Whether a folder holds results of `multijoint segment`."""
    cases = (path.name.removesuffix(RECORD_ENDING) for path in folder.glob(f"*{RECORD_ENDING}"))
    return any("label_map_sha256" in read_record(label_map_path(folder, case)) for case in cases)


def find_corrected(folder: Path, scans: Sequence[Path], *, everything: bool = False) -> tuple[Path, Pairing]:
    """Pair scans with the label maps made of them that have been changed since.

    An unchanged label map of the network is not a reference: a training on it would learn the network's own errors.

    Args:
        folder: of the results.
        scans: the files and folders given to `multijoint segment`; an empty sequence stands for `scans/` in the folder.
        everything: also take unchanged label maps.

    Returns:
        The folder that paths of the pairs are relative to, and the pairs.

    Raises:
        InputError: a scan does not exist.
    """
    given = list(scans) or [folder / "scans"]
    missing = [path for path in given if not path.exists()]
    if missing:
        raise InputError(
            f"scans of {show_path(folder)} must be given, got none at {show_path(missing[0])}; name with --scans "
            "what multijoint segment was given"
        )
    images = {str(item["name"]): Path(os.path.abspath(item["image"])) for item in list_scans(given)}
    every = sorted(filter(is_volume, Path(os.path.abspath(folder)).iterdir()))
    labels = [path for path in every if case_of(path) != case_id(path)]
    root = Path(os.path.commonpath([os.path.abspath(folder), *(path.parent for path in images.values())]))
    pairs, unused = [], {}
    for label in labels:
        name = case_of(label)
        digest = read_record(label).get("label_map_sha256")
        shown = label.relative_to(root).as_posix()
        if name not in images:
            unused[shown] = "no scan of that name"
        elif digest == file_digest(label) and not everything:
            unused[shown] = "nobody has corrected it; --all takes it too"
        else:
            pairs.append(Pair(images[name].relative_to(root).as_posix(), shown, None, (name,)))
    return root, Pairing(f"results of multijoint segment in {folder.name}", tuple(pairs), unused)
