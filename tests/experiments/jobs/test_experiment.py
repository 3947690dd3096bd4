import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import pytest
import torch
from custom_components.data import typicality
from custom_components.data.cases import Case
from custom_components.data.manifests import Manifest
from custom_components.data.splits import split_of
from custom_components.domains import Domain
from custom_components.errors import InputError
from custom_components.training import planning

from multijoint.experiments.jobs.estimate import estimate_seconds
from multijoint.experiments.jobs.experiment import (
    Experiment,
    Job,
    fold_setting,
    read_experiment,
    recipe_settings,
    training_settings,
)
from multijoint.experiments.jobs.methods import select_methods
from multijoint.experiments.jobs.plan import Plan, load_plan, make_plan, plan_jobs
from multijoint.experiments.rows import LEAST_TYPICAL


def manifest(name: str, num_subjects: int) -> Manifest:
    cases = tuple(
        Case(f"c{index}", name, Path(f"{index}.nii"), Path(f"{index}_l.nii"), f"s{index}")
        for index in range(num_subjects)
    )
    return Manifest(Domain(name, {1: "bone"}, "axial"), cases, "none", "nowhere", Path(f"{name}.yaml"))


ANKLE, SHOULDER = manifest("ankle", 6), manifest("shoulder", 4)


def jobs_of(methods: list[str], **how: object) -> list:
    settings = training_settings({"max_epochs": 30})
    return plan_jobs([ANKLE, SHOULDER], methods=select_methods(methods), settings=settings, **how)


def test_leave_one_out_of_unequal_data_sets() -> None:
    """17 ankles and 15 shoulders make 17 folds, the last two without a shoulder: here 6 and 4."""
    jobs = jobs_of(["unet-base", "proposed"])
    count = Counter((job.method.name, job.domains) for job, _ in jobs)
    assert count == {
        ("unet-base", ("ankle",)): 6,
        ("unet-base", ("shoulder",)): 4,
        ("proposed", ("ankle", "shoulder")): 6,
    }
    assert len({job.name for job, _ in jobs}) == len(jobs)
    tested = Counter((case.domain, case.subject) for job, split in jobs if job.method.each for case in split.testing)
    assert set(tested.values()) == {1}
    assert len(tested) == 10


def test_base_and_joint_methods_test_the_same_subjects_in_a_fold() -> None:
    for fold in range(4):
        sides = {}
        for job, split in jobs_of(["unet-base", "proposed"], folds=[fold]):
            for name in ("training", "validation", "testing"):
                subjects = {(case.domain, case.subject) for case in getattr(split, name)}
                sides.setdefault((job.method.name, name), set()).update(subjects)
        for name in ("training", "validation", "testing"):
            assert sides["unet-base", name] == sides["proposed", name]


def test_jobs_go_fold_by_fold() -> None:
    order = [(job.seed, job.fold) for job, _ in jobs_of(["all"], seeds=[0, 1])]
    assert order == sorted(order)


def test_few_subjects_cut_one_data_set_at_a_time() -> None:
    jobs = jobs_of(["unet-base", "proposed"], folds=[0], train_subjects=[1, "all"])
    assert [(job.name, dict(job.train_subjects)) for job, _ in jobs] == [
        ("unet-base/seed0_fold00_ankle1", {"ankle": 1}),
        ("unet-base/seed0_fold00_ankle", {}),
        ("unet-base/seed0_fold00_shoulder1", {"shoulder": 1}),
        ("unet-base/seed0_fold00_shoulder", {}),
        ("proposed/seed0_fold00_ankle1", {"ankle": 1}),
        ("proposed/seed0_fold00_shoulder1", {"shoulder": 1}),
        ("proposed/seed0_fold00", {}),
    ]
    trained = Counter(case.domain for case in jobs[4][1].training)
    assert trained == {"ankle": 1, "shoulder": 2}
    assert jobs[4][0].rows()["train_subjects"] == "1"


