"""`multijoint overlay`."""

from pathlib import Path
from typing import Any

from multijoint.cli.commands import command, out_path, path
from multijoint.cli.presenting import print_written, record


@command(
    path("image", "SCAN", "a volume"),
    path("segmentation", "SEGMENTATION", "with its .json of names next to it"),
    path("--reference", "FILE", "reference label map, outlined in white"),
    out_path("PNG", "the picture", dest="output", required=True),
    example="multijoint overlay scan.nii.gz out/scan_seg.nii.gz --out scan.png",
)
def overlay(output: Path, **drawn: Any) -> None:
    """Draw a segmentation over its scan as a PNG, three planes; with a reference, state each bone's Dice."""
    from multijoint.clinic.pictures.overlays import draw_overlay

    dice = draw_overlay(output, **drawn)
    print_written([output])
    if dice:
        record(dice=dice)
        print(f"Dice %: {', '.join(f'{bone} {100 * value:.1f}' for bone, value in dice.items())}")
