"""`multijoint package`."""

from __future__ import annotations

import argparse
from pathlib import Path

from multijoint.cli.commands import Commands, add_dataset_dir
from multijoint.cli.presenting import print_written

__all__ = ["add_command"]


def add_command(commands: Commands) -> None:
    """Add the command and its arguments."""
    parser = commands.add(
        "package",
        _package,
        help="make a bundle with weights that runs on its own: a folder, and a zip for a model zoo",
        example="multijoint package bundles/multijoint_mr_bone_segmentation --checkpoint runs/x/model.pt --out dist",
    )
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="a folder of bundles/")
    parser.add_argument("--checkpoint", type=Path, required=True, metavar="FILE", help="model.pt of a training run")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where folder and zip go")
    parser.add_argument("--evaluation", type=Path, metavar="FOLDER", help="with summary.csv, for the model card")
    parser.add_argument("--domain", metavar="NAME", help="default domain (default: the first)")
    parser.add_argument("--single", metavar="NAME", help="take only this domain of a model of several")
    parser.add_argument(
        "--fold", action="store_true", help="fold the norms of a single domain into the convolutions: smaller, faster"
    )
    parser.add_argument("--weights-url", metavar="URL", help="where models/ will be; leave it out of the zip")
    parser.add_argument(
        "--int8",
        type=Path,
        nargs="+",
        default=[],
        metavar="MANIFEST",
        help="add int8 networks, calibrated on these data sets, if Dice on unseen people falls by at most 0.1 points",
    )
    add_dataset_dir(parser, "where the manifests' paths start")


def _package(options: argparse.Namespace) -> None:
    from multijoint.sharing import package

    print_written(
        package(
            options.bundle,
            checkpoint=options.checkpoint,
            out=options.out,
            domain=options.domain,
            single=options.single,
            fold=options.fold,
            evaluation=options.evaluation,
            weights_url=options.weights_url,
            int8=options.int8,
            dataset_dir=options.dataset_dir,
        )
    )
