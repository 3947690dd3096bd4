"""`multijoint mesh`, and `--mesh` of `segment`: surfaces of bones and their measurements."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from multijoint.api.meshing import _mesh_all

__all__ = ["add_mesh", "add_mesh_option"]

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


def _mesh(options: argparse.Namespace) -> None:
    import os

    from custom_components.errors import LOG_PATHS

    from multijoint.clinic import check_meshing, find_label_maps

    if options.log_paths:
        os.environ[LOG_PATHS] = "1"
    check_meshing(options.output, format=options.format)
    _mesh_all(find_label_maps(options.segmentations), format=options.format, output_dir=options.output)
