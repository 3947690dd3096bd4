"""`multijoint view`, a server that runs until it is interrupted."""

from __future__ import annotations

import argparse
from pathlib import Path

from multijoint.cli.commands import Commands

__all__ = ["add_command"]


def add_command(commands: Commands) -> None:
    """Add the command and its arguments."""
    parser = commands.add(
        "view",
        _view,
        help="look at segmentations in a browser, in three planes and 3D, and mark them good or in need of correction",
        example="multijoint view scan.nii.gz out/scan_seg.nii.gz",
    )
    parser.add_argument("scan", type=Path, metavar="SCAN", help="NIfTI file, or a folder of them")
    parser.add_argument(
        "segmentation",
        type=Path,
        metavar="SEGMENTATION",
        help="its label map, with its .json of names beside it; for a folder of scans, the folder that "
        "`multijoint segment` wrote",
    )
    parser.add_argument(
        "--mesh", nargs="+", type=Path, default=[], metavar="FILE", help="surfaces to show in 3D: .ply, .stl or .glb"
    )
    parser.add_argument(
        "--marks", type=Path, metavar="FILE", help="CSV that marks go to (default review.csv beside the segmentations)"
    )
    parser.add_argument(
        "--port", type=int, default=0, metavar="N", help="of the loopback address (default any free one)"
    )
    parser.add_argument("--no-browser", action="store_true", help="only print the address")


def _view(options: argparse.Namespace) -> None:
    import webbrowser

    from custom_components.errors import InputError

    from multijoint.clinic.viewer.cases import find_cases, pair_case
    from multijoint.clinic.viewer.review_marks import ReviewMarks
    from multijoint.clinic.viewer.viewer import Viewer

    scan, segmentation = options.scan, options.segmentation
    if scan.is_dir() or segmentation.is_dir():
        if options.mesh:
            raise InputError("--mesh must go with one scan, got folders; meshes are looked for in OUT/meshes/CASE")
        cases, folder = find_cases(scan, segmentation), segmentation
    else:
        cases, folder = [pair_case(scan, segmentation, meshes=options.mesh)], segmentation.parent
    marks = ReviewMarks(options.marks or folder / "review.csv")
    with Viewer(cases, marks, port=options.port) as viewer:
        print(f"{len(cases)} case{'s' if len(cases) > 1 else ''}, until Ctrl-C: {viewer.url}", flush=True)
        if not options.no_browser:
            webbrowser.open(viewer.url)
        try:
            viewer.serve_forever()
        except KeyboardInterrupt:
            print()
