"""`multijoint experiment`: what was asked for, and what becomes of it, in words."""

from __future__ import annotations

import argparse
import contextlib
import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import yaml
from custom_components.data.splits import Split
from custom_components.errors import InputError
from custom_components.system.terminal import align_columns, track, write_line

from multijoint.cli.presenting import record
from multijoint.cluster import Resources, room_here, stop_processes
from multijoint.experiments import (
    ALL_SUBJECTS,
    Plan,
    estimate_seconds,
    gather,
    load_plan,
    make_plan,
    read_state,
    run_plan,
)

__all__ = ["experiment", "parse_numbers", "parse_settings", "parse_subjects"]


def experiment(options: argparse.Namespace) -> None:
    """Run `multijoint experiment` with its parsed arguments.

    Raises:
        InputError: the arguments do not make an experiment, or some of its jobs failed.
    """
    folder = options.out.resolve()
    asked = _asked(options)
    plan = make_plan(folder, **asked) if "manifests" in asked else load_plan(folder, **asked)
    if options.status:
        gather(folder)
        _record_states(plan)
        print(_status(plan))
        return
    resources = Resources(
        threads=plan.experiment.threads, workers=plan.settings["num_workers"], gpu=plan.uses_gpu(), at_once=options.jobs
    )
    room = room_here(resources) if options.engine == "local" else 1
    if options.dry_run:
        _record_states(plan)
        print(_job_table(plan, estimate_seconds(plan), room))
        return
    plan.save()
    _run(plan, estimate_seconds(plan), resources, engine=options.engine, address=options.address)


def _asked(options: argparse.Namespace) -> dict[str, Any]:
    """What the command line says of a plan; what it leaves out keeps its default, or is as in the last call."""
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


