"""Arguments, one line for what a user did wrong, and exit codes.

A subcommand imports what it needs only when it runs, so that `multijoint --help` answers at once.
"""

from __future__ import annotations

import argparse
import functools
import os
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import custom_components

from multijoint.cli.bench import add_bench
from multijoint.cli.calibrate import add_quality
from multijoint.cli.dicom import add_dicom
from multijoint.cli.experiment_arguments import add_experiment
from multijoint.cli.init import add_init
from multijoint.cli.mesh import add_mesh
from multijoint.cli.package import add_sharing
from multijoint.cli.presenting import common_options, present, record
from multijoint.cli.report import add_report
from multijoint.cli.segment import add_segment
from multijoint.cli.view import add_view

__all__ = ["main", "make_parser"]

_GROUPS = {
    "start with your data": ["init", "check", "phantoms"],
    "segment, look, measure": ["segment", "dicom", "report", "view", "mesh", "overlay"],
    "train and compare": ["adapt", "calibrate", "experiment", "tables", "figures", "quality-study"],
    "share a model": ["package", "inspect"],
    "measure this program": ["bench"],
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand.

    Args:
        arguments: as after the command's name; `None` takes them from the command line.

    Returns:
        Exit code: 0, or 1 after printing one line about what could not be used (2 for wrong usage, by argparse).
    """
    options = make_parser().parse_args(arguments)
    return present(options.run, options, debug=options.debug)


def make_parser() -> argparse.ArgumentParser:
    """The parser of the command and, in its `commands`, of every subcommand."""
    parser = argparse.ArgumentParser(
        prog="multijoint",
        usage="multijoint [--version] [--debug] COMMAND ...",
        description="Segment bones in small, heterogeneous MR data sets with one network. Not a medical device.",
        formatter_class=_Formatter,
    )
    parser.add_argument("--version", action="version", version=custom_components.__version__)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(
        prog="multijoint", metavar="COMMAND", dest="command", required=True, help=argparse.SUPPRESS
    )
    helps: dict[str, str] = {}
    add = functools.partial(_add, commands, helps)

    add_init(add)

    phantoms = add(
        "phantoms",
        _phantoms,
        help="write synthetic ankle, shoulder and knee MR volumes with labels and a manifest",
        example="multijoint phantoms phantoms --cases 12 --seed 0",
    )
    phantoms.add_argument("out", type=Path, metavar="OUT", help="folder to write to, one folder a domain")
    phantoms.add_argument(
        "--domains",
        nargs="+",
        default=["ankle", "shoulder"],
        metavar="DOMAIN",
        help="ankle, shoulder, knee (default the first two)",
    )
    phantoms.add_argument("--cases", type=int, default=6, metavar="N", help="subjects a domain (default 6)")
    phantoms.add_argument("--seed", type=int, default=0, metavar="S", help="same seed, same files (default 0)")
    phantoms.add_argument("--size", type=int, default=96, metavar="VOXELS", help="longer in-plane side (default 96)")
    phantoms.add_argument("--dicom", action="store_true", help="also write each scan as a DICOM exam")

    check = add(
        "check",
        _check,
        help="look data sets over before training: files, grids, labels, duplicates, outliers, a picture a case",
        example="multijoint check ankle/manifest.yaml shoulder/manifest.yaml --out check",
    )
    check.add_argument("manifests", nargs="+", type=Path, metavar="MANIFEST", help="as for training")
    check.add_argument("--dataset-dir", type=Path, metavar="FOLDER", help="where their paths start, if not beside each")
    check.add_argument("--num-folds", type=int, metavar="K", help="of the training (default: leave one subject out)")
    check.add_argument("--out", type=Path, metavar="FOLDER", help="write check.csv, findings.csv and check.html there")
    check.add_argument("--log-paths", action="store_true", help="show whole paths of scans, not their names alone")

    add_segment(add, commands)

    overlay = add(
        "overlay",
        _overlay,
        help="draw a segmentation over its scan as a PNG, three planes",
        example="multijoint overlay scan.nii.gz out/scan_seg.nii.gz --output scan.png",
    )
    overlay.add_argument("image", type=Path, metavar="SCAN", help="NIfTI file")
    overlay.add_argument("segmentation", type=Path, metavar="SEGMENTATION", help="with its .json of names beside it")
    overlay.add_argument("--reference", type=Path, metavar="FILE", help="reference label map, outlined in white")
    overlay.add_argument("--output", type=Path, required=True, metavar="PNG", help="the picture")

    add_dicom(add)
    add_mesh(add)
    add_view(add)
    add_report(add)
    add_experiment(add)
    add_quality(add)
    add_sharing(add)
    add_bench(add)
    parser.epilog = _list_commands(helps)
    return parser


def _add(
    commands: argparse._SubParsersAction,
    helps: dict[str, str],
    name: str,
    run: object,
    *,
    help: str,
    example: str,
    more: str = "",
) -> argparse.ArgumentParser:
    """Add a command.

    Args:
        commands: where to.
        helps: gets its help, for the list of all.
        name: of the command.
        run: function of the parsed arguments.
        help: what it does, in a line that begins in lower case.
        example: a command that runs.
        more: sentences that its own help has besides.
    """
    helps[name] = help
    description = f"{help[:1].upper()}{help[1:]}. {more}".rstrip()
    parser = commands.add_parser(
        name,
        description=description,
        epilog=f"Example:\n  {example}",
        formatter_class=_Formatter,
        parents=[common_options()],
    )
    parser.set_defaults(run=run)
    return parser


def _list_commands(helps: Mapping[str, str]) -> str:
    """Commands under what one wants to do with them; one that no group names comes last."""
    named = {name for names in _GROUPS.values() for name in names}
    groups = {**_GROUPS, "other": [name for name in helps if name not in named]}
    width = max(map(len, helps)) + 2
    lines = []
    for title, names in groups.items():
        listed = [name for name in names if name in helps]
        if listed:
            lines += ["", f"{title}:"]
        for name in listed:
            indent = " " * (width + 2)
            lines += textwrap.wrap(f"  {name:<{width}}{helps[name]}", 100, subsequent_indent=indent)
    lines += ["", "`multijoint COMMAND --help` says more, with an example."]
    lines += ["Training is `python -m monai.bundle run training ...`: see docs/tutorial.md."]
    return "\n".join(lines[1:])


class _Formatter(argparse.HelpFormatter):
    """Keeps the lines of an epilog that has several."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if "\n" in text else super()._fill_text(text, width, indent)


def _phantoms(options: argparse.Namespace) -> None:
    from multijoint.phantoms import write_phantoms

    manifests = write_phantoms(
        options.out,
        domains=options.domains,
        num_cases=options.cases,
        seed=options.seed,
        size=options.size,
        dicom=options.dicom,
    )
    record(written=manifests)
    for manifest in manifests:
        print(manifest)


def _check(options: argparse.Namespace) -> None:
    from custom_components.errors import LOG_PATHS

    from multijoint.cli.check import check

    if options.log_paths:
        os.environ[LOG_PATHS] = "1"
    check(options.manifests, dataset_dir=options.dataset_dir, num_folds=options.num_folds, out=options.out)


def _overlay(options: argparse.Namespace) -> None:
    from multijoint.clinic import draw_overlay

    draw_overlay(options.output, options.image, options.segmentation, reference=options.reference)
    record(written=[options.output])
    print(options.output)
