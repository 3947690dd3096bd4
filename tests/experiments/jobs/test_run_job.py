"""Whole experiments on small phantoms: jobs, rows, faults, and the same rows however they came about."""

import contextlib
import fcntl
import io
import os
import signal
import sys
import time
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import NamedTuple

import numpy as np
import pytest
from custom_components.data.manifests import load_manifests
from custom_components.data.typicality import least_typical_subjects
from custom_components.io.geometry import to_canonical
from custom_components.io.volumes import read_label, read_volume
from custom_components.metrics.bone_scores import dice_coefficient
from support.bundles import BUNDLES
from support.forking import Forked, forked_jobs, start
from support.processes import Process

from multijoint.cli import main
from multijoint.experiments.jobs.examples import save_examples
from multijoint.experiments.jobs.experiment import job_folder
from multijoint.experiments.jobs.shifts import SHIFTS
from multijoint.experiments.rows import read_rows
from multijoint.phantoms import write_phantoms

SETTINGS = ["image_size=[32,32]", "widths=[4,8]", "max_epochs=2", "batch_size=8", "learning_rate=1e-2", "device=cpu"]


class Call(NamedTuple):
    code: int
    output: str
    errors: str


def call(*arguments: str) -> Call:
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors), forked_jobs():
        code = main([*arguments])
    return Call(code, output.getvalue(), errors.getvalue())


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Manifests of four phantoms a joint."""
    return [str(path) for path in write_phantoms(tmp_path_factory.mktemp("four"), num_cases=4, seed=0, size=40)]


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A method whose setting a training refuses."""
    path = tmp_path_factory.mktemp("methods") / "broken.yaml"
    path.write_text("max_rotation: 500.0\n")
    return path


@pytest.fixture(scope="module")
def experiment(phantoms: list[str], broken: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Call]:
    """Two methods and one that fails, and the output of the call."""
    folder = tmp_path_factory.mktemp("experiment") / "exp"
    arguments = ["--methods", f"unet-base,proposed,proposed+{broken}", "--folds", "0", "--out", str(folder)]
    return folder, call("experiment", "--manifests", *phantoms, *arguments, "--set", *SETTINGS)


def test_failed_jobs_are_listed_with_their_cause_and_the_others_done(experiment: tuple[Path, Call]) -> None:
    folder, said = experiment
    assert said.code == 1
    cause = "max_rotation must be from 0 to 180 degrees, got 500.0"
    assert f"1 of 4 jobs failed: proposed+broken/seed0_fold00: {cause}" in said.errors
    assert "Traceback" not in said.errors
    assert said.output.count(" done") == 4  # three jobs, and the line that counts those done before
    jobs = read_rows(folder, "jobs")
    assert sorted(jobs["state"]) == ["done"] * 3 + ["failed"]
    failed = jobs[jobs["state"] == "failed"]
    assert failed[["method", "cause"]].values.tolist() == [["proposed+broken", cause]]


def test_status_says_how_far_each_job_is(experiment: tuple[Path, Call]) -> None:
    folder, _ = experiment
    said = call("experiment", "--out", str(folder), "--status")
    assert said.code == 0
    assert "4 jobs: 3 done, 1 failed" in said.output
    assert "proposed+broken/seed0_fold00  failed: max_rotation must be from 0 to 180 degrees" in said.output


