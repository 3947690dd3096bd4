"""`multijoint quality-study`."""

from __future__ import annotations

import argparse
from pathlib import Path

from multijoint.cli.commands import Commands, add_dataset_dir, add_device

__all__ = ["add_command"]


def add_command(commands: Commands) -> None:
    """Add the command and its arguments."""
    parser = commands.add(
        "quality-study",
        _study,
        help="measure how well confidence and flags find bad segmentations, on exams that nobody was trained on",
        example="multijoint quality-study --checkpoints runs/x/model.pt --manifests ankle/manifest.yaml --out study",
        extra="experiments",
    )
    parser.add_argument(
        "--checkpoints", nargs="+", type=Path, required=True, metavar="FILE", help="weak ones are welcome"
    )
    parser.add_argument("--manifests", nargs="+", type=Path, required=True, metavar="MANIFEST", help="as for training")
    add_dataset_dir(parser)
    add_device(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="bones.csv and summary.txt go there")
    parser.add_argument(
        "--degradations", nargs="+", metavar="NAME", help="none, noise, bias, motion, contrast, crop (default all)"
    )
    parser.add_argument("--least-dice", type=float, default=0.8, metavar="DICE", help="below it is bad (default 0.8)")


def _study(options: argparse.Namespace) -> None:
    import logging

    from multijoint.experiments import study_quality

    logging.basicConfig(level=logging.WARNING)
    print(
        study_quality(
            options.checkpoints,
            manifests=options.manifests,
            dataset_dir=options.dataset_dir,
            out=options.out,
            degradations=options.degradations,
            least_dice=options.least_dice,
            device=options.device,
        )
    )
