"""Trials: the networks of a cross-validation, and their ensemble, scored on exams that none of them has seen."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from custom_components.data.manifests import Manifest
from custom_components.data.splits import ALL
from custom_components.errors import InputError
from custom_components.system.files import file_digest, write_atomically
from custom_components.system.locks import wait_for_lock

from multijoint.cluster import ProcessFailure, Resources, run_tasks
from multijoint.experiments.jobs.experiment import Experiment, Job, job_folder, job_stem
from multijoint.experiments.jobs.run_job import JobState, run_step
from multijoint.experiments.rows import ENSEMBLE
from multijoint.running import find_bundle

FOLDER = "trials"
"""Folder of an experiment that holds one folder a trial, by its name."""


@dataclass(frozen=True)
class Trial:
    """An evaluation of one trained network, or of all folds of a method together.

    Args:
        name: folder below `trials/` of the experiment.
        job: that made the network; of an ensemble, the first.
        members: names of the jobs, in the order of their folds.
        fold: of the network; `ENSEMBLE` for all.
        manifests: data sets to score, of domains that the job was trained on.
    """

    name: str
    job: Job
    members: tuple[str, ...]
    fold: int
    manifests: tuple[Path, ...]


def check_tests(manifests: Sequence[Manifest], *, trained: Sequence[Manifest]) -> None:
    """Refuse data sets for trials that the networks do not know, or of people that they are trained on.

    Raises:
        InputError: naming the domain or the subject.
    """
    known = {each.domain.name: each for each in trained}
    for manifest in manifests:
        name = manifest.domain.name
        own = known.get(name)
        if own is None or (dict(own.domain.labels), own.domain.plane) != (
            dict(manifest.domain.labels),
            manifest.domain.plane,
        ):
            rule = f"test manifest {manifest.path} must be of a domain of the experiment with its labels and plane"
            raise InputError(f"{rule}, got {name}; the experiment has {', '.join(known)}")
        if all(case.label is None for case in manifest.cases):
            raise InputError(f"test manifest {manifest.path} must have labelled cases, got none; add some")
        both = {case.subject for case in manifest.cases} & {case.subject for case in own.cases}
        if both:
            raise InputError(f"test manifest {manifest.path} must be of other people, got {min(both)}; leave it out")


def plan_trials(jobs: Sequence[Job], manifests: Sequence[Manifest]) -> list[Trial]:
    """A trial of each network that was trained on all subjects, and after the folds of a method one of them together.

    A method with one network a data set is tried on each data set by itself; one seed is not mixed with another.
    """
    groups: dict[tuple[str, int, tuple[str, ...]], list[Job]] = {}
    for job in jobs:
        if not job.train_subjects:
            groups.setdefault((job.method.name, job.seed, job.domains), []).append(job)
    trials = []
    for (method, seed, domains), members in groups.items():
        own = tuple(each.path.resolve() for each in manifests if each.domain.name in domains)
        if own:
            trials += [Trial(job.name, job, (job.name,), job.fold, own) for job in members]
        if own and len(members) > 1:
            ending = f"_{domains[0]}" if members[0].method.each else ""
            name = job_stem(method, seed, ENSEMBLE) + ending
            trials.append(Trial(name, members[0], tuple(job.name for job in members), ENSEMBLE, own))
    return trials


def run_trials(
    experiment: Experiment,
    trials: Sequence[Trial],
    *,
    resources: Resources,
    engine: str = "local",
    address: str | None = None,
) -> Iterator[tuple[str, JobState]]:
    """Run the trials that are not done, each with the resources, and yield its name and state; see `run_plan`."""
    payloads = [(experiment, trial) for trial in trials]
    for index, result in run_tasks(run_trial, payloads, resources=resources, engine=engine, address=address):
        failed = JobState("failed", " ".join(str(result).split()))
        yield trials[index].name, result if isinstance(result, JobState) else failed


def run_trial(payload: tuple[Experiment, Trial], environment: dict[str, str]) -> JobState:
    """Evaluate a trial unless the same networks were scored on the same data; a task of `cluster.run_tasks`."""
    experiment, trial = payload
    place = experiment.folder / FOLDER / trial.name
    place.mkdir(parents=True, exist_ok=True)
    with wait_for_lock(place / ".lock") as lock:  # as in `run_job`
        try:
            checkpoints = [job_folder(experiment.folder, name) / "train" / "model.pt" for name in trial.members]
            missing = [name for name, path in zip(trial.members, checkpoints, strict=True) if not path.is_file()]
            if missing:
                return JobState("waiting", f"{missing[0]} has no model")
            digests = [file_digest(path) for path in (*checkpoints, *trial.manifests)]
            key = hashlib.sha256("\n".join(digests).encode()).hexdigest()
            record = read_trial(place)
            if record.get("key") == key:
                return JobState("done")
            (place / "trial.json").unlink(missing_ok=True)
            _evaluate(partial(run_step, experiment, trial.job, place, environment, lock.fileno()), trial, checkpoints)
            record = trial.job.rows() | {"fold": trial.fold, "name": trial.name, "limited": [], "key": key}
            write_atomically(place / "trial.json", (json.dumps(record, indent=2) + "\n").encode())
        except (ProcessFailure, InputError, OSError) as failure:
            return JobState("failed", " ".join(str(failure).split()))
    return JobState("done")


def read_trial(place: Path) -> dict[str, Any]:
    """The record of a trial that is done; empty for another."""
    path = place / "trial.json"
    return json.loads(path.read_text()) if path.is_file() else {}


def _evaluate(run: Any, trial: Trial, checkpoints: Sequence[Path]) -> None:
    place = run.args[2] / "evaluation"
    shutil.rmtree(place, ignore_errors=True)
    run(
        "evaluating",
        find_bundle() / "configs" / "evaluate.yaml",
        output_dir=str(place),
        checkpoint=[str(path) for path in checkpoints],
        manifests=[str(path) for path in trial.manifests],
        dataset_dir=None,
        fold=ALL,
        num_folds=None,
        train_subjects=None,
        tested="$@split.training",
    )