def test_rows_are_those_of_the_evaluations(experiment: tuple[Path, Call], phantoms: list[str]) -> None:
    folder, _ = experiment
    cases = read_rows(folder, "cases")
    count = cases.groupby(["method", "train_subjects", "domain"], sort=False).size().to_dict()
    assert count == {
        (method, "all", domain): bones
        for method in ("unet-base", "proposed")
        for domain, bones in (("ankle", 3), ("shoulder", 2))
    }
    row = cases[cases["method"] == "proposed"].iloc[0]
    data = Path(phantoms[0]).parent
    image = read_volume(data / "images" / "ankle_000.nii.gz")
    segmented = job_folder(folder, "proposed/seed0_fold00") / "evaluation" / "ankle" / "ankle_000_seg.nii.gz"
    masks = [read_label(path, like=image).array == 1 for path in (segmented, data / "labels" / "ankle_000.nii.gz")]
    assert row["label"] == "calcaneus"
    assert row["dice"] == pytest.approx(dice_coefficient(*masks), rel=1e-5)

    slices = read_rows(folder, "slices")
    own = slices[(slices["method"] == "proposed") & (slices["label"] == "calcaneus")]
    axial = [np.count_nonzero(to_canonical(mask, image.affine), axis=(0, 1)) for mask in masks]
    np.testing.assert_array_equal(own["prediction_area"], axial[0])
    np.testing.assert_array_equal(own["reference_area"], axial[1])
    filled = own["prediction_area"] + own["reference_area"] > 0
    np.testing.assert_array_equal(own["dice"].notna(), filled)
    weighed = (own["dice"] * (own["prediction_area"] + own["reference_area"]))[filled].sum()
    assert weighed / (sum(axial[0]) + sum(axial[1])) == pytest.approx(row["dice"], rel=1e-5)


def test_job_rows_tell_what_a_job_took(experiment: tuple[Path, Call]) -> None:
    jobs = read_rows(experiment[0], "jobs")
    done = jobs[jobs["state"] == "done"]
    assert set(done["epochs"]) == {2}
    assert set(done["device"]) == {"cpu"}
    assert set(done["border"]) == {"inside"}
    assert set(done["domains"]) == {"ankle", "shoulder", "ankle+shoulder"}
    for column in ("steps", "train_seconds", "evaluate_seconds", "slices_per_second", "peak_memory_mib", "parameters"):
        assert (done[column] > 0).all(), column
    curves = read_rows(experiment[0], "curves")
    proposed = curves[curves["method"] == "proposed"]
    assert set(proposed["quantity"]) == {"loss", "cross_entropy", "contrastive", "validation_dice"}
    assert set(proposed["domain"]) == {"", "ankle", "shoulder"}
    assert set(proposed["epoch"]) == {1, 2}


def test_embeddings_of_every_slice_at_the_kept_epochs(experiment: tuple[Path, Call]) -> None:
    with np.load(experiment[0] / "embeddings.npz") as found:
        own, by_norm = found["proposed/2/embedding"], found["proposed/2/embedding_by_norm"]
        domain, training, case = (found[f"proposed/{name}"] for name in ("domain", "training", "case"))
        assert {"proposed/1/embedding", "proposed/2/convolution_by_norm"} <= set(found.files)
        assert "proposed/1/embedding_by_norm" not in found.files
    assert own.shape == (len(domain), 8)
    assert by_norm.shape == (len(domain), 2, 8)
    np.testing.assert_allclose(by_norm[np.arange(len(domain)), domain], own, rtol=1e-5, atol=1e-6)
    assert (own >= 0).all()  # after the ReLU
    assert set(case[~training]) == {"ankle_001", "shoulder_001"}
    assert set(case[training]) == {"ankle_002", "ankle_003", "shoulder_002", "shoulder_003"}


def test_examples_hold_what_figure_three_shows(experiment: tuple[Path, Call], phantoms: list[str]) -> None:
    folder, _ = experiment
    with np.load(folder / "examples.npz") as found:
        assert "0/prediction/unet-base" in found.files
        image, reference = found["0/image"], found["0/reference"]
    case = read_volume(Path(phantoms[0]).parent / "images" / "ankle_000.nii.gz")
    label = read_label(Path(phantoms[0]).parent / "labels" / "ankle_000.nii.gz", like=case)
    every = to_canonical(label.array, case.affine)
    assert image.shape == reference.shape == every.shape[:2]
    assert len(np.unique(reference)) == max(len(np.unique(every[..., k])) for k in range(every.shape[2]))
    before = (folder / "examples.npz").read_bytes()
    save_examples(folder, read_rows(folder, "cases"))
    assert (folder / "examples.npz").read_bytes() == before


