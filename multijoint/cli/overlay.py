"""`multijoint overlay`."""

from pathlib import Path
from typing import Any

from multijoint.cli.commands import command, out_path, path
from multijoint.cli.presenting import print_written


@command(
    path("image", "SCAN", "a volume"),
    path("segmentation", "SEGMENTATION", "with its .json of names beside it"),
    path("--reference", "FILE", "reference label map, outlined in white"),
    out_path("PNG", "the picture", dest="output", required=True),
    example="multijoint overlay scan.nii.gz out/scan_seg.nii.gz --out scan.png",
)
def overlay(output: Path, **drawn: Any) -> None:
    """Draw a segmentation over its scan as a PNG, three planes."""
    from multijoint.clinic.pictures.overlays import draw_overlay

    draw_overlay(output, **drawn)
    print_written([output])
