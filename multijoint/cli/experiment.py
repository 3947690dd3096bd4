"""`multijoint experiment`."""

from __future__ import annotations

import argparse
import contextlib
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from multijoint.cli.commands import Commands, add_dataset_dir
from multijoint.cli.presenting import record

__all__ = ["add_command"]


def add_command(commands: Commands) -> None:
    """Add the command and its arguments."""
    parser = commands.add(
        "experiment",
        _experiment,
        help="train and score several methods in a cross-validation; a second call goes on where the first stopped",
        example="multijoint experiment --manifests a/manifest.yaml b/manifest.yaml --methods all --out runs/exp",
        extra="experiments",
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER", help="where jobs, rows, tables and figures go"
    )
    parser.add_argument("--manifests", nargs="+", type=Path, metavar="FILE", help="two or more; later calls know them")
    add_dataset_dir(parser)
    parser.add_argument(
        "--methods",
        metavar="NAMES",
        help="all, or names joined by commas: unet-base,unet-joint,unet-dsl,attunet-base,attunet-joint,attunet-dsl,"
        "proposed, an override file of your own, or NAME+FILE.yaml (default all)",
    )
    parser.add_argument("--folds", metavar="FOLDS", help="all, or e.g. 0-4 (default all)")
    parser.add_argument("--seeds", metavar="SEEDS", help="e.g. 0,1,2 (default 0)")
    parser.add_argument(
        "--train-subjects",
        metavar="NUMBERS",
        help="e.g. 3,5,8,all: also train with so few of one data set's own subjects (default all)",
    )
    parser.add_argument(
        "--set",
        dest="settings",
        nargs="+",
        metavar="NAME=VALUE",
        help="settings of train.yaml, the same for every method; also .yaml files of them",
    )
    parser.add_argument("--engine", default="local", choices=["local", "ray"], help="where jobs run (default local)")
    parser.add_argument("--address", metavar="HOST:PORT", help="of a running Ray cluster that sees the same files")
    parser.add_argument(
        "--threads", type=int, metavar="N", help="processor threads of a job; part of the result (default 1)"
    )
    parser.add_argument("--jobs", type=int, metavar="N", help="most jobs at once (default: as many as have room)")
    parser.add_argument(
        "--dry-run", action="store_true", help="print the jobs, who is tested, and an estimate; write nothing"
    )
    parser.add_argument("--status", action="store_true", help="print what is done, and gather its rows")


def _experiment(options: argparse.Namespace) -> None:
    from custom_components.system.terminal import write_line

    from multijoint.api import experimenting

    folder = options.out.resolve()
    plan = experimenting.open_plan(folder, **_requested(options))
    where = {"engine": options.engine, "at_once": options.jobs}
    try:
        if options.status:
            experimenting.gather(folder)
            print(experimenting.format_states(plan))
        elif options.dry_run:
            print(experimenting.format_jobs(plan, **where))
        else:
            with (
                _stopping_on_signals(),
                contextlib.closing(experimenting.run_jobs(plan, address=options.address, **where)) as lines,
            ):
                for line in lines:
                    write_line(line)
    finally:
        states = experimenting.job_states(plan)
        record(
            folder=folder,
            jobs=[{"job": name, "state": each.state, "cause": each.cause} for name, each in states.items()],
        )


def _requested(options: argparse.Namespace) -> dict[str, Any]:
    """The arguments that shape a plan; those left out keep their defaults, or the values of the call before."""
    from multijoint.cli.settings import parse_numbers, parse_settings, parse_subjects

    parsers: dict[str, Callable[[Any], Any]] = {
        "manifests": list,
        "dataset_dir": Path,
        "methods": lambda text: text.split(","),
        "folds": lambda text: None if text == "all" else parse_numbers(text, name="folds"),
        "seeds": lambda text: parse_numbers(text, name="seeds"),
        "train_subjects": parse_subjects,
        "settings": parse_settings,
        "threads": int,
    }
    given = {name: getattr(options, name) for name in parsers}
    return {name: parsers[name](value) for name, value in given.items() if value is not None}


@contextlib.contextmanager
def _stopping_on_signals() -> Iterator[None]:
    """On SIGINT and SIGTERM, terminate the jobs, so that this process still gathers the finished rows."""
    from multijoint.cluster.processes import stop_processes

    def stop(number: int, frame: FrameType | None) -> None:
        stop_processes()
        raise KeyboardInterrupt

    earlier = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