def test_a_second_call_runs_only_what_is_left_and_what_is_new(
    experiment: tuple[Path, Call], phantoms: list[str], broken: Path
) -> None:
    """The failed job, its method mended, and one that trains on a single ankle."""
    folder, _ = experiment
    marks = {path: path.stat().st_mtime_ns for path in folder.glob("jobs/*/*/train/last.pt")}
    rows = {name: read_rows(folder, name) for name in ("cases", "slices")}
    broken.write_text("contrastive_weight: 1.0\n")
    said = call("experiment", "--out", str(folder))
    assert said.code == 0, said.errors
    assert "4 jobs, 3 of them done" in said.output
    arguments = ["--methods", "unet-base", "--folds", "0", "--train-subjects", "1", "--out", str(folder)]
    said = call("experiment", "--manifests", *phantoms, *arguments, "--set", *SETTINGS)
    assert said.code == 0, said.errors
    assert {path: path.stat().st_mtime_ns for path in marks} == marks
    assert set(read_rows(folder, "jobs")["state"]) == {"done"}
    for name, earlier in rows.items():
        now = read_rows(folder, name)
        old = now[(now["method"] != "proposed+broken") & (now["train_subjects"] == "all")]
        assert old.reset_index(drop=True).equals(earlier), name
    few = read_rows(folder, "cases")
    few = few[few["train_subjects"] == "1"]
    assert few.groupby("domain").size().to_dict() == {"ankle": 3, "shoulder": 2}


def test_shifted_copies_are_evaluated_without_another_training(
    experiment: tuple[Path, Call], phantoms: list[str]
) -> None:
    folder, _ = experiment
    marks = {path: path.stat().st_mtime_ns for path in folder.glob("jobs/*/*/train/last.pt")}
    cases = read_rows(folder, "cases")
    arguments = ["--manifests", *phantoms, "--methods", "proposed", "--folds", "0", "--out", str(folder)]
    said = call("experiment", *arguments, "--shift", "--status", "--set", *SETTINGS)
    assert "proposed/seed0_fold00  waiting: shifted copies" in said.output
    said = call("experiment", *arguments, "--shift", "--set", *SETTINGS)
    assert said.code == 0, said.errors
    assert "1 job, 0 of them done" in said.output
    assert {path: path.stat().st_mtime_ns for path in marks} == marks
    assert read_rows(folder, "cases").equals(cases)

    shifted = read_rows(folder, "shifted")
    assert set(shifted["method"]) == {"proposed"}
    assert shifted.groupby("domain")["shift"].apply(list).to_dict() == {
        "ankle": [how for how in SHIFTS for _ in range(3)],
        "shoulder": [how for how in SHIFTS for _ in range(2)],
    }
    assert set(shifted["case"]) == {"ankle_000", "shoulder_000"}
    copy = folder / "shifted_copies" / "ankle"
    image = read_volume(copy / "images" / "ankle_000_moved-up.nii.gz")
    place = job_folder(folder, "proposed/seed0_fold00") / "shifted" / "ankle" / "ankle_000_moved-up_seg.nii.gz"
    masks = [read_label(path, like=image).array == 1 for path in (place, copy / "labels" / "ankle_000_moved-up.nii.gz")]
    row = shifted[(shifted["shift"] == "moved-up") & (shifted["label"] == "calcaneus")].iloc[0]
    assert row["dice"] == pytest.approx(dice_coefficient(*masks), rel=1e-5)

    before = (folder / "shifted.csv").read_bytes()
    said = call("experiment", "--out", str(folder))  # the plan knows of the shifts
    assert "1 job, 1 of them done" in said.output
    assert (folder / "shifted.csv").read_bytes() == before
    assert call("tables", str(folder)).code == 0
    assert "all shifts" in next(folder.rglob("table3.md")).read_text(encoding="utf-8")