def test_few_subjects_are_not_asked_of_a_data_set_that_tests_nobody() -> None:
    names = [job.name for job, _ in jobs_of(["proposed"], folds=[5], train_subjects=[1])]
    assert names == ["proposed/seed0_fold05_ankle1"]


def test_embeddings_are_kept_at_the_papers_epochs_once_a_method() -> None:
    kept = [job for job, _ in jobs_of(["all"], seeds=[0, 1]) if job.snapshots]
    assert [job.method.name for job in kept] == ["unet-joint", "unet-dsl", "attunet-joint", "attunet-dsl", "proposed"]
    assert {job.snapshots for job in kept} == {(10, 15, 20, 25, 30)}
    assert {(job.seed, job.fold) for job in kept} == {(0, 0)}


def test_short_trainings_keep_fewer_epochs() -> None:
    settings = training_settings({"max_epochs": 2})
    ((job, _),) = plan_jobs([ANKLE, SHOULDER], methods=select_methods(["proposed"]), settings=settings, folds=[0])
    assert job.snapshots == (1, 2)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"max_epoch": 3}, "did you mean max_epochs"),
        ({"elbow": 3}, "known are"),
        ({"fold": 3}, "that no job decides"),
        ({"train": {}}, "that no job decides"),
    ],
)
def test_settings_that_train_yaml_lacks_or_a_job_decides_are_refused(given: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        training_settings(given)


def test_what_makes_no_experiment_is_refused() -> None:
    with pytest.raises(InputError, match="two or more, got 1"):
        plan_jobs([ANKLE], methods=select_methods(["all"]), settings=training_settings({}))
    with pytest.raises(InputError, match="fold must be a whole number from 0 to 5, got 6"):
        jobs_of(["proposed"], folds=[6])
    with pytest.raises(InputError, match="train_subjects of shoulder must be a whole number from 1 to 2"):
        jobs_of(["proposed"], folds=[0], train_subjects=[3])


def test_an_experiment_never_mixes_settings_or_data(tmp_path: Path) -> None:
    file = tmp_path / "ankle.yaml"
    file.write_text("domain: ankle\n")
    first = Experiment(tmp_path / "exp", (file,), {"max_epochs": 3})
    first.save()
    first.save()
    assert read_experiment(tmp_path / "exp") == first
    with pytest.raises(InputError, match=r"settings of the experiment .* must stay \{'max_epochs': 3\}"):
        Experiment(tmp_path / "exp", (file,), {"max_epochs": 4}).save()
    with pytest.raises(InputError, match=r"must stay \{'context': 'unset'\}, got \{'context': None\}; choose another"):
        Experiment(tmp_path / "exp", (file,), {"max_epochs": 3, "context": None}).save()
    with pytest.raises(InputError, match="threads of the experiment"):
        Experiment(tmp_path / "exp", (file,), {"max_epochs": 3}, threads=2).save()
    file.write_text("domain: ankle # another\n")
    with pytest.raises(InputError, match="manifest_hashes"):
        first.save()
    with pytest.raises(InputError, match="must hold an experiment"):
        read_experiment(tmp_path)


@pytest.mark.parametrize("name", ["a@b", "a$b", "a%b", "a#b"])
def test_paths_that_monai_would_change_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="code to MONAI"):
        Experiment(tmp_path / name, (), {})
    with pytest.raises(InputError, match="code to MONAI"):
        Experiment(tmp_path, (tmp_path / name / "manifest.yaml",), {})


