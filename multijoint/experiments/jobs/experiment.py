"""Experiments and their jobs as they are named and saved."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from custom_components.data.cases import Case
from custom_components.data.splits import LEAST_TYPICAL as LEAST_TYPICAL_SETTING
from custom_components.errors import InputError, suggest
from custom_components.system.files import write_atomically

from multijoint.experiments.jobs.methods import Method
from multijoint.experiments.jobs.overrides import OF_JOBS
from multijoint.experiments.rows import ALL_SUBJECTS, ENSEMBLE, LEAST_TYPICAL
from multijoint.running import find_bundle, recipe_config


@dataclass(frozen=True)
class Job:
    """One training and its evaluation.

    Args:
        name: folder below `jobs/` of the experiment.
        method: training method.
        manifests: data sets to train on, whose names are `domains`.
        fold: fold whose subjects are tested; `LEAST_TYPICAL` for those.
        seed: seed of the training.
        train_subjects: domain -> number of its training subjects; empty for all.
        snapshots: epochs whose embeddings are kept.
        shifted: tested cases, with the planes of their slices, whose shifted copies are evaluated too; empty for none.
    """

    name: str
    method: Method
    manifests: tuple[Path, ...]
    domains: tuple[str, ...]
    fold: int
    seed: int
    train_subjects: Mapping[str, int] = field(default_factory=dict)
    snapshots: tuple[int, ...] = ()
    shifted: tuple[tuple[Case, str], ...] = ()

    def rows(self) -> dict[str, Any]:
        """The columns that all rows of the job start with."""
        count = ", ".join(map(str, self.train_subjects.values())) or ALL_SUBJECTS
        return {"method": self.method.name, "seed": self.seed, "fold": self.fold, "train_subjects": count}


@dataclass(frozen=True)
class Experiment:
    """Settings that all jobs of a folder share, so that a second call cannot mix other results with theirs.

    Args:
        folder: folder of all results.
        manifests: one file a data set.
        settings: overrides of `train.yaml`, the same for every method.
        threads: processor threads of a job. The last digits of sums depend on it.
        dataset_dir: folder that the manifests' paths start from; the manifest's own if None.
        planned: values in place of the settings that are "auto", the same for every job.

    Raises:
        InputError: MONAI would take a path for code.
    """

    folder: Path
    manifests: tuple[Path, ...]
    settings: Mapping[str, Any]
    threads: int = 1
    dataset_dir: Path | None = None
    planned: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for path in (self.folder, *self.manifests, *([self.dataset_dir] if self.dataset_dir else [])):
            if set("$@%#") & set(str(path)):
                raise InputError(f"path must be free of $, @, % and # (code to MONAI), got {path}; rename it")

    @property
    def resolved(self) -> dict[str, Any]:
        """The settings, none of them "auto"."""
        return {**self.settings, **self.planned}

    def save(self) -> None:
        """Write `experiment.json`, or compare with the one that is there.

        Raises:
            InputError: the folder holds an experiment with other settings or data.
        """
        content = {
            "manifests": [str(path) for path in self.manifests],
            "manifest_hashes": [hashlib.sha256(path.read_bytes()).hexdigest() for path in self.manifests],
            "settings": dict(self.settings),
            "threads": self.threads,
            "dataset_dir": None if self.dataset_dir is None else str(self.dataset_dir),
            **({"planned": dict(self.planned)} if self.planned else {}),
        }
        path = self.folder / "experiment.json"
        if not path.is_file():
            write_atomically(path, (json.dumps(content, indent=2) + "\n").encode())
            return
        earlier = json.loads(path.read_text())
        for key, value in content.items():
            before = earlier.get(key)
            if before == value:
                continue
            if isinstance(before, dict) and isinstance(value, dict):
                names = [name for name in before | value if before.get(name, "unset") != value.get(name, "unset")]
                before, value = ({name: each.get(name, "unset") for name in names} for each in (before, value))
            raise InputError(
                f"{key} of the experiment in {self.folder} must stay {before}, got {value}; choose another --out"
            )


def read_experiment(folder: Path) -> Experiment:
    """Read `experiment.json`; raises InputError if there is none."""
    path = folder / "experiment.json"
    if not path.is_file():
        raise InputError(f"folder {folder} must hold an experiment, got no {path.name}; give --manifests to begin one")
    content = json.loads(path.read_text())
    root = content.get("dataset_dir")
    manifests = tuple(map(Path, content["manifests"]))
    root = root if root is None else Path(root)
    return Experiment(
        folder, manifests, content["settings"], content["threads"], root, planned=content.get("planned", {})
    )


def fold_setting(fold: int) -> int | str:
    """The setting `fold` of a training, for that of a job or row."""
    return LEAST_TYPICAL_SETTING if fold == LEAST_TYPICAL else fold


def job_stem(method: str, seed: int, fold: int) -> str:
    """How the name of a job begins, `proposed/seed0_fold03` or `proposed/seed0_least_typical`."""
    named = {LEAST_TYPICAL: "least_typical", ENSEMBLE: "ensemble"}
    return f"{method}/seed{seed}_" + named.get(fold, f"fold{fold:02d}")


def job_folder(folder: Path, name: str) -> Path:
    """The folder of a job of the experiment in `folder`."""
    return folder / "jobs" / name


def recipe_settings(name: str | None) -> dict[str, Any]:
    """The overrides of `train.yaml` that the recipe of this name consists of; none for None.

    Raises:
        InputError: there is no such recipe.
    """
    if name is None:
        return {}
    path = find_bundle() / "configs" / recipe_config(name)
    return dict(yaml.safe_load(path.read_text(encoding="utf-8")))


def training_settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings in `train.yaml` of the joint bundle, overridden by `given`.

    Raises:
        InputError: `train.yaml` has no such setting, or each job sets it for itself.
    """
    path = find_bundle() / "configs" / "train.yaml"
    known: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    free = [name for name, value in known.items() if name not in OF_JOBS and not isinstance(value, dict)]
    for name in given:
        if name not in free:
            rule = "must be one of train.yaml that no job decides"
            raise InputError(f"setting {name} {rule}; {suggest(name, free)}")
    return {**known, **given}
