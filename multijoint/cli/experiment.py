"""`multijoint experiment`."""

import contextlib
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from multijoint.cli.commands import ADDRESS, choice, command, dataset_dir, flag, number, out_path, path, text
from multijoint.cli.presenting import record

_PRESETS = {
    "full": {
        "methods": "all,unet-base+strong,proposed+strong",
        "recipe": "paper",
        "folds": "all",
        "settings": ["precision=auto"],  # which the recipe keeps in float32
    }
}


@command(
    out_path("FOLDER", "where jobs, rows, tables and figures go", required=True),
    path("--manifests", "FILE", "two or more; later calls know them", nargs="+"),
    dataset_dir(),
    text(
        "--methods",
        "NAMES",
        "all, or names joined by commas: unet-base,unet-joint,unet-dsl,attunet-base,attunet-joint,attunet-dsl,"
        "proposed, an override file of your own, NAME+FILE.yaml or NAME+RECIPE (default all)",
    ),
    text(
        "--preset",
        None,
        "full: the paper's methods at its size and length, all folds, and base and proposed in the strong recipe; "
        "other options go before it",
        choices=["full"],
    ),
    text("--folds", "FOLDS", "all, or e.g. 0-4, or least-typical: the subjects least like the others (default all)"),
    text("--seeds", "SEEDS", "e.g. 0,1,2 (default 0)"),
    text(
        "--train-subjects",
        "NUMBERS",
        "e.g. 3,5,8,all: also train with so few of one data set's own subjects (default all)",
    ),
    text("--recipe", None, "how all methods train, but for --set (default paper)", choices=["paper", "strong"]),
    text(
        "--set",
        "NAME=VALUE",
        "settings of train.yaml, the same for every method; also .yaml files of them",
        dest="settings",
        nargs="+",
    ),
    flag("--shift", "also test shifted copies of each exam: moved, scaled, darker, brighter, blurred, cropped, ..."),
    path(
        "--test-manifests",
        "FILE",
        "of other people: score each network and the ensemble of a method's folds on them",
        nargs="+",
    ),
    choice("--engine", ["local", "ray"], "where jobs run (default local)"),
    ADDRESS,
    number("--threads", "N", "processor threads of a job; part of the result (default 1)"),
    number("--jobs", "N", "most jobs at once (default: as many as have room)"),
    flag("--dry-run", "print the jobs, who is tested, and an estimate; write nothing"),
    flag("--status", "print what is done, and gather its rows"),
    example="multijoint experiment --manifests a/manifest.yaml b/manifest.yaml --methods all --out runs/exp",
    extra="experiments",
)
def experiment(
    out: Path, engine: str, address: str | None, jobs: int | None, dry_run: bool, status: bool, **requested: Any
) -> None:
    """Train and score several methods in a cross-validation; a second call goes on where the first stopped."""
    from custom_components.system.terminal import write_line

    from multijoint.api import experimenting

    folder = out.resolve()
    plan = experimenting.open_plan(folder, **_parse(requested))
    try:
        if status:
            experimenting.gather(folder)
            print(experimenting.format_states(plan))
        elif dry_run:
            print(experimenting.format_jobs(plan, engine=engine, at_once=jobs))
        else:
            running = experimenting.run_jobs(plan, engine=engine, address=address, at_once=jobs)
            with _stopping_on_signals(), contextlib.closing(running) as lines:
                for line in lines:
                    write_line(line)
    finally:
        states = experimenting.job_states(plan)
        record(
            folder=folder,
            jobs=[{"job": name, "state": each.state, "cause": each.cause} for name, each in states.items()],
        )


def _parse(requested: dict[str, Any]) -> dict[str, Any]:
    """The arguments that shape a plan; those left out keep their defaults, or the values of the call before."""
    from multijoint.cli.settings import parse_numbers, parse_settings, parse_subjects

    parsers: dict[str, Callable[[Any], Any]] = {
        "methods": lambda text: text.split(","),
        "folds": _parse_folds,
        "seeds": lambda text: parse_numbers(text, name="seeds"),
        "train_subjects": parse_subjects,
        "settings": parse_settings,
    }
    given = {name: value for name, value in requested.items() if value is not None and value is not False}
    preset: dict[str, Any] = _PRESETS.get(given.pop("preset", None), {})
    if "settings" in preset and "settings" in given:
        given["settings"] = [*preset["settings"], *given["settings"]]
    given = preset | given
    return {name: parsers[name](value) if name in parsers else value for name, value in given.items()}


def _parse_folds(given: str) -> list[int] | None:
    from multijoint.cli.settings import parse_numbers
    from multijoint.experiments.rows import LEAST_TYPICAL

    if given == "least-typical":
        return [LEAST_TYPICAL]
    return None if given == "all" else parse_numbers(given, name="folds")


@contextlib.contextmanager
def _stopping_on_signals() -> Iterator[None]:
    """On SIGINT and SIGTERM, terminate the jobs, so that this process still gathers the finished rows.

    A signal that is ignored stays ignored: a script's background jobs are not for Ctrl-C to end.
    """
    from multijoint.cluster.processes import stop_processes

    def stop(number: int, frame: FrameType | None) -> None:
        stop_processes()
        raise KeyboardInterrupt

    heard = [each for each in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(each) is not signal.SIG_IGN]
    earlier = {number: signal.signal(number, stop) for number in heard}
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
