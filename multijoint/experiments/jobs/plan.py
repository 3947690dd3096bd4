"""Plans of experiments: the jobs that a command asks for, saved so that a later call can continue them."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from custom_components.data.cases import Case
from custom_components.data.manifests import Manifest, load_manifests
from custom_components.data.splits import Split, count_folds, make_splits
from custom_components.errors import InputError
from custom_components.system.files import write_atomically
from custom_components.system.terminal import log_lines
from custom_components.workflows.begin import select_device
from custom_components.workflows.monai_workarounds import raise_own_errors
from filelock import FileLock, Timeout
from monai.bundle import ConfigParser

from multijoint.cluster import Resources, run_tasks
from multijoint.experiments.jobs.experiment import (
    Experiment,
    Job,
    fold_setting,
    job_stem,
    read_experiment,
    recipe_settings,
    training_settings,
)
from multijoint.experiments.jobs.methods import Method, select_methods
from multijoint.experiments.jobs.overrides import PLANNED, check_overrides, overridden
from multijoint.experiments.jobs.run_job import JobState, run_job
from multijoint.experiments.jobs.trials import Trial, check_tests, plan_trials
from multijoint.experiments.rows import ALL_SUBJECTS, LEAST_TYPICAL

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """The work that an experiment is asked for.

    Args:
        experiment: settings that all jobs share.
        manifests: its data sets.
        settings: all of `train.yaml`, overrides and planned values included.
        jobs: jobs with their splits.
        asked: methods, folds, seeds, numbers of subjects, whether to shift and manifests to test on, as the caller gave
            them.
        trials: evaluations of the trained networks and of their ensembles on further data sets.
    """

    experiment: Experiment
    manifests: tuple[Manifest, ...]
    settings: Mapping[str, Any]
    jobs: tuple[tuple[Job, Split], ...]
    asked: Mapping[str, Any]
    trials: tuple[Trial, ...] = ()

    def save(self) -> None:
        """Write `experiment.json` and `plan.json`.

        Raises:
            InputError: as `Experiment.save`, or the folder holds jobs of the other kind of fold, numbers or least
                typical: its tables would have exams twice.
        """
        own = {job.fold == LEAST_TYPICAL for job, _ in self.jobs}
        for path in (self.experiment.folder / "jobs").glob("*/*"):
            if path.name.partition("_")[2].startswith("least_typical") not in own:
                raise InputError(
                    f"folds of the experiment in {self.experiment.folder} must be either numbers or least-typical, got "
                    f"both ({path.name}); choose another --out"
                )
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
    shift: bool = False,
    recipe: str | None = "paper",
    test_manifests: Sequence[str | Path] = (),
) -> Plan:
    """Plan an experiment without writing anything.

    Settings that are "auto" are planned once, see `plan_settings`; a later call finds the values in `experiment.json`.

    Args:
        folder: folder of all results.
        manifests: one a data set, two or more.
        methods: names for `select_methods`.
        folds: numbers of the folds, or `LEAST_TYPICAL` alone; None for all numbers.
        seeds: seeds of the trainings.
        train_subjects: numbers of the domain's own training subjects, or "all".
        settings: overrides of `train.yaml` and of the recipe.
        threads: processor threads of a job.
        dataset_dir: folder that the manifests' paths start from; the manifest's own if None.
        shift: whether shifted copies of the tested cases are evaluated too, see `shifts.shift_exam`.
        test_manifests: data sets of domains of the experiment and of other people, on which each network and the
            ensemble of a method's folds are scored; paths in them start at their own folders.
        recipe: "paper" or "strong", a file of overrides of `train.yaml` for every method; None takes none.

    Raises:
        InputError: something does not fit; see `load_manifests`, `select_methods`, `check_overrides`,
            `training_settings`, `plan_jobs`.
    """
    loaded = load_manifests(manifests, dataset_dir=dataset_dir)
    settings = recipe_settings(recipe) | dict(settings or {})
    all_settings, chosen = training_settings(settings), select_methods(methods)
    for method in chosen:
        check_overrides(method, all_settings)
    if all_settings["device"] not in ("auto", "cpu"):
        select_device(all_settings["device"])
    subjects = list(train_subjects)
    asked: dict[str, Any] = {"folds": folds, "seeds": list(seeds), "train_subjects": subjects, "shift": shift}
    first = fold_setting(min(folds) if folds else 0)
    where = {"manifests": list(manifests), "dataset_dir": dataset_dir, "fold": first, "output_dir": folder}
    earlier = read_experiment(folder) if (folder / "experiment.json").is_file() else None
    if earlier is not None and earlier.settings == settings:
        planned = earlier.planned
    else:
        planned = plan_settings({**all_settings, **where}, chosen, threads=threads)
    all_settings |= planned
    jobs = plan_jobs(loaded, methods=chosen, settings=all_settings, **asked)
    paths = tuple(manifest.path.resolve() for manifest in loaded)
    root = None if dataset_dir is None else dataset_dir.resolve()
    tests = load_manifests(test_manifests) if test_manifests else []
    check_tests(tests, trained=loaded)
    asked["test_manifests"] = [str(manifest.path.resolve()) for manifest in tests]
    trials = plan_trials([job for job, _ in jobs], tests)
    experiment = Experiment(folder, paths, dict(settings), threads, root, planned=planned)
    return Plan(
        experiment, tuple(loaded), all_settings, tuple(jobs), {"methods": list(methods), **asked}, tuple(trials)
    )


def plan_settings(settings: Mapping[str, Any], methods: Sequence[Method], *, threads: int) -> dict[str, Any]:
    """Values in place of the settings that are "auto", planned for one network of all data sets; empty if none is.

    They do for every method, so that methods stay comparable: if one shares its norms, all data sets get one size.

    Args:
        settings: all of `train.yaml`, with those that say what is trained on.
        methods: of the experiment.
        threads: of a job.

    Raises:
        InputError: see `plan_training`.
    """
    own = [overridden(settings, method) for method in methods]
    if not any(isinstance(each[name], str) for each in own for name in PLANNED):
        return {}
    norm = "shared" if any(each["norm"] == "shared" for each in own) else settings["norm"]
    parser, before = ConfigParser({**settings, "norm": norm}), torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with raise_own_errors():
            plan = parser.get_parsed_content("plan")
    finally:
        torch.set_num_threads(before)
    log_lines(_logger, plan.lines)
    return {name: getattr(plan, name) for name in PLANNED} | {"budget": None}


def load_plan(folder: Path, **changes: Any) -> Plan:
    """The plan that was last run in `folder`, with `changes` of the arguments of `make_plan`.

    Raises:
        InputError: no plan was run there, its data or methods are gone, or see `make_plan`.
    """
    experiment = read_experiment(folder)
    path = folder / "plan.json"
    if not path.is_file():
        raise InputError(f"folder {folder} must hold a plan, got no {path.name}; give --manifests to make one")
    earlier = {name: getattr(experiment, name) for name in ("manifests", "settings", "threads", "dataset_dir")}
    earlier["recipe"] = None  # its values are among the settings
    return make_plan(folder, **(earlier | json.loads(path.read_text()) | changes))


def run_plan(
    plan: Plan, *, resources: Resources, engine: str = "local", address: str | None = None
) -> Iterator[tuple[str, JobState]]:
    """Run all jobs of a saved plan that are not done, each with the resources, and yield its name and state as it ends.

    The engine is "local" or "ray", the address that of a Ray cluster; see `cluster.run_tasks`.

    Raises:
        InputError: another call is running this experiment, or see `run_tasks`.
    """
    folder = plan.experiment.folder
    try:
        with FileLock(folder / ".lock", timeout=0):
            jobs = [job for job, _ in plan.jobs]
            payloads = [(plan.experiment, job) for job in jobs]
            for index, result in run_tasks(run_job, payloads, resources=resources, engine=engine, address=address):
                state = result if isinstance(result, JobState) else JobState("failed", " ".join(str(result).split()))
                yield jobs[index].name, state
    except Timeout as error:
        raise InputError(f"experiment in {folder} must run once at a time, got a second call; wait for it") from error


def plan_jobs(
    manifests: Sequence[Manifest],
    *,
    methods: Sequence[Method],
    settings: Mapping[str, Any],
    folds: Sequence[int] | None = None,
    seeds: Sequence[int] = (0,),
    train_subjects: Sequence[int | str] = (ALL_SUBJECTS,),
    shift: bool = False,
) -> list[tuple[Job, Split]]:
    """All jobs with their splits, one fold of every method after the other, so that early results compare methods.

    A method with one network for all data sets trains once a fold. A method with one network a data set trains once a
    fold and data set with subjects to test. A number of training subjects cuts one domain at a time, which shows how
    much the other data sets help it. The arguments are those of `make_plan`, all of `train.yaml` in `settings`.

    Raises:
        InputError: a fold or a number of subjects is out of range, numbers of folds are given with the least typical,
            or there are fewer than 2 data sets.
    """
    if len(manifests) < 2:
        raise InputError(f"manifests of an experiment must be two or more, got {len(manifests)}; add a data set")
    num_folds = settings["num_folds"]
    snapshots = {method: _snapshots(overridden(settings, method)["max_epochs"]) for method in methods}
    folds = range(count_folds(manifests, num_folds=num_folds)) if folds is None else sorted(folds)
    if LEAST_TYPICAL in folds and len(folds) > 1:
        raise InputError("folds must be numbers or the least typical alone, got both; run two experiments")
    jobs = []
    for seed in seeds:
        for fold in folds:
            for method in methods:
                for group in [[manifest] for manifest in manifests] if method.each else [manifests]:
                    if fold >= count_folds(group, num_folds=num_folds) and len(group) < len(manifests):
                        continue  # leave-one-out: this data set has no subject left to test
                    for limit in _limits(group, train_subjects):
                        split = make_splits(group, fold=fold_setting(fold), num_folds=num_folds, train_subjects=limit)
                        if limit and not any(case.domain in limit for case in split.testing):
                            continue
                        first = fold == folds[0] and seed == seeds[0] and len(group) > 1 and not limit
                        job = _make_job(method, group, fold, seed, limit, snapshots[method] if first else ())
                        jobs.append((replace(job, shifted=_to_shift(group, split, limit)) if shift else job, split))
    return jobs


def _snapshots(epochs: int) -> tuple[int, ...]:
    """The paper's 10, 15, 20, 25 and 30 epochs of 30, in proportion."""
    return tuple(sorted({max(1, round(epochs * part / 6)) for part in (2, 3, 4, 5, 6)}))


