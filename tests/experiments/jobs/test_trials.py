"""Trials of an experiment: each network and their ensemble on exams of other people, through one evaluation."""

import csv
import json
import re
from pathlib import Path

import pytest
from custom_components.models.ensembles import load_ensemble
from support.commands import error_line
from support.forking import forked_jobs

import multijoint
from multijoint.cli import main
from multijoint.experiments.rows import ENSEMBLE, read_rows
from multijoint.phantoms import write_phantoms

SETTINGS = ["image_size=[32,32]", "widths=[4,8]", "max_epochs=1", "batch_size=8", "learning_rate=1e-2", "device=cpu"]


def experiment(folder: Path, *words: str) -> int:
    with forked_jobs():
        return main(["experiment", "--out", str(folder), *words])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], list[str]]:
    """Manifests of three phantoms a joint, and of two other people's ankles."""
    trained = write_phantoms(tmp_path_factory.mktemp("trained"), num_cases=3, seed=0, size=40)
    others = write_phantoms(tmp_path_factory.mktemp("others"), num_cases=2, seed=1, size=40)
    for path in others:
        path.write_text(re.sub(r"subject: (\w+)", r"subject: other_\1", path.read_text()))
    return list(map(str, trained)), [str(path) for path in others if path.parent.name == "ankle"]


@pytest.fixture(scope="module")
def folder(data: tuple[list[str], list[str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("experiment")
    words = ["--manifests", *data[0], "--methods", "proposed,unet-base", "--folds", "0-1", "--set", *SETTINGS]
    assert experiment(folder, *words, "--test-manifests", *data[1]) == 0
    return folder


def test_each_network_and_their_ensemble_are_scored_on_the_same_exams(folder: Path) -> None:
    rows = read_rows(folder, "trials")
    assert set(rows["domain"]) == {"ankle"}
    assert list(rows.groupby(["method", "fold"], sort=False).groups) == [
        *(("unet-base", fold) for fold in (0, 1, ENSEMBLE)),
        *(("proposed", fold) for fold in (0, 1, ENSEMBLE)),
    ]
    exams = rows.groupby(["method", "fold"])["case"].agg(lambda cases: sorted(set(cases)))
    assert all(each == ["ankle_000", "ankle_001"] for each in exams)
    assert set(rows["subject"]) == {"other_ankle_000", "other_ankle_001"}


def test_the_scores_are_those_of_an_evaluation_of_the_checkpoints(
    folder: Path, data: tuple[list[str], list[str]], tmp_path: Path
) -> None:
    checkpoints = [folder / "jobs" / "proposed" / f"seed0_fold0{fold}" / "train" / "model.pt" for fold in (1, 0)]
    evaluation = folder / "trials" / "proposed" / "seed0_ensemble" / "evaluation"
    record = json.loads((evaluation / "ankle" / "ankle_000_seg.json").read_text())
    assert record["members_sha256"] == [member.digest for member in load_ensemble(checkpoints).members]
    scan = Path(data[1][0]).parent / "images" / "ankle_000.nii.gz"
    with multijoint.load(checkpoints, device="cpu") as model:
        found = model.segment(scan, domain="ankle")
    assert found.label_map == (evaluation / "ankle" / "ankle_000_seg.nii.gz").read_bytes()
    with (evaluation / "metrics.csv").open() as file:
        scored = {(row["case"], row["label"]): float(row["dice"]) for row in csv.DictReader(file)}
    rows = read_rows(folder, "trials")
    own = rows[(rows["method"] == "proposed") & (rows["fold"] == ENSEMBLE)]
    assert {(row.case, row.label): row.dice for row in own.itertuples()} == pytest.approx(scored, nan_ok=True)


def test_a_second_call_does_nothing_again_and_the_table_compares_members(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (folder / "trials.csv").read_bytes()
    stamp = (folder / "trials" / "proposed" / "seed0_ensemble" / "trial.json").stat().st_mtime_ns
    assert experiment(folder) == 0
    assert "trial proposed/seed0_ensemble done" in capsys.readouterr().out
    assert (folder / "trials.csv").read_bytes() == before
    assert (folder / "trials" / "proposed" / "seed0_ensemble" / "trial.json").stat().st_mtime_ns == stamp
    assert main(["tables", str(folder)]) == 0
    with (folder / "table4.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["method"], row["member"]) for row in rows] == [
        (method, member) for method in ("unet-base", "proposed") for member in ("fold 0", "fold 1", "ensemble")
    ]
    assert {row["num_exams"] for row in rows} == {"2"}
    dice = {row["member"]: float(row["dice_mean_percent"]) for row in rows if row["method"] == "proposed"}
    table = read_rows(folder, "trials")
    own = table[(table["method"] == "proposed") & (table["fold"] == ENSEMBLE)].dropna(subset=["dice"])
    assert dice["ensemble"] == pytest.approx(100 * own.groupby("case")["dice"].mean().mean(), abs=1e-3)
    text = (folder / "table4.md").read_text()
    assert "# Table 4. Ensembles of folds and their members" in text
    assert "| ensemble" in text


def test_what_the_networks_do_not_know_or_have_seen_is_refused(
    data: tuple[list[str], list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--manifests", *data[0], "--methods", "proposed", "--set", *SETTINGS, "--dry-run", "--test-manifests"]
    assert experiment(tmp_path / "x", *words, data[0][0]) == 1
    assert "must be of other people, got ankle_000; leave it out" in error_line(capsys)
    knee = Path(data[1][0]).with_name("knee.yaml")
    knee.write_text(Path(data[1][0]).read_text().replace("domain: ankle", "domain: knee"))
    assert experiment(tmp_path / "x", *words, str(knee)) == 1
    assert "must be of a domain of the experiment with its labels and plane, got knee" in error_line(capsys)
    assert experiment(tmp_path / "x", *words, data[1][0]) == 0
    assert "3 jobs and 4 trials" in capsys.readouterr().out
