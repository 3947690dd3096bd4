"""`multijoint experiment`, `tables` and `figures`: their arguments."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path

from multijoint.cli.presenting import record

__all__ = ["add_experiment"]


def add_experiment(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the three commands.

    Args:
        add: makes the parser of a command from its name, the function that runs it, `help` and `example`.
    """
    run = add(
        "experiment",
        _experiment,
        help="train and score several methods in a cross-validation; a second call goes on where the first stopped",
        example="multijoint experiment --manifests a/manifest.yaml b/manifest.yaml --methods all --out runs/exp",
    )
    run.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER", help="where jobs, rows, tables and figures go"
    )
    run.add_argument("--manifests", nargs="+", type=Path, metavar="FILE", help="two or more; later calls know them")
    run.add_argument("--dataset-dir", type=Path, metavar="FOLDER", help="where their paths start, if not beside each")
    run.add_argument(
        "--methods",
        metavar="NAMES",
        help="all, or names joined by commas: unet-base,unet-joint,unet-dsl,attunet-base,attunet-joint,attunet-dsl,"
        "proposed, an override file of your own, or NAME+FILE.yaml (default all)",
    )
    run.add_argument("--folds", metavar="FOLDS", help="all, or e.g. 0-4 (default all)")
    run.add_argument("--seeds", metavar="SEEDS", help="e.g. 0,1,2 (default 0)")
    run.add_argument(
        "--train-subjects",
        metavar="NUMBERS",
        help="e.g. 3,5,8,all: also train with so few of one data set's own subjects (default all)",
    )
    run.add_argument(
        "--set",
        dest="settings",
        nargs="+",
        metavar="NAME=VALUE",
        help="settings of train.yaml, the same for every method; also .yaml files of them",
    )
    run.add_argument("--engine", default="local", choices=["local", "ray"], help="where jobs run (default local)")
    run.add_argument("--address", metavar="HOST:PORT", help="of a running Ray cluster that sees the same files")
    run.add_argument(
        "--threads", type=int, metavar="N", help="processor threads of a job; part of the result (default 1)"
    )
    run.add_argument("--jobs", type=int, metavar="N", help="most jobs at once (default: as many as have room)")
    run.add_argument(
        "--dry-run", action="store_true", help="print the jobs, who is tested, and an estimate; write nothing"
    )
    run.add_argument("--status", action="store_true", help="print what is done, and gather its rows")

    for name, function, text in (
        ("tables", _tables, "write tables 1 and 2 of an experiment from its saved rows"),
        ("figures", _figures, "draw figures 3 and 4 of an experiment from its saved rows"),
    ):
        drawn = add(name, function, help=text, example=f"multijoint {name} runs/exp")
        drawn.add_argument("folder", type=Path, metavar="FOLDER", help="the experiment's --out")
        if name == "figures":
            drawn.add_argument("--curves", action="store_true", help="also losses and validation Dice over the epochs")
        else:
            drawn.add_argument(
                "--against", default="proposed", metavar="METHOD", help="the method that others are compared with"
            )


def _experiment(options: argparse.Namespace) -> None:
    from multijoint.cli.experiment import experiment

    experiment(options)


def _tables(options: argparse.Namespace) -> None:
    from multijoint.experiments import write_tables

    _show(write_tables(options.folder, against=options.against))


def _figures(options: argparse.Namespace) -> None:
    from multijoint.experiments import write_figures

    _show(write_figures(options.folder, curves=options.curves))


def _show(paths: Iterable[Path]) -> None:
    written = list(paths)
    record(written=written)
    for path in written:
        print(path)
