"""What an experiment consists of: its settings, and the jobs they make."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from custom_components.data.manifests import Manifest
from custom_components.data.splits import Split, count_folds, make_splits
from custom_components.errors import InputError
from custom_components.system.files import write_atomically

from multijoint.experiments.jobs.methods import Method
from multijoint.experiments.rows import ALL_SUBJECTS
from multijoint.running import find_bundle

__all__ = ["Experiment", "Job", "plan_jobs", "read_experiment", "training_settings"]

_OF_JOBS = ("manifests", "dataset_dir", "fold", "seed", "output_dir", "resume", "snapshots", "train_subjects")


@dataclass(frozen=True)
class Job:
    """One training and its evaluation.

    Args:
        name: its folder below `jobs/` of the experiment.
        method: how it trains.
        manifests: data sets it trains on.
        domains: their names.
        fold: who is tested.
        seed: of the training.
        train_subjects: domain -> number of its training subjects; empty for all.
        snapshots: epochs whose embeddings are kept.
    """

    name: str
    method: Method
    manifests: tuple[Path, ...]
    domains: tuple[str, ...]
    fold: int
    seed: int
    train_subjects: Mapping[str, int] = field(default_factory=dict)
    snapshots: tuple[int, ...] = ()

    def rows(self) -> dict[str, Any]:
        """What its rows begin with."""
        count = ", ".join(map(str, self.train_subjects.values())) or ALL_SUBJECTS
        return {"method": self.method.name, "seed": self.seed, "fold": self.fold, "train_subjects": count}


@dataclass(frozen=True)
class Experiment:
    """What all jobs of a folder have in common: a second call must not mix other results among them.

    Args:
        folder: where everything goes.
        manifests: files, one a data set.
        settings: overrides of `train.yaml`, the same for every method.
        threads: processor threads of a job. Sums depend on it in their last digits.
        dataset_dir: where the manifests' paths start, if not beside each.
    """

    folder: Path
    manifests: tuple[Path, ...]
    settings: Mapping[str, Any]
    threads: int = 1
    dataset_dir: Path | None = None

    def save(self) -> None:
        """Write `experiment.json`, or check that the one there says the same.

        Raises:
            InputError: the folder holds an experiment with other settings or data, or a path that MONAI would take for
                code.
        """
        for path in (self.folder, *self.manifests, *([self.dataset_dir] if self.dataset_dir else [])):
            if set("$@%") & set(str(path)):
                raise InputError(f"path must be free of $, @ and % (code to MONAI), got {path}; rename it")
        content = {
            "manifests": [str(path) for path in self.manifests],
            "manifest_hashes": [hashlib.sha256(path.read_bytes()).hexdigest() for path in self.manifests],
            "settings": dict(self.settings),
            "threads": self.threads,
            "dataset_dir": None if self.dataset_dir is None else str(self.dataset_dir),
        }
        path = self.folder / "experiment.json"
        if path.is_file():
            earlier = json.loads(path.read_text())
            for key, value in content.items():
                if earlier.get(key) != value:
                    raise InputError(
                        f"{key} of the experiment in {self.folder} must stay {earlier.get(key)}, got {value}; "
                        "choose another --out"
                    )
            return
        write_atomically(path, (json.dumps(content, indent=2) + "\n").encode())


def read_experiment(folder: Path) -> Experiment:
    """The experiment that `folder` holds.

    Raises:
        InputError: none.
    """
    path = folder / "experiment.json"
    if not path.is_file():
        raise InputError(f"folder {folder} must hold an experiment, got no {path.name}; give --manifests to begin one")
    content = json.loads(path.read_text())
    dataset_dir = content.get("dataset_dir")
    return Experiment(
        folder,
        tuple(map(Path, content["manifests"])),
        content["settings"],
        content["threads"],
        None if dataset_dir is None else Path(dataset_dir),
    )


def training_settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of `train.yaml` of the joint bundle, overridden by `given`.

    Raises:
        InputError: `train.yaml` has no such setting, or it is one that the experiment sets itself.
    """
    path = find_bundle() / "configs" / "train.yaml"
    known: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    free = [name for name, value in known.items() if name not in _OF_JOBS and not isinstance(value, dict)]
    for name in given:
        if name not in free:
            near = difflib.get_close_matches(name, free, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(free)}"
            raise InputError(f"setting {name} must be one of train.yaml that no job decides; {hint}")
    return {**known, **given}


def plan_jobs(
    manifests: Sequence[Manifest],
    *,
    methods: Sequence[Method],
    settings: Mapping[str, Any],
    folds: Sequence[int] | None = None,
    seeds: Sequence[int] = (0,),
    train_subjects: Sequence[int | str] = (ALL_SUBJECTS,),
) -> list[tuple[Job, Split]]:
    """All jobs with their splits, a fold of every method after the other so that early results compare methods.

    A method with one network for all data sets trains once a fold; one with a network each, once a fold and data set
    that tests somebody. With a number of training subjects, one domain at a time is cut to it: the question is what
    the other data sets are worth to it.

    Args:
        manifests: the data sets.
        methods: the methods.
        settings: from `training_settings`.
        folds: which; `None` for all.
        seeds: of the trainings.
        train_subjects: numbers, or "all".

    Raises:
        InputError: a fold, or a number of subjects, is out of range, or there are fewer than 2 data sets.
    """
    if len(manifests) < 2:
        raise InputError(f"manifests of an experiment must be two or more, got {len(manifests)}; add a data set")
    num_folds = settings["num_folds"]
    total = count_folds(manifests, num_folds=num_folds)
    folds = range(total) if folds is None else sorted(folds)
    jobs = []
    for seed in seeds:
        for fold in folds:
            for method in methods:
                together = [manifests] if not method.each else [[manifest] for manifest in manifests]
                for group in together:
                    if fold >= count_folds(group, num_folds=num_folds) and len(group) < len(manifests):
                        continue  # leave-one-out: this data set has nobody left to test
                    for limit in _limits(group, train_subjects):
                        split = make_splits(group, fold=fold, num_folds=num_folds, train_subjects=limit)
                        if limit and not any(case.domain in limit for case in split.testing):
                            continue
                        first = fold == folds[0] and seed == seeds[0] and len(group) > 1 and not limit
                        epochs = _snapshot_epochs(settings["max_epochs"]) if first else ()
                        jobs.append((_make_job(method, group, fold, seed, limit, epochs), split))
    return jobs


def _limits(group: Sequence[Manifest], train_subjects: Sequence[int | str]) -> list[dict[str, int]]:
    limits: list[dict[str, int]] = []
    for number in train_subjects:
        if number == ALL_SUBJECTS:
            limits.append({})
        else:
            limits += [{manifest.domain.name: int(number)} for manifest in group]
    return limits


def _snapshot_epochs(max_epochs: int) -> tuple[int, ...]:
    """The paper's 10, 15, 20, 25 and 30 of 30, in proportion."""
    return tuple(sorted({max(1, round(max_epochs * part / 6)) for part in (2, 3, 4, 5, 6)}))


def _make_job(
    method: Method, group: Sequence[Manifest], fold: int, seed: int, limit: dict[str, int], epochs: tuple[int, ...]
) -> Job:
    domains = tuple(manifest.domain.name for manifest in group)
    name = f"{method.name}/seed{seed}_fold{fold:02d}"
    name += f"_{domains[0]}" if method.each else ""
    name += "".join(f"_{domain}{number}" if not method.each else f"{number}" for domain, number in limit.items())
    paths = tuple(manifest.path.resolve() for manifest in group)
    return Job(name, method, paths, domains, fold, seed, limit, epochs)
