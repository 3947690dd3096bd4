"""A plan: an experiment and the jobs asked for, written down so that a later call can go on with it."""

from __future__ import annotations

import contextlib
import fcntl
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from custom_components.data.manifests import Manifest, load_manifests
from custom_components.data.splits import Split
from custom_components.errors import InputError
from custom_components.system.files import write_atomically
from custom_components.workflows.begin import select_device

from multijoint.cluster import Resources, run_tasks
from multijoint.experiments.jobs.experiment import Experiment, Job, plan_jobs, read_experiment, training_settings
from multijoint.experiments.jobs.methods import select_methods
from multijoint.experiments.jobs.run_job import JobState, run_job
from multijoint.experiments.rows import ALL_SUBJECTS

__all__ = ["Plan", "load_plan", "make_plan", "run_plan"]


@dataclass(frozen=True)
class Plan:
    """What is to be done.

    Args:
        experiment: what all jobs share.
        manifests: its data sets.
        settings: all of `train.yaml`, overrides included.
        jobs: with their splits.
        asked: methods, folds, seeds and numbers of subjects as they were asked for.
    """

    experiment: Experiment
    manifests: tuple[Manifest, ...]
    settings: Mapping[str, Any]
    jobs: tuple[tuple[Job, Split], ...]
    asked: Mapping[str, Any]

    def save(self) -> None:
        """Write `experiment.json` and `plan.json`; errors as `Experiment.save`."""
        self.experiment.save()
        text = json.dumps(dict(self.asked), indent=2) + "\n"
        write_atomically(self.experiment.folder / "plan.json", text.encode())

    def uses_gpu(self) -> bool:
        """Whether its jobs train on a GPU."""
        return str(self.settings["device"]) != "cpu"


def make_plan(
    folder: Path,
    *,
    manifests: Sequence[Path],
    methods: Sequence[str] = ("all",),
    folds: Sequence[int] | None = None,
    seeds: Sequence[int] = (0,),
    train_subjects: Sequence[int | str] = (ALL_SUBJECTS,),
    settings: Mapping[str, Any] | None = None,
    threads: int = 1,
    dataset_dir: Path | None = None,
) -> Plan:
    """Plan an experiment; nothing is written yet.

    Args:
        folder: for all results.
        manifests: one a data set, two or more.
        methods: see `select_methods`.
        folds: which; `None` for all.
        seeds: of the trainings.
        train_subjects: numbers of own training subjects, or "all".
        settings: overrides of `train.yaml`.
        threads: processor threads of a job.
        dataset_dir: where the manifests' paths start, if not beside each.

    Raises:
        InputError: something does not fit; see `load_manifests`, `select_methods`, `training_settings`, `plan_jobs`.
    """
    loaded = load_manifests(manifests, dataset_dir=dataset_dir)
    settings = settings or {}
    all_settings = training_settings(settings)
    if all_settings["device"] not in ("auto", "cpu"):
        select_device(all_settings["device"])
    jobs = plan_jobs(
        loaded,
        methods=select_methods(methods),
        settings=all_settings,
        folds=folds,
        seeds=seeds,
        train_subjects=train_subjects,
    )
    paths = tuple(manifest.path.resolve() for manifest in loaded)
    asked = {"methods": list(methods), "folds": folds, "seeds": list(seeds), "train_subjects": list(train_subjects)}
    root = None if dataset_dir is None else dataset_dir.resolve()
    experiment = Experiment(folder, paths, dict(settings), threads, root)
    return Plan(experiment, tuple(loaded), all_settings, tuple(jobs), asked)


def load_plan(folder: Path, **changes: Any) -> Plan:
    """The plan that was last run in `folder`.

    Args:
        folder: of the experiment.
        changes: arguments of `make_plan` that replace those of the last call.

    Raises:
        InputError: none was, or its data or methods are gone, or see `make_plan`.
    """
    experiment = read_experiment(folder)
    path = folder / "plan.json"
    if not path.is_file():
        raise InputError(f"folder {folder} must hold a plan, got no {path.name}; give --manifests to make one")
    earlier = {
        "manifests": experiment.manifests,
        "settings": experiment.settings,
        "threads": experiment.threads,
        "dataset_dir": experiment.dataset_dir,
        **json.loads(path.read_text()),
    }
    return make_plan(folder, **(earlier | changes))


def run_plan(
    plan: Plan, *, resources: Resources, engine: str = "local", address: str | None = None
) -> Iterator[tuple[str, JobState]]:
    """Run all jobs that are not done, and yield the name and state of each as it ends.

    Args:
        plan: saved.
        resources: of each job.
        engine: "local" or "ray"; see `cluster.run_tasks`.
        address: of a Ray cluster.

    Raises:
        InputError: another call is running this experiment, or see `run_tasks`.
    """
    with _alone(plan.experiment.folder):
        jobs = [job for job, _ in plan.jobs]
        payloads = [(plan.experiment, job) for job in jobs]
        for index, result in run_tasks(run_job, payloads, resources=resources, engine=engine, address=address):
            state = result if isinstance(result, JobState) else JobState("failed", " ".join(str(result).split()))
            yield jobs[index].name, state


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(
                f"experiment in {folder} must run once at a time, got a second call; wait for it"
            ) from error
        yield
