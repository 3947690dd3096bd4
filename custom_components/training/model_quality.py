"""Calibration of a trained model's confidence on its validation exams, and the volumes of its training references."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from custom_components.data.cases import Case
from custom_components.data.manifests import Manifest
from custom_components.data.scans import list_cases
from custom_components.distributed import first_rank_only
from custom_components.errors import InputError, explain, show_path
from custom_components.inference.domain_fit import norm_distance
from custom_components.inference.engine import VolumeDataset, VolumeEvaluator
from custom_components.inference.inferers import SlicewiseInferer
from custom_components.inference.transforms import ReadVolumed, RestoreSourceGridd, StackSlicesd
from custom_components.io.geometry import voxel_volume_ml
from custom_components.io.volumes import read_label
from custom_components.metrics.bone_scores import dice_coefficient
from custom_components.models.checkpoints import (
    build_network,
    check_domains,
    load_checkpoint,
    load_model,
    save_checkpoint,
)
from custom_components.models.trained_model import QUALITY, TrainedModel
from custom_components.postprocessing.transforms import default_steps
from custom_components.quality.calibration import DomainQuality, fit_calibration
from custom_components.system.terminal import count
from custom_components.training.runs import TrainingRun
from monai.transforms import Compose

_logger = logging.getLogger(__name__)
_MOST_MEASURED = 64  # scans of a domain whose distance from it is measured


class _SegmentedBone(NamedTuple):
    """A bone of a validation exam: the Dice that the network expected of it, and the Dice that it got."""

    domain: str
    subject: str
    expected: float
    dice: float


def calibrate_model(
    model: TrainedModel, *, training: Sequence[Case], validation: Sequence[Case], device: str | torch.device = "cpu"
) -> TrainedModel:
    """Measure the quality of a model in the domains of the given cases; its quality in other domains is kept.

    The validation exams are segmented like any scan, with the default post-processing, and compared with their
    references on the source grids. Training exams contribute only volumes: the network has seen them, so its Dice there
    is better than on new scans. Validation cases must be part of neither the model's training nor any test.

    Returns:
        The model with a `DomainQuality` for each of these domains.

    Raises:
        InputError: a case has no label, or cannot be read.
    """
    bones = _segment_all(model, validation, torch.device(device)) if validation else []
    quality = dict(model.training.get(QUALITY, {}))
    for name in dict.fromkeys(case.domain for case in (*training, *validation)):
        own = [bone for bone in bones if bone.domain == name]
        calibration = fit_calibration(
            [bone.expected for bone in own], [bone.dice for bone in own], exams=[bone.subject for bone in own]
        )
        references = [case for case in (*training, *validation) if case.domain == name]
        volumes, farthest = _volumes_ml(model, references), _farthest(model, references)
        quality[name] = DomainQuality(calibration, volumes, len(references), farthest).to_dict()
    return replace(model, training=dict(model.training) | {QUALITY: quality})


def calibrate_checkpoint(
    path: Path, manifests: Sequence[Manifest], *, device: str | torch.device = "cpu"
) -> TrainedModel:
    """Calibrate the model of a finished run on the exams listed in its checkpoint, and return it.

    The checkpoint, `model.pt` or another one, is replaced atomically, with its digest. Manifests are those of the
    training; domains of manifests left out keep their quality.

    Raises:
        InputError: `path` is a packaged model, or no manifest has one of the exams; see also `calibrate_model`.
    """
    if path.is_dir():
        raise InputError(f"checkpoint must be a run's model.pt, got folder {path.name}; calibrate it, then package it")
    content = load_checkpoint(path)
    model = load_model(path)
    check_domains(model, domains=[manifest.domain for manifest in manifests])
    cases = {(case.domain, case.name): case for manifest in manifests for case in manifest.cases}
    if "split" not in model.training:
        raise InputError("a model to calibrate must say whom it was trained on, got another; give a run's model.pt")
    names = {manifest.domain.name for manifest in manifests}
    split = {}
    for side in ("training", "validation"):
        wanted = [(row["domain"], row["case"]) for row in model.training["split"][side] if row["domain"] in names]
        missing = [case for case in wanted if case not in cases]
        if missing:
            raise InputError(
                f"manifests must have every exam of the training, got none called {missing[0][1]} "
                f"({missing[0][0]}); give those it was trained with"
            )
        split[side] = [cases[case] for case in wanted]
    model = calibrate_model(model, **split, device=device)
    save_checkpoint(path, model, resume=content.get("resume"))
    return model


@first_rank_only
def calibrate_run(run: TrainingRun, *, enabled: bool = True) -> None:
    """Calibrate the `model.pt` of a finished training, in the first process only.

    Domains of the model that the run started from keep their quality if their weights have not changed. If the quality
    cannot be measured, a warning is logged and the training still succeeds.
    """
    if not enabled:
        return
    path = run.output_dir / "model.pt"
    try:
        model = load_model(path)
        before = run.started_from
        if before is not None and _answers_alike(model, before):
            model = replace(model, training=dict(model.training) | {QUALITY: dict(before.training.get(QUALITY, {}))})
        model = calibrate_model(model, training=run.split.training, validation=run.split.validation, device=run.device)
        save_checkpoint(path, model)
    except (InputError, OSError, MemoryError) as error:
        _logger.warning("model.pt stays without confidence: %s; try multijoint calibrate", explain(error))
        return
    for line in describe_quality(model):
        _logger.info("%s", line)


def describe_quality(model: TrainedModel) -> list[str]:
    """Describe in one line per domain the data behind its confidence."""
    lines = []
    for domain in model.data_sets:
        known = model.quality(domain.name)
        if known is None:
            lines.append(f"{domain.name}: nothing known of its quality")
        elif known.calibration is None:
            volumes = f"volumes of {count(known.references, 'reference')}"
            lines.append(f"{domain.name}: {volumes}; no exam to calibrate confidence on")
        else:
            how, error = known.calibration, known.calibration.error
            off = "" if error is None else f", off by {error:.3f} in exams left out"
            exams = f"{count(how.bones, 'bone')} of {count(how.exams, 'exam')}"
            volumes = f"volumes of {count(known.references, 'reference')}"
            lines.append(f"{domain.name}: confidence calibrated on {exams}{off}; {volumes}")
    return lines


def _segment_all(model: TrainedModel, cases: Sequence[Case], device: torch.device) -> list[_SegmentedBone]:
    """Segment cases with the inference engine and compare each bone with its reference on the source grid."""
    bones: list[_SegmentedBone] = []

    def compare(item: dict[str, Any]) -> dict[str, Any]:
        domain = model.domain(item["domain"])
        label = read_label(item["reference"], like=item["source"])
        reference = domain.encode(label.array, source=show_path(label.path))
        prediction = np.asarray(item["pred"])[0]
        for index, channel in enumerate(model.channels(domain.name)[1:], start=1):
            dice = dice_coefficient(prediction == index, reference == index)
            bones.append(_SegmentedBone(domain.name, item["subject"], item["expected_dice"][channel], dice))
        return item

    for case in cases:
        _label_of(case)
    read = Compose([ReadVolumed("image"), StackSlicesd("image", model=model)])
    steps = [RestoreSourceGridd("pred", model=model), *default_steps("pred", domains=model.domains), compare]
    evaluator = VolumeEvaluator(
        device=device,
        val_data_loader=VolumeDataset(list_cases(cases), read),  # iterated as it is: read here, one after another
        network=build_network(model).to(device),
        inferer=SlicewiseInferer(roi_size=None, spatial_dim=2, sw_batch_size=16),
        postprocessing=Compose(steps),
    )
    evaluator.run()
    evaluator.finish()
    return bones


def _volumes_ml(model: TrainedModel, cases: Iterable[Case]) -> dict[str, tuple[float, float]]:
    """Smallest and largest volume of each bone among the references that have it."""
    volumes: dict[str, list[float]] = {}
    for case in cases:
        label = read_label(_label_of(case))
        domain = model.domain(case.domain)
        counts = np.bincount(domain.encode(label.array, source=show_path(label.path)).reshape(-1))
        voxel_ml = voxel_volume_ml(label.affine)
        for bone, number in zip(domain.labels.values(), counts[1:], strict=False):
            if number:
                volumes.setdefault(bone, []).append(float(number) * voxel_ml)
    return {bone: (round(min(each), 6), round(max(each), 6)) for bone, each in volumes.items()}


def _farthest(model: TrainedModel, cases: Sequence[Case]) -> float | None:
    """Largest distance of the scans from their domain, of at most 64 of them, evenly spaced."""
    read = Compose([ReadVolumed("image"), StackSlicesd("image", model=model)])
    network = build_network(model)
    found = []
    for case in cases[:: -(-len(cases) // _MOST_MEASURED)]:
        item = read({**case.scan, "domain": case.domain})
        found.append(norm_distance(network, item["image"], domain=case.domain))
    known = [distance for distance in found if distance is not None]
    return round(max(known), 6) if known else None


def _label_of(case: Case) -> Path:
    if case.label is None:
        raise InputError(f"case {case.name} must have a label to calibrate with, got none; leave it out")
    return case.label


def _answers_alike(model: TrainedModel, before: TrainedModel) -> bool:
    """Whether all weights of the earlier model are unchanged, so that its domains are segmented as before."""

    def found(name: str) -> list[Any]:
        if name in model.weights:
            return [model.weights[name]]
        stem, _, kind = name.rpartition(".")  # a first convolution that was shared may have become each domain's own
        return [model.weights.get(f"{stem}.convs.{index}.{kind}") for index in range(len(before.domains))]

    return all(
        own is not None and torch.equal(own, weight) for name, weight in before.weights.items() for own in found(name)
    )