def test_the_least_typical_are_one_fold_of_all_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    def distances(manifest: Manifest) -> dict[str, float]:
        return {case.subject: float(case.subject == "s2") for case in manifest.cases}

    monkeypatch.setattr(typicality, "distances_from_typical", distances)
    jobs = jobs_of(["unet-base", "proposed"], folds=[LEAST_TYPICAL], seeds=[3], train_subjects=[1, "all"])
    assert [job.name for job, _ in jobs] == [
        *("unet-base/seed3_least_typical_ankle1", "unet-base/seed3_least_typical_ankle"),
        *("unet-base/seed3_least_typical_shoulder1", "unet-base/seed3_least_typical_shoulder"),
        *("proposed/seed3_least_typical_ankle1", "proposed/seed3_least_typical_shoulder1"),
        "proposed/seed3_least_typical",
    ]
    assert {case.subject for _, split in jobs for case in split.testing} == {"s2"}
    assert {split.fold for _, split in jobs} == {"least typical"}
    assert {job.rows()["fold"] for job, _ in jobs} == {-1}
    assert fold_setting(jobs[0][0].fold) == "least typical"
    assert fold_setting(4) == 4
    with pytest.raises(InputError, match="folds must be numbers or the least typical alone, got both"):
        jobs_of(["proposed"], folds=[0, LEAST_TYPICAL])


def test_shifted_copies_are_of_the_cases_that_the_rows_are_about() -> None:
    jobs = [job for job, _ in jobs_of(["proposed"], folds=[1], train_subjects=[1, "all"], shift=True)]
    shifted = [[(case.domain, case.name, plane) for case, plane in job.shifted] for job in jobs]
    ankle, shoulder = ("ankle", "c1", "axial"), ("shoulder", "c1", "axial")
    assert shifted == [[ankle], [shoulder], [ankle, shoulder]]
    assert all(case.image.is_absolute() and case.label.is_absolute() for case, _ in jobs[2].shifted)
    assert {job.shifted for job, _ in jobs_of(["proposed"])} == {()}


def test_a_case_to_shift_has_a_name_that_monai_leaves_as_it_is() -> None:
    (first, *others), second = ANKLE.cases, SHOULDER
    odd = replace(ANKLE, cases=(replace(first, name="a#b"), *others))
    settings, methods = training_settings({"max_epochs": 30}), select_methods(["proposed"])
    plan_jobs([odd, second], methods=methods, settings=settings, folds=[0])
    with pytest.raises(InputError, match=r"case to shift must have a name free of .* got a#b; set name:"):
        plan_jobs([odd, second], methods=methods, settings=settings, folds=[0], shift=True)


def test_kinds_of_folds_are_not_mixed_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "jobs" / "proposed" / "seed0_fold00").mkdir(parents=True)
    job = Job("proposed/seed0_least_typical", select_methods(["proposed"])[0], (), ("ankle",), LEAST_TYPICAL, 0)
    plan = Plan(Experiment(tmp_path, (), {}), (), {}, ((job, split_of(training=[], validation=[])),), {})
    with pytest.raises(InputError, match=r"either numbers or least-typical, got both \(seed0_fold00\); choose another"):
        plan.save()
    assert not (tmp_path / "plan.json").exists()
    (tmp_path / "jobs" / "proposed" / "seed0_fold00").rename(tmp_path / "jobs" / "proposed" / "seed1_least_typical")
    plan.save()


AUTO = {"image_size": "auto", "widths": "auto", "max_epochs": "auto", "budget": "2min", "device": "cpu"}


