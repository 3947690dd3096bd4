"""Experiments: open a plan, run its jobs, tell their states."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

from custom_components.data.splits import Split
from custom_components.errors import InputError
from custom_components.system.terminal import align_columns, count, track

from multijoint.cluster.resources import Resources, room_here
from multijoint.experiments.jobs.estimate import estimate_seconds
from multijoint.experiments.jobs.experiment import fold_setting
from multijoint.experiments.jobs.gathering import gather
from multijoint.experiments.jobs.plan import Plan, load_plan, make_plan, run_plan
from multijoint.experiments.jobs.run_job import JobState, read_state
from multijoint.experiments.jobs.trials import run_trials


def open_plan(folder: Path, **requested: Any) -> Plan:
    """A new plan if `requested` has manifests, else that of an earlier call with the requested changes.

    Args:
        folder: of the experiment.
        requested: see `make_plan`.

    Raises:
        InputError: the arguments do not make an experiment.
    """
    return make_plan(folder, **requested) if "manifests" in requested else load_plan(folder, **requested)


def job_states(plan: Plan) -> dict[str, JobState]:
    """State of each job, by its name."""
    return {job.name: read_state(plan.experiment.folder, job.name, shifted=bool(job.shifted)) for job, _ in plan.jobs}


def run_jobs(
    plan: Plan, *, engine: str = "local", address: str | None = None, at_once: int | None = None
) -> Generator[str]:
    """Save a plan, run the jobs that are not done, and gather their rows, also after an interruption.

    Args:
        plan: see `open_plan`.
        engine: "local" or "ray".
        address: of a running Ray cluster.
        at_once: most jobs at a time; `None` for as many as there is room for.

    Yields:
        A line before the first job, one for each job that ends, and one at the end.

    Raises:
        InputError: there is no room for a job, or some of the jobs failed.
    """
    resources, _ = _room(plan, engine=engine, at_once=at_once)
    plan.save()
    folder = plan.experiment.folder
    durations = dict(zip((job.name for job, _ in plan.jobs), estimate_seconds(plan), strict=True))
    left = {name: durations[name] for name, state in job_states(plan).items() if state.state != "done"}
    yield from _planned(plan)
    yield f"{count(len(durations), 'job')}, {len(durations) - len(left)} of them done"
    failed: dict[str, str] = {}
    start, total = time.monotonic(), sum(left.values())
    try:
        jobs = run_plan(plan, resources=resources, engine=engine, address=address)
        for name, state in track(jobs, "jobs", total=len(durations)):
            if left.pop(name, None) is None and state.state == "done":
                continue  # it was done before
            progress = 1 - sum(left.values()) / total if total else 1.0
            rest = (time.monotonic() - start) * (1 - progress) / progress if progress else 0.0
            line = f"[{len(durations) - len(left)}/{len(durations)}] {name} {state.state}"
            line += f": {state.cause}" if state.cause else ""
            yield line + (f" (about {_duration(rest)} left)" if left else "")
            if state.state != "done":
                failed[name] = state.cause
        for name, state in run_trials(
            plan.experiment, [] if failed else plan.trials, resources=resources, engine=engine, address=address
        ):
            yield f"trial {name} {state.state}" + (f": {state.cause}" if state.cause else "")
            if state.state != "done":
                failed[f"trial {name}"] = state.cause
    finally:
        gather(folder)
    if failed:
        listed = "; ".join(f"{name}: {cause}" for name, cause in failed.items())
        several = f"{len(failed)} of {count(len(durations), 'job')} failed"
        raise InputError(f"{several}: {listed}; the same command tries them again")
    yield f"rows in {folder}; next: multijoint tables {folder}"


def format_states(plan: Plan) -> str:
    """A line for each job, and how many jobs have each state."""
    states = job_states(plan)
    lines = [f"{name}  {state.state}{': ' * bool(state.cause)}{state.cause}" for name, state in states.items()]
    counts = Counter(state.state for state in states.values())
    shares = ", ".join(f"{number} {state}" for state, number in counts.items())
    return "\n".join([*lines, f"{count(len(states), 'job')}: {shares}"])


def format_jobs(plan: Plan, *, engine: str = "local", at_once: int | None = None) -> str:
    """A table of the jobs with estimated durations, the subjects of each fold, and the total duration.

    Raises:
        InputError: there is no room for a job, or one cannot train.
    """
    _, room = _room(plan, engine=engine, at_once=at_once)
    seconds = estimate_seconds(plan, strict=True)
    rows = [("method", "fold", "seed", "data sets", "subjects", "estimate")]
    splits: dict[tuple[int, str], str] = {}
    for (job, split), duration in zip(plan.jobs, seconds, strict=True):
        limited = ", ".join(f"{domain} {number}" for domain, number in job.train_subjects.items())
        domains = ", ".join(job.domains)
        fold = str(fold_setting(job.fold))
        rows.append((job.method.name, fold, str(job.seed), domains, limited or "all", _duration(duration)))
        if not limited:
            for domain in job.domains:
                splits.setdefault((job.fold, domain), _describe(split, domain))
    subjects = [f"fold {fold_setting(fold)} {domain}: {text}" for (fold, domain), text in sorted(splits.items())]
    here = max(sum(seconds) / room, *seconds)
    jobs, total = count(len(plan.jobs), "job"), _duration(sum(seconds))
    if plan.trials:
        jobs += f" and {count(len(plan.trials), 'trial')}"
    last = f"{jobs}, about {_duration(here)} here ({room} at once), {total} in all"
    return "\n".join([*align_columns(rows), "", *subjects, "", *_planned(plan), last])


def _planned(plan: Plan) -> list[str]:
    """A line with the values in place of the settings that are "auto", if any is."""
    planned = {name: value for name, value in plan.experiment.planned.items() if value is not None}
    shown = ", ".join(f"{name} {value}" for name, value in planned.items())
    return [f"planned for all jobs: {shown}"] if planned else []


def _room(plan: Plan, *, engine: str, at_once: int | None) -> tuple[Resources, int]:
    """Resources of a job, and how many such jobs run here at a time."""
    resources = Resources(
        threads=plan.experiment.threads, workers=plan.settings["num_workers"], gpu=plan.uses_gpu(), at_once=at_once
    )
    return resources, room_here(resources) if engine == "local" else 1


def _describe(split: Split, domain: str) -> str:
    sides: dict[str, Sequence] = {"tests": split.testing, "validates": split.validation, "trains": split.training}
    return "; ".join(
        f"{verb} {', '.join(dict.fromkeys(c.subject for c in cases if c.domain == domain)) or 'nobody'}"
        for verb, cases in sides.items()
    )


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{max(minutes, 1)} min"
