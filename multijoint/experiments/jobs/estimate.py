"""Estimate the duration of an experiment from its finished jobs, or from a training step timed here."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from custom_components.data.cases import Case
from custom_components.data.splits import Split
from custom_components.domains import PLANES
from custom_components.io.geometry import orientation_of
from custom_components.io.volumes import read_grid
from custom_components.losses import MultiDomainSegmentationLoss
from custom_components.networks.unet import MultiDomainUNet
from custom_components.workflows.begin import select_device

from multijoint.experiments.jobs.experiment import Job
from multijoint.experiments.jobs.overrides import overridden
from multijoint.experiments.jobs.plan import Plan
from multijoint.experiments.jobs.shifts import SHIFTS
from multijoint.experiments.rows import read_rows

_START_SECONDS = 10.0  # for a process to start: imports and configuration
_FORWARD_SHARE = 0.35  # of a training step that its forward pass takes
_NETWORK = ("widths", "norm", "head", "attention", "embedding")
_SCORING_SECONDS = 3.0  # of an exam: post-processing and surface distances


def estimate_seconds(plan: Plan) -> list[float]:
    """Roughly estimate the seconds of each job, alone on its threads of this machine.

    A job takes the mean time of the finished jobs of the same method, domains and number of subjects, if there are any.
    """
    measured: Mapping[Any, float] = {}
    shares = 1 + len(SHIFTS) * bool(plan.asked.get("shift"))  # evaluations, of the exams and of their shifted copies
    if (plan.experiment.folder / "jobs.csv").is_file():
        rows = read_rows(plan.experiment.folder, "jobs")
        done = rows[rows["state"] == "done"]
        total = done.assign(seconds=done["train_seconds"] + shares * done["evaluate_seconds"] + _START_SECONDS)
        measured = total.groupby(["method", "domains", "train_subjects"])["seconds"].mean().to_dict()
    num_slices = {}
    for manifest in plan.manifests:
        for case in manifest.cases:
            shape, affine = read_grid(case.image)
            axis = orientation_of(affine)[:, 0].tolist().index(PLANES[manifest.domain.plane])
            num_slices[case.domain, case.name] = shape[axis]
    num_classes = {manifest.domain.name: manifest.domain.num_classes for manifest in plan.manifests}
    rates: dict[tuple[Any, ...], float] = {}
    seconds = []
    for job, split in plan.jobs:
        known = measured.get((job.method.name, "+".join(job.domains), job.rows()["train_subjects"]))
        if known is None:
            own = overridden(plan.settings, job.method)
            if isinstance(own["image_size"], Mapping):
                own["image_size"] = max((own["image_size"][name] for name in job.domains), key=math.prod)
            kind = (job.domains, *(str(own[name]) for name in _NETWORK))
            if kind not in rates:
                classes = [num_classes[name] for name in job.domains]
                rates[kind] = _seconds_per_slice(own, classes, plan.experiment.threads)
            known = _predict(own, job, split, num_slices, rates[kind], shares)
        seconds.append(known)
    return seconds


def _predict(
    settings: Mapping[str, Any],
    job: Job,
    split: Split,
    num_slices: Mapping[tuple[str, str], int],
    rate: float,
    shares: int,
) -> float:
    def total(cases: Sequence[Case], domain: str) -> int:
        return sum(num_slices[case.domain, case.name] for case in cases if case.domain == domain)

    trained = len(job.domains) * max(total(split.training, domain) for domain in job.domains)
    validated, tested = (
        sum(total(cases, domain) for domain in job.domains) for cases in (split.validation, split.testing)
    )
    training = settings["max_epochs"] * (trained + _FORWARD_SHARE * validated / settings["val_interval"])
    fixed = 2 * _START_SECONDS + shares * _SCORING_SECONDS * len(split.testing)
    return rate * (training + shares * _FORWARD_SHARE * tested) + fixed


def _seconds_per_slice(settings: Mapping[str, Any], num_classes: Sequence[int], threads: int) -> float:
    """Time one training step, after one to warm up, of a batch of one slice a domain."""
    device = select_device(settings["device"])
    torch.set_num_threads(threads)
    network = MultiDomainUNet(num_classes, **{name: settings[name] for name in _NETWORK})
    network = network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    loss = MultiDomainSegmentationLoss(num_classes, head=settings["head"])
    optimizer = torch.optim.Adam(network.parameters())
    domains = torch.arange(len(num_classes))
    images = torch.rand(len(domains), 1, *settings["image_size"], device=device)
    labels = torch.zeros_like(images, dtype=torch.uint8)
    start = 0.0
    for _ in range(2):
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        loss(network.forward_with_embedding(images, domains), (labels, domains)).backward()
        optimizer.step()
        float(images.sum())  # waits for a GPU
    return (time.perf_counter() - start) / len(domains)