def parse_settings(given: Sequence[str]) -> dict[str, Any]:
    """Settings from `name=value` pairs and YAML files of settings, later ones over earlier ones.

    Values are YAML, in which `1e-4` is a number, whatever YAML 1.1 says.

    Raises:
        InputError: neither a pair nor a file of settings, or a value that is no YAML, or code to MONAI.

    Example:
        >>> parse_settings(["max_epochs=3", "image_size=[64,64]", "learning_rate=1e-3"])
        {'max_epochs': 3, 'image_size': [64, 64], 'learning_rate': 0.001}
    """
    settings: dict[str, Any] = {}
    for pair in given:
        if pair.endswith((".yaml", ".yml")) and "=" not in pair:
            settings |= _read_settings(Path(pair))
            continue
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise InputError(f"--set must be name=value or a .yaml file, got {pair}; write e.g. max_epochs=30")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise InputError(f"value of {name} must be YAML, got {text}; quote it") from error
        if re.fullmatch(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+", str(value)):
            value = float(value)
        elif re.search(r"[$@%]", text):
            raise InputError(f"value of {name} must be free of $, @ and % (code to MONAI), got {text}")
        settings[name] = value
    return settings


def _read_settings(path: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InputError(f"settings {path} must be a readable YAML file, got {error}; check the path") from error
    if not isinstance(found, dict) or re.search(r"[$@%]", str(found)):
        raise InputError(f"settings {path} must be name: value pairs free of $, @ and %, got others; correct the file")
    return found


def parse_numbers(text: str, *, name: str) -> list[int]:
    """Whole numbers and ranges: "0", "0,3", "0-4".

    Raises:
        InputError: anything else.

    Example:
        >>> parse_numbers("0-2,5", name="folds")
        [0, 1, 2, 5]
    """
    numbers: set[int] = set()
    for part in text.split(","):
        found = re.fullmatch(r"(\d+)(?:-(\d+))?", part.strip())
        if not found or int(found[2] or found[1]) < int(found[1]):
            raise InputError(f"{name} must be numbers and ranges such as 0,2 or 0-4, got {text}")
        numbers |= set(range(int(found[1]), int(found[2] or found[1]) + 1))
    return sorted(numbers)


def parse_subjects(text: str) -> list[int | str]:
    """Numbers of training subjects, with "all" last: "3,5,8,all".

    Example:
        >>> parse_subjects("3,8,all")
        [3, 8, 'all']
    """
    parts = [part.strip() for part in text.split(",")]
    numbers = [part for part in parts if part != ALL_SUBJECTS]
    found: list[int | str] = list(parse_numbers(",".join(numbers), name="train-subjects")) if numbers else []
    return found + [ALL_SUBJECTS] * (ALL_SUBJECTS in parts)


def _run(plan: Plan, seconds: Sequence[float], resources: Resources, *, engine: str, address: str | None) -> None:
    names = [job.name for job, _ in plan.jobs]
    left = {
        name: duration
        for name, duration in zip(names, seconds, strict=True)
        if read_state(plan.experiment.folder, name).state != "done"
    }
    print(f"{len(names)} jobs, {len(names) - len(left)} of them done", flush=True)
    failed: dict[str, str] = {}
    start, total = time.monotonic(), sum(left.values())
    try:
        with _stopping_on_signals():
            for name, state in track(
                run_plan(plan, resources=resources, engine=engine, address=address), "jobs", total=len(names)
            ):
                if left.pop(name, None) is None and state.state == "done":
                    continue  # it was done before
                progress = 1 - sum(left.values()) / total if total else 1.0
                rest = (time.monotonic() - start) * (1 - progress) / progress if progress else 0.0
                line = f"[{len(names) - len(left)}/{len(names)}] {name} {state.state}"
                line += f": {state.cause}" if state.cause else ""
                write_line(line + (f" (about {_duration(rest)} left)" if left else ""))
                if state.state != "done":
                    failed[name] = state.cause
    finally:
        gather(plan.experiment.folder)
        _record_states(plan)
    if failed:
        listed = "; ".join(f"{name}: {cause}" for name, cause in failed.items())
        raise InputError(f"{len(failed)} of {len(names)} jobs failed: {listed}; the same command tries them again")
    print(f"rows in {plan.experiment.folder}; next: multijoint tables {plan.experiment.folder}", flush=True)


@contextlib.contextmanager
def _stopping_on_signals() -> Iterator[None]:
    """A call that is asked to end asks its jobs to end, and still gathers what is finished."""

    def stop(number: int, frame: FrameType | None) -> None:
        stop_processes()
        raise KeyboardInterrupt

    earlier = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def _record_states(plan: Plan) -> None:
    states = {job.name: read_state(plan.experiment.folder, job.name) for job, _ in plan.jobs}
    record(
        folder=plan.experiment.folder,
        jobs=[{"job": name, "state": each.state, "cause": each.cause} for name, each in states.items()],
    )


def _status(plan: Plan) -> str:
    states = [(job.name, read_state(plan.experiment.folder, job.name)) for job, _ in plan.jobs]
    lines = [f"{name}  {state.state}{': ' * bool(state.cause)}{state.cause}" for name, state in states]
    counts = Counter(state.state for _, state in states)
    return "\n".join([*lines, f"{len(states)} jobs: " + ", ".join(f"{n} {state}" for state, n in counts.items())])


def _job_table(plan: Plan, seconds: Sequence[float], room: int) -> str:
    rows = [("method", "fold", "seed", "data sets", "subjects", "estimate")]
    splits: dict[tuple[int, str], str] = {}
    for (job, split), duration in zip(plan.jobs, seconds, strict=True):
        limited = ", ".join(f"{domain} {number}" for domain, number in job.train_subjects.items())
        domains = ", ".join(job.domains)
        rows.append((job.method.name, str(job.fold), str(job.seed), domains, limited or "all", _duration(duration)))
        if not limited:
            for domain in job.domains:
                splits.setdefault((job.fold, domain), _describe(split, domain))
    who = [f"fold {fold} {domain}: {text}" for (fold, domain), text in sorted(splits.items())]
    here = max(sum(seconds) / room, *seconds)
    total = f"{len(plan.jobs)} jobs, about {_duration(here)} here ({room} at once), {_duration(sum(seconds))} in all"
    return "\n".join([*align_columns(rows), "", *who, "", total])


def _describe(split: Split, domain: str) -> str:
    sides = {"tests": split.testing, "validates": split.validation, "trains": split.training}
    return "; ".join(
        f"{verb} {', '.join(dict.fromkeys(c.subject for c in cases if c.domain == domain)) or 'nobody'}"
        for verb, cases in sides.items()
    )


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{max(minutes, 1)} min"