def test_the_least_typical_are_held_out(phantoms: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "exp"
    arguments = ["--methods", "proposed", "--folds", "least-typical", "--shift", "--out", str(folder)]
    said = call("experiment", "--manifests", *phantoms, *arguments, "--dry-run", "--set", *SETTINGS)
    assert "fold least typical ankle: tests ankle_00" in said.output
    said = call("experiment", "--manifests", *phantoms, *arguments, "--set", *SETTINGS)
    assert said.code == 0, said.errors
    expected = {
        (manifest.domain.name, subject)
        for manifest in load_manifests(phantoms)
        for subject in least_typical_subjects(manifest)
    }
    for name in ("cases", "shifted"):
        rows = read_rows(folder, name)
        assert set(zip(rows["domain"], rows["subject"], strict=True)) == expected
        assert set(rows["fold"]) == {-1}
    assert (job_folder(folder, "proposed/seed0_least_typical") / "train" / "model.pt").is_file()
    said = call("experiment", "--out", str(folder), "--folds", "0")
    assert "either numbers or least-typical, got both" in said.errors


def test_other_settings_are_refused_in_the_same_folder(experiment: tuple[Path, Call], phantoms: list[str]) -> None:
    said = call("experiment", "--manifests", *phantoms, "--out", str(experiment[0]), "--set", "max_epochs=3")
    assert said.code == 1
    assert "settings of the experiment in" in said.errors
    assert "choose another --out" in said.errors


def test_dry_run_prints_jobs_and_people_and_writes_nothing(phantoms: list[str], tmp_path: Path) -> None:
    said = call("experiment", "--manifests", *phantoms, "--out", str(tmp_path / "exp"), "--dry-run", "--set", *SETTINGS)
    assert said.code == 0, said.errors
    lines = said.output.splitlines()
    assert lines[1].split()[:4] == ["unet-base", "0", "0", "ankle"]
    assert "fold 0 ankle: tests ankle_000; validates ankle_001; trains ankle_002, ankle_003" in lines
    assert lines[-1].startswith("36 jobs, about")  # 4 folds of 2 x 2 base and 5 joint
    assert not (tmp_path / "exp").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "max_epoch=3"], "did you mean max_epochs"),
        (["--set", "max_epochs"], "--set must be name=value"),
        (["--set", "widths=$x"], "code to MONAI"),
        (["--folds", "7"], "fold must be a whole number from 0 to 3, got 7"),
        (["--folds", "b"], "folds must be numbers and ranges"),
        (["--methods", "unet"], "method must be all or one of"),
        (["--threads", "999"], "threads and workers must be at most"),
    ],
)
def test_what_makes_no_experiment_is_one_line(
    arguments: list[str], message: str, phantoms: list[str], tmp_path: Path
) -> None:
    said = call("experiment", "--manifests", *phantoms, "--out", str(tmp_path / "exp"), *arguments)
    assert said.code == 1
    assert len(said.errors.strip().splitlines()) == 1
    assert message in said.errors


