"""Cases to view: scans with their segmentations and meshes, found in folders by the names of the cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from custom_components.errors import InputError, show_path
from custom_components.io.formats import SCAN_ENDINGS, case_id
from custom_components.io.records import case_of, find_label_maps, read_record

MESH_SUFFIXES = (".ply", ".stl", ".glb")
"""Of the meshes that can be shown; of several for one bone, the first of these is."""


@dataclass(frozen=True)
class ViewedCase:
    """One scan with its segmentation.

    Args:
        scan: its NIfTI file; None if none was found.
        segmentation: label map on the scan's grid; a `.json` next to it may name the labels.
        meshes: surfaces of its bones, each called like its bone.
    """

    name: str
    scan: Path | None
    segmentation: Path
    meshes: tuple[Path, ...] = field(default=())


def pair_case(scan: Path, segmentation: Path, *, meshes: Sequence[Path] = ()) -> ViewedCase:
    """The one case of a scan and its segmentation.

    Raises:
        InputError: a file is missing, or a mesh of another kind.
    """
    for kind, path in (("scan", scan), ("segmentation", segmentation), *(("mesh", mesh) for mesh in meshes)):
        if not path.is_file():
            raise InputError(f"{kind} {show_path(path)} must be a file, got none; correct the path")
    for mesh in meshes:
        if mesh.suffix.lower() not in MESH_SUFFIXES:
            kinds = ", ".join(MESH_SUFFIXES)
            raise InputError(f"mesh {show_path(mesh)} must be one of {kinds}, got {mesh.suffix!r}; convert it")
    return ViewedCase(case_id(scan), scan, segmentation, tuple(meshes))


def find_cases(scans: Path, results: Path) -> list[ViewedCase]:
    """Every case of a folder that `multijoint segment` wrote, in the order of their names.

    The scan of `<case>_seg.nii.gz` is `<case>.nii.gz`, or of another format, in `scans` or in `results/scans`, or the
    file in `scans` that the record `<case>_seg.json` names; its meshes are the files in `results/meshes/<case>`.

    Raises:
        InputError: no folder, no segmentation in it, or no scan of any of them.
    """
    for kind, folder in (("scans", scans), ("results", results)):
        if not folder.is_dir():
            rule = f"{kind} {show_path(folder)} must be a folder, as the other is, got none"
            raise InputError(f"{rule}; correct the path")
    found = list(find_label_maps(results).values())
    if not found:
        rule = f"folder {show_path(results)} must hold <case>_seg.nii.gz or another format, got none"
        raise InputError(f"{rule}; give another folder")
    cases = [_find_case(path, scans, results) for path in found]
    if all(case.scan is None for case in cases):
        rule = f"folder {show_path(scans)} must hold the scan of a case in {show_path(results)}, such as"
        raise InputError(f"{rule} {cases[0].name}.nii.gz, got none; give the folder that was segmented")
    return cases


def _find_case(segmentation: Path, scans: Path, results: Path) -> ViewedCase:
    name = case_of(segmentation)
    candidates = [folder / f"{name}{end}" for folder in (scans, results / "scans") for end in SCAN_ENDINGS]
    if recorded := Path(str(read_record(segmentation).get("image") or "")).name:  # never a path
        candidates.append(scans / recorded)
    scan = next((path for path in candidates if path.is_file()), None)
    folder = results / "meshes" / name
    every = [path for path in sorted(folder.iterdir()) if path.name[0] != "."] if folder.is_dir() else []
    meshes: dict[str, Path] = {}
    for suffix in reversed(MESH_SUFFIXES):  # the first of them comes last, and stays
        meshes |= {path.stem: path for path in reversed(every) if path.suffix.lower() == suffix}
    return ViewedCase(name, scan, segmentation, tuple(meshes[bone] for bone in sorted(meshes)))
