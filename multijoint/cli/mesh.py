"""`multijoint mesh`, and `--mesh` of `segment`: surfaces of bones and their measurements."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

__all__ = ["add_mesh", "add_mesh_option", "meshing"]

_FORMATS = ["stl", "ply", "glb"]


def add_mesh(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the command.

    Args:
        add: makes the parser of a command from its name, the function that runs it, `help` and `example`.
    """
    mesh = add(
        "mesh",
        _mesh,
        help="make a closed surface of each bone of a label map, and measure it: meshes/ and bones.csv",
        example="multijoint mesh out/scan_seg.nii.gz --format ply --output out",
    )
    mesh.add_argument(
        "segmentations",
        nargs="+",
        type=Path,
        metavar="SEG",
        help="label maps, or folders: of their *_seg.nii.gz if there are any",
    )
    mesh.add_argument("--format", choices=_FORMATS, default="ply", help="of the files (default ply)")
    mesh.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="where meshes/ and bones.csv go")
    mesh.add_argument("--log-paths", action="store_true", help="show whole paths of files, not their names alone")


def add_mesh_option(segment: argparse.ArgumentParser) -> None:
    """Add `--mesh` to the arguments of `segment`."""
    segment.add_argument(
        "--mesh", choices=_FORMATS, metavar="FORMAT", help="also make surfaces (stl, ply, glb) and bones.csv"
    )


@contextlib.contextmanager
def meshing(output_dir: Path, format: str | None) -> Iterator[None]:
    """Make meshes of what was segmented meanwhile; also of what could be, if not all scans could.

    Args:
        output_dir: of the segmentation, with its `segment_report.csv` at the end.
        format: of the meshes; `None` makes none.

    Raises:
        InputError: no meshes can be made, which is found out first; or some could not, after the others were written.
    """
    if format is None:
        yield
        return
    from custom_components.errors import InputError, explain
    from custom_components.inference.results import REPORT
    from multijoint.clinic import check_meshing

    check_meshing(output_dir, format=format)
    report = output_dir / REPORT
    before = _state(report)
    failure: InputError | None = None
    try:
        yield
    except InputError as error:
        if _state(report) == before:
            raise
        failure = error
    try:
        _mesh_all(_segmented(report), format=format, output_dir=output_dir)
    except InputError as error:
        raise InputError("; ".join(explain(each) for each in (failure, error) if each)) from error
    if failure is not None:
        raise failure


def _mesh(options: argparse.Namespace) -> None:
    import os

    from custom_components.errors import LOG_PATHS
    from multijoint.clinic import check_meshing, find_label_maps

    if options.log_paths:
        os.environ[LOG_PATHS] = "1"
    check_meshing(options.output, format=options.format)
    _mesh_all(find_label_maps(options.segmentations), format=options.format, output_dir=options.output)


def _mesh_all(cases: Mapping[str, Path], *, format: str, output_dir: Path) -> None:
    from custom_components.errors import InputError, explain, list_first
    from multijoint.clinic import mesh_case

    failed = []
    for case, path in cases.items():
        try:
            meshed = mesh_case(path, case=case, format=format, output_dir=output_dir)
        except InputError as error:
            failed.append(explain(error))
            continue
        parts = {"meshed": meshed.found, "cut by the field of view": meshed.cut, "missing": meshed.missing}
        print(f"{case}: " + "; ".join(f"{what} {', '.join(names)}" for what, names in parts.items() if names))
    if failed:
        raise InputError(f"{len(failed)} of {len(cases)} label maps could not be meshed: {list_first(failed)}")


def _segmented(report: Path) -> dict[str, Path]:
    from custom_components.inference.results import read_report
    from multijoint.clinic import find_label_maps

    done = [row for row in read_report(report) if row["status"] in ("written", "skipped")]
    return find_label_maps([report.parent / row["output"] for row in done])


def _state(path: Path) -> tuple[int, int] | None:
    """Changes when the file is written anew."""
    if not path.exists():
        return None
    status = path.stat()
    return status.st_ino, status.st_mtime_ns