def test_an_experiment_is_planned_once_for_all_jobs(
    manifests: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed = []

    def step(work: object, image_size: object, widths: object) -> float:
        timed.append((work, torch.get_num_threads()))
        return 0.05

    monkeypatch.setattr(planning, "seconds_a_step", step)
    given = {"manifests": [Path(path) for path in manifests.values()], "folds": [1], "settings": AUTO, "threads": 2}
    before = torch.get_num_threads()
    plan = make_plan(tmp_path / "exp", methods=["unet-base", "proposed"], **given)
    ((work, threads),) = timed
    assert (threads, torch.get_num_threads()) == (2, before)
    assert [domain.name for domain in work.domains] == list(manifests)
    assert set(work.drawn) == set(range(len(manifests)))
    planned = plan.experiment.planned
    assert (planned["widths"], planned["budget"]) == ([8, 16, 32, 64, 128], None)
    epochs = planned["max_epochs"]
    assert epochs > 2
    assert plan.settings["max_epochs"] == epochs
    assert {job.snapshots[-1] for job, _ in plan.jobs if job.snapshots} == {epochs}
    assert not (tmp_path / "exp").exists()

    plan.save()
    later = load_plan(tmp_path / "exp")
    later.save()
    assert make_plan(tmp_path / "exp", **given).experiment == plan.experiment == later.experiment
    assert len(timed) == 1
    assert later.experiment.settings == {**recipe_settings("paper"), **AUTO}
    assert later.experiment.resolved == {**later.experiment.settings, **planned}


def test_methods_with_shared_norms_give_all_data_sets_one_size(
    manifests: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "seconds_a_step", lambda work, *rest: 1e3 * (work.network["norm"] == "shared"))
    settings = {**AUTO, "budget": "10h"}
    paths = [Path(path) for path in manifests.values()]
    alone = make_plan(tmp_path, manifests=paths, methods=["proposed"], settings=settings)
    joint = make_plan(tmp_path, manifests=paths, methods=["proposed", "unet-joint"], settings=settings)
    assert alone.experiment.planned["widths"] == [32, 64, 128, 256, 512]  # steps take no time
    assert joint.experiment.planned["widths"] == [8, 16, 32, 64, 128]
    assert isinstance(joint.experiment.planned["image_size"], list)


def test_a_job_is_estimated_from_the_steps_of_its_own_configuration(
    manifests: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed: list[tuple[planning.Workload, object, object]] = []

    def time_step(*work: Any) -> float:
        timed.append(work)
        return 2.0

    monkeypatch.setattr(planning, "seconds_a_step", time_step)
    settings = {"image_size": [32, 48], "widths": [4, 8], "max_epochs": 9, "batch_size": 4, "context": 1}
    paths = [Path(path) for path in manifests.values()]
    asked: dict[str, Any] = {"manifests": paths, "methods": ["proposed"], "folds": [0, 1]}
    seconds = estimate_seconds(make_plan(tmp_path, settings=settings, **asked))
    assert seconds == [seconds[0]] * 2
    ((work, size, widths),) = timed
    assert (work.context, size, widths, len(work.drawn)) == (1, [32, 48], [4, 8], 4)
    twice = estimate_seconds(make_plan(tmp_path, settings={**settings, "max_epochs": 18}, **asked))
    shifted = estimate_seconds(make_plan(tmp_path, settings=settings, shift=True, **asked))
    (job, split), *_ = make_plan(tmp_path, settings=settings, **asked).jobs
    slices = dict.fromkeys(job.domains, 0)
    tested = validated = 0
    for case in (*split.training, *split.validation, *split.testing):
        number = min(nib.load(case.image).shape)
        slices[case.domain] += number * (case in split.training)
        tested += number * (case in split.testing)
        validated += number * (case in split.validation)
    steps = math.ceil(max(slices.values()) / 2)  # two slices a domain in a batch
    epochs = 9 * ((2 + 0.01) * (steps + 0.35 * validated / 4) + 0.3)
    assert twice[0] - seconds[0] == pytest.approx(epochs)
    evaluation = 0.35 * 2 / 4 * tested + 3 * len(split.testing)
    assert seconds[0] == pytest.approx(epochs + evaluation + 20)
    assert shifted[0] - seconds[0] == pytest.approx(11 * evaluation)

    settings = settings | {"planes": "all", "batch_size": 6}
    plain, shifted = (
        estimate_seconds(make_plan(tmp_path, settings=settings, shift=shift, **asked)) for shift in (False, True)
    )
    tested = sum(sum(nib.load(case.image).shape) for case in split.testing)  # slices in three planes
    assert shifted[0] - plain[0] == pytest.approx(11 * (0.35 * 2 / 6 * tested + 3 * len(split.testing)))


def test_an_override_of_a_method_is_not_planned(manifests: dict[str, str], tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("max_epochs: auto\n")
    paths = [Path(path) for path in manifests.values()]
    with pytest.raises(InputError, match=r"override own.yaml must give image_size, widths, max_epochs in numbers"):
        make_plan(tmp_path / "exp", manifests=paths, methods=[str(own)])
