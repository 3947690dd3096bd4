"""Surfaces of the bones of several label maps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from custom_components.data.scans import list_scans
from custom_components.errors import InputError, explain, list_first
from custom_components.system.terminal import count

from multijoint.clinic.meshes.meshing import MeshedCase, mesh_case
from multijoint.clinic.report.results import find_scans


def scans_of(cases: Mapping[str, Path], given: Sequence[Path]) -> dict[str, Path]:
    """Scans of label maps, by case: from files and folders, and from `scans/` next to a label map.

    Raises:
        InputError: a folder holds no scan, or scans are given and none has the name of a case.
    """
    named = {item["name"]: Path(item["image"]) for item in (list_scans(given) if given else ())}
    if given and not named.keys() & cases.keys():
        raise InputError("scans must have the names of the cases, got none that fits; give those that were segmented")
    beside = {folder: find_scans(folder, ()) for folder in {path.parent for path in cases.values()}}
    return {case: beside[path.parent][case] for case, path in cases.items() if case in beside[path.parent]} | named


def mesh_cases(
    cases: Mapping[str, Path], *, format: str, output_dir: Path, scans: Mapping[str, Path] | None = None
) -> Iterator[MeshedCase]:
    """Mesh label maps one after another.

    Args:
        cases: name -> label map, see `find_label_maps`.
        format: of the meshes: stl, ply or glb.
        output_dir: where `meshes/` and `bones.csv` go.
        scans: name -> scan, for the intensities of bones; a case without one has none.

    Yields:
        The bones of each case, once its files are written.

    Raises:
        InputError: some could not be meshed; raised after the others have been.
    """
    failed = []
    for case, path in cases.items():
        try:
            yield mesh_case(path, case=case, format=format, output_dir=output_dir, scan=(scans or {}).get(case))
        except InputError as error:
            failed.append(explain(error))
    if failed:
        maps = count(len(cases), "label map")
        raise InputError(f"{len(failed)} of {maps} could not be meshed: {list_first(failed)}")


def format_meshed(meshed: MeshedCase) -> str:
    """One line about the bones of a case.

    Example:
        >>> format_meshed(MeshedCase("a", found=("talus", "tibia"), cut=("tibia (superior)",), missing=()))
        'a: meshed talus, tibia; cut by the field of view tibia (superior)'
    """
    parts = {"meshed": meshed.found, "cut by the field of view": meshed.cut, "missing": meshed.missing}
    return f"{meshed.case}: " + "; ".join(f"{what} {', '.join(names)}" for what, names in parts.items() if names)
