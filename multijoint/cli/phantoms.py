"""`multijoint phantoms`."""

from __future__ import annotations

import argparse
from pathlib import Path

from multijoint.cli.commands import Commands
from multijoint.cli.presenting import print_written

__all__ = ["add_command"]


def add_command(commands: Commands) -> None:
    """Add the command and its arguments."""
    parser = commands.add(
        "phantoms",
        _phantoms,
        help="write synthetic ankle, shoulder and knee MR volumes with labels and a manifest",
        example="multijoint phantoms phantoms --cases 12 --seed 0",
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to write to, one folder a domain")
    parser.add_argument(
        "--domains",
        nargs="+",
        default=["ankle", "shoulder"],
        metavar="DOMAIN",
        help="ankle, shoulder, knee (default the first two)",
    )
    parser.add_argument("--cases", type=int, default=6, metavar="N", help="subjects a domain (default 6)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="same seed, same files (default 0)")
    parser.add_argument("--size", type=int, default=96, metavar="VOXELS", help="longer in-plane side (default 96)")
    parser.add_argument("--dicom", action="store_true", help="also write each scan as a DICOM exam")


def _phantoms(options: argparse.Namespace) -> None:
    from multijoint.phantoms import write_phantoms

    print_written(
        write_phantoms(
            options.out,
            domains=options.domains,
            num_cases=options.cases,
            seed=options.seed,
            size=options.size,
            dicom=options.dicom,
        )
    )
