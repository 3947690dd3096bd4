"""`multijoint adapt`."""

from __future__ import annotations

import argparse
from pathlib import Path

from multijoint.cli.commands import Commands, add_dataset_dir
from multijoint.cli.presenting import print_written

__all__ = ["add_command"]


def add_command(commands: Commands) -> None:
    """Add the command and its arguments."""
    parser = commands.add(
        "adapt",
        _adapt,
        help="add a data set to a trained model: a norm and a head of its own, from one subject on",
        example="multijoint adapt --bundle dist/multijoint_mr_bone_segmentation --manifest knee.yaml --out runs/knee",
    )
    parser.add_argument("--bundle", type=Path, required=True, metavar="BUNDLE", help="folder, zip, or a run's model.pt")
    parser.add_argument("--manifest", type=Path, required=True, metavar="FILE", help="of the new data set")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="the new run's folder")
    add_dataset_dir(parser, "where the manifest's paths start")
    parser.add_argument(
        "--freeze",
        default="shared",
        choices=["shared", "none"],
        help="shared trains the new norm and head only; none trains everything (default shared)",
    )
    parser.add_argument("--like", metavar="DOMAIN", help="whose norms the new one starts from")
    parser.add_argument(
        "--set", dest="settings", nargs="+", default=[], metavar="NAME=VALUE", help="settings of train.yaml"
    )
    parser.add_argument("--trust", action="store_true", help="also take a bundle that inspect calls unsafe")


def _adapt(options: argparse.Namespace) -> None:
    import logging

    from multijoint.api.adapting import adapt_model
    from multijoint.cli.settings import parse_settings

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    adapted = adapt_model(
        options.bundle,
        manifest=options.manifest,
        out=options.out,
        freeze=options.freeze,
        like=options.like,
        dataset_dir=options.dataset_dir,
        settings=parse_settings(options.settings),
        trust=options.trust,
    )
    print_written([adapted])
