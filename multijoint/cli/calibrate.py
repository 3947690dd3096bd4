"""`multijoint calibrate` and `quality-study`: their arguments; the work is done elsewhere, when they run."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable
from pathlib import Path

__all__ = ["add_quality"]


def add_quality(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Add both commands.

    Args:
        add: makes the parser of a command from its name, the function that runs it, `help` and `example`.
    """
    calibrate = add(
        "calibrate",
        _calibrate,
        help="let a trained model know how sure it may be, from its validation exams; a training does so at its end",
        example="multijoint calibrate --checkpoint runs/x/model.pt --manifests ankle/manifest.yaml",
    )
    calibrate.add_argument("--checkpoint", type=Path, required=True, metavar="FILE", help="model.pt; rewritten whole")
    _add_data(calibrate)

    study = add(
        "quality-study",
        _study,
        help="measure how well confidence and flags find bad segmentations, on exams that nobody was trained on",
        example="multijoint quality-study --checkpoints runs/x/model.pt --manifests ankle/manifest.yaml --out study",
    )
    study.add_argument(
        "--checkpoints", nargs="+", type=Path, required=True, metavar="FILE", help="weak ones are welcome"
    )
    _add_data(study)
    study.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="bones.csv and summary.txt go there")
    study.add_argument(
        "--degradations", nargs="+", metavar="NAME", help="none, noise, bias, motion, contrast, crop (default all)"
    )
    study.add_argument("--least-dice", type=float, default=0.8, metavar="DICE", help="below it is bad (default 0.8)")


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--manifests", nargs="+", type=Path, required=True, metavar="MANIFEST", help="as for training")
    parser.add_argument(
        "--dataset-dir", type=Path, metavar="FOLDER", help="where their paths start, if not beside each"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, ... (default auto)")


def _calibrate(options: argparse.Namespace) -> None:
    from custom_components.data.manifests import load_manifests
    from custom_components.training.model_quality import calibrate_checkpoint, describe_quality
    from custom_components.workflows.begin import select_device

    manifests = load_manifests(options.manifests, dataset_dir=options.dataset_dir)
    model = calibrate_checkpoint(options.checkpoint, manifests, device=select_device(options.device))
    for line in describe_quality(model):
        print(line)


def _study(options: argparse.Namespace) -> None:
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