def test_an_experiment_killed_twice_ends_with_the_same_rows(
    experiment: tuple[Path, Call], phantoms: list[str], fork: bool, tmp_path: Path
) -> None:
    """First with all its processes, then alone, so that the second call's job lives on while the third begins."""
    folder = tmp_path / "exp"
    command = ["multijoint.cli", "experiment", "--manifests", *phantoms]
    command += ["--methods", "proposed", "--folds", "0", "--out", str(folder), "--set", *SETTINGS]
    job = job_folder(folder, "proposed/seed0_fold00")

    def begin() -> Forked | Process:
        return start(command, fork=fork, stdout=DEVNULL, cwd=BUNDLES.parent)

    def wait_for(path: Path) -> None:
        end = time.monotonic() + 120
        while not path.exists():
            assert time.monotonic() < end, path
            time.sleep(0.002)

    first = begin()
    wait_for(job / "train" / "last.pt")
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    assert not (job / "job.json").exists()
    (job / "train" / ".model.pt.tmp-1").write_bytes(b"half")

    second = begin()
    wait_for(job / "evaluating.log")
    second.kill()
    second.wait()
    assert not (job / "job.json").exists()

    assert begin().wait() == 0
    assert not list(folder.rglob(".*.tmp-*"))
    whole = experiment[0]
    for name in ("cases", "slices"):
        earlier = read_rows(whole, name)
        earlier = earlier[earlier["method"] == "proposed"]
        assert read_rows(folder, name).equals(earlier.reset_index(drop=True)), name
    weights = [path / "proposed/seed0_fold00/train/model.pt" for path in (folder / "jobs", whole / "jobs")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_ray_gives_the_same_rows_and_label_maps(
    experiment: tuple[Path, Call], phantoms: list[str], fork: bool, tmp_path: Path
) -> None:
    """In processes of their own: Ray leaves threads and warnings behind. Its workers are new Pythons."""
    folder = tmp_path / "exp"
    ray = ["--engine", "ray"]

    def end(*arguments: object) -> tuple[int | None, str]:
        process = start(["multijoint.cli", *arguments], fork=fork, stdout=DEVNULL, stderr=PIPE, cwd=BUNDLES.parent)
        errors = process.communicate()[1]
        return process.returncode, errors

    whole = ["experiment", "--manifests", *phantoms, "--methods", "proposed", "--folds", "0", "--out", folder]
    whole += [*ray, "--set", *SETTINGS]
    code, errors = end(*whole)
    assert code == 0, errors
    earlier = read_rows(experiment[0], "cases")
    earlier = earlier[earlier["method"] == "proposed"]
    assert read_rows(folder, "cases").equals(earlier.reset_index(drop=True))

    scan = Path(phantoms[0]).parent / "images" / "ankle_000.nii.gz"
    bad = tmp_path / "bad.nii.gz"
    bad.write_bytes(b"no scan")
    model = job_folder(folder, "proposed/seed0_fold00") / "train" / "model.pt"
    segment = ["segment", str(scan), str(bad), "--domain", "ankle", "--checkpoint", str(model), "--device", "cpu"]
    code, errors = end(*segment, *ray, "--output", tmp_path / "out")
    assert code == 1
    line = errors.strip().splitlines()[-1]
    assert line.startswith("error: 1 of 2 scans could not be segmented, see segment_report.csv: bad.nii.gz: ")
    report = (tmp_path / "out" / "segment_report.csv").read_text()
    assert "ankle_000.nii.gz,written," in report
    assert "bad.nii.gz,failed," in report
    assert [path.name for path in (tmp_path / "out" / "shares").iterdir()] == ["share_0.log"]
    maps = [
        tmp_path / "out" / "ankle_000_seg.nii.gz",
        job_folder(folder, "proposed/seed0_fold00") / "evaluation" / "ankle" / "ankle_000_seg.nii.gz",
    ]
    assert maps[0].read_bytes() == maps[1].read_bytes()


def test_one_call_at_a_time(experiment: tuple[Path, Call]) -> None:
    folder, _ = experiment
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        said = call("experiment", "--out", str(folder))
    assert said.code == 1
    assert "must run once at a time" in said.errors


def test_a_changed_method_never_passes_for_what_was_run(
    experiment: tuple[Path, Call], phantoms: list[str], broken: Path
) -> None:
    folder, _ = experiment
    earlier = broken.read_text()
    arguments = ["--methods", f"proposed+{broken}", "--folds", "0", "--out", str(folder)]
    for weight in ("1.0", "2.0"):  # the first is done already where the test above ran
        broken.write_text(f"contrastive_weight: {weight}\n")
        said = call("experiment", "--manifests", *phantoms, *arguments, "--set", *SETTINGS)
    broken.write_text(earlier)
    assert said.code == 1
    assert "override files of proposed+broken have changed since it ran; rename them" in said.errors


def test_a_call_that_is_asked_to_end_ends_its_jobs_and_gathers(phantoms: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "exp"
    command = [sys.executable, "-m", "multijoint.cli", "experiment", "--manifests", *phantoms]
    command += ["--methods", "proposed", "--folds", "0", "--out", str(folder), "--set", *SETTINGS, "max_epochs=1000"]
    process = Process(command, stdout=DEVNULL, cwd=BUNDLES.parent)
    end = time.monotonic() + 120
    while not (job_folder(folder, "proposed/seed0_fold00") / "train" / "last.pt").exists():
        assert time.monotonic() < end
        time.sleep(0.01)
    process.terminate()
    assert process.wait(timeout=30) == 130
    assert read_rows(folder, "jobs")["cause"].tolist() == ["stopped by SIGTERM"]
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, 0)
        raise AssertionError("a process of the job lives on")