def _to_shift(group: Sequence[Manifest], split: Split, limit: dict[str, int]) -> tuple[tuple[Case, str], ...]:
    """The tested cases that the rows of a job are about, by absolute paths, with their planes."""
    planes = {manifest.domain.name: manifest.domain.plane for manifest in group}
    for case in split.testing:  # whose copies have its name
        if set("$@%#") & set(case.name):
            rule = "must have a name free of $, @, % and # (code to MONAI)"
            raise InputError(f"case to shift {rule}, got {case.name}; set name: in its manifest")
    return tuple((case.absolute(), planes[case.domain]) for case in split.testing if not limit or case.domain in limit)


def _limits(group: Sequence[Manifest], train_subjects: Sequence[int | str]) -> list[dict[str, int]]:
    """For each number, one limit a domain; for "all", a single one that is empty."""
    limits: list[dict[str, int]] = []
    for number in train_subjects:
        limits += [{}] if number == ALL_SUBJECTS else [{manifest.domain.name: int(number)} for manifest in group]
    return limits


def _make_job(
    method: Method, group: Sequence[Manifest], fold: int, seed: int, limit: dict[str, int], epochs: tuple[int, ...]
) -> Job:
    domains = tuple(manifest.domain.name for manifest in group)
    name = job_stem(method.name, seed, fold)
    name += f"_{domains[0]}" if method.each else ""
    name += "".join(f"_{domain}{number}" if not method.each else f"{number}" for domain, number in limit.items())
    paths = tuple(manifest.path.resolve() for manifest in group)
    return Job(name, method, paths, domains, fold, seed, limit, epochs)
