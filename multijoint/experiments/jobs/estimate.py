"""Estimate the duration of an experiment from its finished jobs, or from training steps timed here."""

from __future__ import annotations

from typing import Any

import torch
from custom_components.data.planes import add_planes
from custom_components.data.splits import Split
from custom_components.domains import PLANES
from custom_components.errors import InputError
from custom_components.io.geometry import orientation_of
from custom_components.io.volumes import read_grid
from custom_components.training.planning import training_seconds
from custom_components.workflows.monai_workarounds import raise_own_errors
from monai.bundle import ConfigParser

from multijoint.experiments.jobs.experiment import Job, fold_setting
from multijoint.experiments.jobs.overrides import overridden
from multijoint.experiments.jobs.plan import Plan
from multijoint.experiments.jobs.shifts import SHIFTS
from multijoint.experiments.rows import read_rows

_START_SECONDS = 10.0  # for a process to start: imports and configuration
_SCORING_SECONDS = 3.0  # of an exam: post-processing and surface distances


def estimate_seconds(plan: Plan, *, strict: bool = False) -> list[float]:
    """Roughly estimate the seconds of each job, alone on its threads of this machine.

    A job takes the mean time of the finished jobs of the same method, domains and number of subjects, if there are any;
    else that of steps of the first such job, timed here. A job that cannot train takes no time; if `strict`, its cause
    is raised.

    Raises:
        InputError: a job cannot train.
    """
    shares = 1 + len(SHIFTS) * bool(plan.asked.get("shift"))  # evaluations, of the exams and of their shifted copies
    known: dict[Any, float] = {}
    if (plan.experiment.folder / "jobs.csv").is_file():
        rows = read_rows(plan.experiment.folder, "jobs")
        done = rows[rows["state"] == "done"]
        total = done.assign(seconds=done["train_seconds"] + shares * done["evaluate_seconds"] + _START_SECONDS)
        known |= total.groupby(["method", "domains", "train_subjects"])["seconds"].mean().to_dict()
    seconds = []
    for job, split in plan.jobs:
        kind = (job.method.name, "+".join(job.domains), job.rows()["train_subjects"])
        if kind not in known:
            try:
                known[kind] = _timed(plan, job, split, shares)
            except InputError:
                if strict:
                    raise
                known[kind] = 0.0
        seconds.append(known[kind])
    return seconds


def _timed(plan: Plan, job: Job, split: Split, shares: int) -> float:
    own = overridden(plan.settings, job.method)
    own |= {"manifests": list(job.manifests), "dataset_dir": plan.experiment.dataset_dir, "seed": job.seed}
    own |= {"fold": fold_setting(job.fold), "train_subjects": job.train_subjects or None}
    parser, threads = ConfigParser(own), torch.get_num_threads()
    parser["plan::_target_"] = f"{training_seconds.__module__}.{training_seconds.__name__}"
    torch.set_num_threads(plan.experiment.threads)
    try:
        with raise_own_errors():
            training, forward = parser.get_parsed_content("plan")
    finally:
        torch.set_num_threads(threads)
    domains = [manifest.domain for manifest in plan.manifests if manifest.domain.name in job.domains]
    cut, tested = add_planes(domains, planes=own["planes"]), 0
    for case in split.testing:
        shape, affine = read_grid(case.image)
        axes = orientation_of(affine)[:, 0].tolist()
        planes = [each.plane for each in cut if case.domain in (each.name, each.plane_of)]
        tested += sum(shape[axes.index(PLANES[plane])] for plane in planes)
    fixed = 2 * _START_SECONDS + shares * _SCORING_SECONDS * len(split.testing)
    return training + shares * forward * tested + fixed
