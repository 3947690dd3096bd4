"""The files of a finished experiment that nobody trained: jobs, their scores, logs, label maps and embeddings."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from custom_components.data.manifests import Manifest, load_manifests
from custom_components.io.records import label_map_path
from custom_components.metrics.bone_scores import BoneScore
from custom_components.metrics.score_tables import score_rows, write_scores_csv
from custom_components.system.files import write_arrays, write_csv

from multijoint.experiments.jobs.experiment import Experiment, job_folder, job_stem
from multijoint.experiments.jobs.methods import known_methods
from multijoint.phantoms import write_phantoms

NUM_SLICES = 60
"""Slices whose embeddings figure 4 arranges; more of them take it longer."""

_DOMAINS = ("ankle", "shoulder")
_SIZE = 48  # voxels a side, and so slices of an exam
_EPOCHS, _VALIDATE, _SNAPSHOTS = 50, 5, (10, 20, 30, 40, 50)
_FEATURES = 128  # of an embedding


def make_experiment(folder: Path, *, folds: int) -> int:
    """Write an experiment of all methods, one job a method and fold, that tests one exam of each of two data sets.

    Scores are random; label maps are those of the phantoms. Returns the number of jobs.
    """
    rng = np.random.default_rng(0)
    paths = write_phantoms(folder / "phantoms", domains=list(_DOMAINS), num_cases=folds, seed=0, size=_SIZE)
    Experiment(folder, tuple(paths), {}).save()
    manifests = load_manifests(paths)
    for method in known_methods().values():
        for fold in range(folds):
            name = job_stem(method.name, 0, fold)
            embedded = fold == 0 and not method.each
            record = {"method": method.name, "seed": 0, "fold": fold, "train_subjects": "all", "limited": []}
            record |= {"domains": list(_DOMAINS), "embedded": embedded, "threads": 1, "border": "inside"}
            record |= {"evaluate_seconds": 9.0, "shifted": False, "state": "done", "cause": ""}
            _write_job(job_folder(folder, name), record, manifests, rng)
    return folds * len(known_methods())


def _write_job(place: Path, record: dict[str, Any], manifests: list[Manifest], rng: np.random.Generator) -> None:
    train, evaluation = place / "train", place / "evaluation"
    train.mkdir(parents=True)
    log = list(_log(rng))
    write_csv(train / "log.csv", list(log[-1]), log)
    run = {"device": "cpu", "weights": 31_000_000, "weights_per_domain": 4_000}
    (train / "run.json").write_text(json.dumps(run))
    slices: list[dict[str, Any]] = []
    tables: dict[str, list[dict[str, Any]]] = {"metrics.csv": [], "metrics_before.csv": []}
    for manifest in manifests:
        case, domain = manifest.cases[record["fold"]], manifest.domain
        exam = {"case": case.name, "subject": case.subject, "domain": domain.name}
        (evaluation / domain.name).mkdir(parents=True)
        shutil.copy(str(case.label), label_map_path(evaluation / domain.name, case.name))
        for rows in tables.values():
            measured = rng.uniform((0.7, 0.5, 5), (1, 2, 20), (len(domain.labels), 3)).tolist()
            bones = zip(domain.labels.items(), measured, strict=True)
            scores = [BoneScore(label, value, dice, assd, mssd, "ok") for (value, label), (dice, assd, mssd) in bones]
            rows += score_rows(scores, **exam, spacing_mm=(1.0, 1.0, 1.0), dice_as_one=0.9)
        slices += [
            exam | {"label": label, "slice": number, "dice": value, "prediction_area": 50, "reference_area": 50}
            for label in domain.labels.values()
            for number, value in enumerate(rng.uniform(0.7, 1, _SIZE).round(4).tolist())
        ]
    for name, rows in tables.items():
        write_scores_csv(evaluation / name, rows)
    write_csv(evaluation / "slices.csv", list(slices[0]), slices)
    if record["embedded"]:
        write_arrays(evaluation / "embeddings.npz", _embeddings(rng))
    (place / "job.json").write_text(json.dumps(record))


def _log(rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    for epoch in range(1, _EPOCHS + 1):
        loss = 1 / epoch + rng.uniform(0, 0.1)
        row = {"epoch": epoch, "steps": 16, "seconds": 20.0, "epoch_seconds": 30.0, "slices_per_second": 25.0}
        row |= {"peak_memory_mib": 900, "loss": loss, "cross_entropy": 0.8 * loss, "contrastive": 0.2 * loss}
        if epoch % _VALIDATE == 0:
            row |= {f"val_mean_dice{end}": 1 - loss for end in ("", *(f"_{name}" for name in _DOMAINS))}
        yield row


def _embeddings(rng: np.random.Generator) -> dict[str, np.ndarray]:
    domain = np.arange(NUM_SLICES) % len(_DOMAINS)
    by_norm = rng.normal(size=(NUM_SLICES, len(_DOMAINS), _FEATURES)) + 2 * domain[:, None, None]
    by_norm = by_norm.astype(np.float32)
    arrays = {"domain": domain, "training": np.arange(NUM_SLICES) < 0.8 * NUM_SLICES, "case": domain.astype(str)}
    arrays |= {"domains": np.array(_DOMAINS), "epochs": np.array(_SNAPSHOTS)}
    arrays |= {f"{epoch}/embedding": by_norm[:, 0] for epoch in _SNAPSHOTS}
    return arrays | {f"{_SNAPSHOTS[-1]}/{name}_by_norm": by_norm for name in ("embedding", "convolution")}
