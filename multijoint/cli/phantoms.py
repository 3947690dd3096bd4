"""`multijoint phantoms`."""

from pathlib import Path
from typing import Any

from multijoint.cli.commands import command, either, flag, number, out_path, path, text
from multijoint.cli.presenting import print_written


@command(
    either(path("folder", "OUT", "folder to write to, one folder a domain", nargs="?"), out_path("OUT", "the same")),
    text(
        "--domains",
        "DOMAIN",
        "ankle, shoulder, knee, ankles (both, with sides), dixon (water and fat), shapes (default the first two)",
        nargs="+",
        default=["ankle", "shoulder"],
    ),
    number("--cases", "N", "subjects a domain (default 6)", dest="num_cases", default=6),
    number("--seed", "S", "same seed, same files (default 0)", default=0),
    number("--size", "VOXELS", "longer in-plane side (default 96)", default=96),
    flag("--dicom", "also write each scan as a DICOM exam"),
    example="multijoint phantoms phantoms --cases 12 --seed 0",
)
def phantoms(folder: Path | None, out: Path | None, **arguments: Any) -> None:
    """Write synthetic ankle, shoulder and knee MR volumes, or random shapes, with labels and a manifest."""
    from multijoint.phantoms import write_phantoms

    print_written(write_phantoms(next(filter(None, (folder, out))), **arguments))
