"""A trained model's own quality: how sure it may be, seen on validation exams, and how large bones were in training."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from custom_components.data.cases import Case
from custom_components.data.manifests import Manifest
from custom_components.distributed import first_rank_only
from custom_components.errors import InputError, explain, show_path
from custom_components.inference.inferers import SlicewiseInferer
from custom_components.inference.transforms import ReadVolumed, RestoreSourceGridd, StackSlicesd
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
from custom_components.postprocessing.transforms import KeepLargestComponentd, SphericalClosingd
from custom_components.quality.calibration import DomainQuality, fit_calibration
from custom_components.quality.expected_dice import ExpectedDice
from custom_components.training.runs import TrainingRun
from monai.transforms import Compose

__all__ = ["calibrate_checkpoint", "calibrate_model", "calibrate_run", "describe_quality"]

_logger = logging.getLogger(__name__)


def calibrate_model(
    model: TrainedModel, *, training: Sequence[Case], validation: Sequence[Case], device: str | torch.device = "cpu"
) -> TrainedModel:
    """A model that knows its quality in the domains of the given cases; what it knows of others stays.

    The validation exams are segmented as any scan is, with the default post-processing, and compared with their
    references on the scans' own grids. Training exams give volumes only: the network knows them too well.

    Args:
        model: with its weights.
        training: labelled cases that it was trained on.
        validation: labelled cases that it was not trained on, and that nobody will be tested on.
        device: where the network runs.

    Raises:
        InputError: a case has no label, or cannot be read.
    """
    seen = _segment_all(model, validation, torch.device(device)) if validation else []
    quality = dict(model.training.get(QUALITY, {}))
    for name in dict.fromkeys(case.domain for case in (*training, *validation)):
        own = [bone for bone in seen if bone[0] == name]
        _, exams, expected, dice = zip(*own, strict=True) if own else ((), (), (), ())
        calibration = fit_calibration(expected, dice, exams=exams)
        references = [case for case in (*training, *validation) if case.domain == name]
        quality[name] = DomainQuality(calibration, _volumes_ml(model, references), len(references)).to_dict()
    return replace(model, training=dict(model.training) | {QUALITY: quality})


def calibrate_checkpoint(
    path: Path, manifests: Sequence[Manifest], *, device: str | torch.device = "cpu"
) -> TrainedModel:
    """Calibrate a run's model afterwards, on the exams that it names itself, and write it again.

    Args:
        path: `model.pt` or another checkpoint of a run; replaced whole, with its digest.
        manifests: of data sets that it was trained on; domains of others keep what is known of them.
        device: where the network runs.

    Returns:
        What was written.

    Raises:
        InputError: a packaged model, or a training or validation exam that no manifest has; see also
            `calibrate_model`.
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
    """Let the `model.pt` of a finished training know its quality; of several processes the first does.

    Domains of the model that the run started from keep what was known, if their weights have not changed. What cannot
    be measured costs the training nothing but a warning.
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
    """A line a domain: on how much its confidence rests."""
    lines = []
    for domain in model.domains:
        known = model.quality(domain.name)
        if known is None:
            lines.append(f"{domain.name}: nothing known of its quality")
        elif known.calibration is None:
            lines.append(f"{domain.name}: volumes of {known.references} references; no exam to calibrate confidence on")
        else:
            how, error = known.calibration, known.calibration.error
            off = "" if error is None else f", off by {error:.3f} in exams left out"
            lines.append(
                f"{domain.name}: confidence calibrated on {how.bones} bones of {how.exams} exams{off}; "
                f"volumes of {known.references} references"
            )
    return lines


def _segment_all(
    model: TrainedModel, cases: Sequence[Case], device: torch.device
) -> list[tuple[str, str, float, float]]:
    """Domain, exam, expected Dice and Dice of each bone of each case."""
    network = build_network(model).to(device)
    read = Compose([ReadVolumed("image"), StackSlicesd("image", model=model)])
    clean = Compose([RestoreSourceGridd("pred", model=model), KeepLargestComponentd("pred"), SphericalClosingd("pred")])
    inferer = SlicewiseInferer(roi_size=model.preprocessing.image_size, spatial_dim=2, sw_batch_size=16)
    found = []
    for case in cases:
        domain, expected = model.domain(case.domain), ExpectedDice()
        item = read({"image": case.image, "domain": domain.name})
        network.set_domain(domain.name)
        images, how = item.pop("image")[None].to(device), {"size": item["source_slice"], "name": show_path(case.image)}
        item["pred"] = inferer.classes(images, network, expected=expected, **how)[0]
        classes = np.asarray(clean(item)["pred"])[0]
        reference = domain.encode(
            read_label(_label_of(case), like=item["source"]).array, source=show_path(_label_of(case))
        )
        sure = expected.compute()
        for index, channel in enumerate(model.channels(domain.name)[1:], start=1):
            dice = dice_coefficient(classes == index, reference == index)
            found.append((domain.name, case.subject, sure[channel], dice))
    return found


def _volumes_ml(model: TrainedModel, cases: Iterable[Case]) -> dict[str, tuple[float, float]]:
    """Smallest and largest volume of each bone among the references that have it."""
    volumes: dict[str, list[float]] = {}
    for case in cases:
        label = read_label(_label_of(case))
        domain = model.domain(case.domain)
        counts = np.bincount(domain.encode(label.array, source=show_path(label.path)).reshape(-1))
        voxel_ml = abs(float(np.linalg.det(label.affine[:3, :3]))) / 1e3
        for bone, count in zip(domain.labels.values(), counts[1:], strict=False):
            if count:
                volumes.setdefault(bone, []).append(float(count) * voxel_ml)
    return {bone: (round(min(each), 6), round(max(each), 6)) for bone, each in volumes.items()}


def _label_of(case: Case) -> Path:
    if case.label is None:
        raise InputError(f"case {case.name} must have a label to calibrate with, got none; leave it out")
    return case.label


def _answers_alike(model: TrainedModel, before: TrainedModel) -> bool:
    """Whether nothing that the earlier model consists of has changed, so that its domains are segmented as before."""
    return all(
        name in model.weights and torch.equal(model.weights[name], weight) for name, weight in before.weights.items()
    )
