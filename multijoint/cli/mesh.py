"""`multijoint mesh`."""

from __future__ import annotations

import argparse
from pathlib import Path

from multijoint.cli.commands import Commands, add_log_paths

__all__ = ["MESH_FORMATS", "add_command"]

MESH_FORMATS = ["stl", "ply", "glb"]


def add_command(commands: Commands) -> None:
    """Add the command and its arguments."""
    parser = commands.add(
        "mesh",
        _mesh,
        help="make a closed surface of each bone of a label map, and measure it: meshes/ and bones.csv",
        example="multijoint mesh out/scan_seg.nii.gz --format ply --output out",
        extra="clinic",
    )
    parser.add_argument(
        "segmentations",
        nargs="+",
        type=Path,
        metavar="SEG",
        help="label maps, or folders: of their *_seg.nii.gz if there are any",
    )
    parser.add_argument("--format", choices=MESH_FORMATS, default="ply", help="of the files (default ply)")
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="where meshes/ and bones.csv go")
    add_log_paths(parser, "files")


def _mesh(options: argparse.Namespace) -> None:
    from multijoint.api.meshing import format_meshed, mesh_cases
    from multijoint.clinic.meshes.meshing import check_meshing, find_label_maps

    check_meshing(options.output, format=options.format)
    cases = find_label_maps(options.segmentations)
    for meshed in mesh_cases(cases, format=options.format, output_dir=options.output):
        print(format_meshed(meshed))
