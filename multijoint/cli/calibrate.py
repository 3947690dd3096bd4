"""`multijoint calibrate`."""

from __future__ import annotations

import argparse
from pathlib import Path

from multijoint.cli.commands import Commands, add_dataset_dir, add_device

__all__ = ["add_command"]


def add_command(commands: Commands) -> None:
    """Add the command and its arguments."""
    parser = commands.add(
        "calibrate",
        _calibrate,
        help="let a trained model know how sure it may be, from its validation exams; a training does so at its end",
        example="multijoint calibrate --checkpoint runs/x/model.pt --manifests ankle/manifest.yaml",
    )
    parser.add_argument("--checkpoint", type=Path, required=True, metavar="FILE", help="model.pt; rewritten whole")
    parser.add_argument("--manifests", nargs="+", type=Path, required=True, metavar="MANIFEST", help="as for training")
    add_dataset_dir(parser)
    add_device(parser)


def _calibrate(options: argparse.Namespace) -> None:
    from custom_components.data.manifests import load_manifests
    from custom_components.training.model_quality import calibrate_checkpoint, describe_quality
    from custom_components.workflows.begin import select_device

    manifests = load_manifests(options.manifests, dataset_dir=options.dataset_dir)
    model = calibrate_checkpoint(options.checkpoint, manifests, device=select_device(options.device))
    for line in describe_quality(model):
        print(line)
