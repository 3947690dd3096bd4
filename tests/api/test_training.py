"""Trainings and evaluations from Python and from the command, each as the bundle's command runs them."""

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from custom_components.errors import InputError
from custom_components.models.checkpoints import load_checkpoint, load_model
from fire.parser import DefaultParseValue
from support.bundles import SMALL

import multijoint
from multijoint.api.training import Run, bundle_command, evaluation_workflow, training_workflow
from multijoint.cli import main


@pytest.fixture(scope="module")
def settings() -> dict[str, Any]:
    return {**SMALL, "device": "cpu"}


def test_training_and_evaluation_are_those_of_the_bundle(
    manifests: dict[str, str], trained: Path, settings: dict[str, Any], tmp_path: Path
) -> None:
    hook = sys.excepthook
    run = multijoint.train([manifests["ankle"], manifests["shoulder"]], out=tmp_path / "x", **settings)
    assert sys.excepthook is hook
    weights, expected = load_model(run.model).weights, load_model(trained / "model.pt").weights
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    assert [row["epoch"] for row in run.log] == ["1"]
    rows = run.evaluate()
    assert {row["domain"] for row in rows} == {"ankle", "shoulder"}
    assert (tmp_path / "x" / "evaluation" / "summary.txt").is_file()
    assert main(["evaluate", str(run.folder), "--out", str(tmp_path / "again"), "--json"]) == 0
    assert (tmp_path / "again" / "metrics.csv").read_bytes() == (run.folder / "evaluation" / "metrics.csv").read_bytes()


def test_fold_all_trains_on_every_case_and_its_last_weights_are_the_model(
    manifests: dict[str, str],
    trained: Path,
    settings: dict[str, Any],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level("INFO")
    given = [manifests["ankle"], manifests["shoulder"]]
    whole = {**settings, "fold": "all", "max_epochs": 3, "schedule": "polynomial", "warmup": 0}
    run = multijoint.train(given, out=tmp_path / "whole", **whole, epochs_of=[trained, Run(trained)])
    assert "max_epochs 1: the median of the best epochs of 2 runs (1, 1)" in caplog.messages
    assert "no validation cases: model.pt holds the last weights" in caplog.messages
    assert [row["epoch"] for row in run.log] == ["1"]
    assert "val_mean_dice" not in run.log[0]

    multijoint.train(given, out=tmp_path / "parts", **whole | {"max_epochs": 1})
    parts = multijoint.train(given, out=tmp_path / "parts", **whole | {"max_epochs": 2, "resume": True})
    once = multijoint.train(given, out=tmp_path / "once", **whole | {"max_epochs": 2})
    found, expected = (load_model(each.model) for each in (parts, once))
    last = load_checkpoint(once.folder / "last.pt")["resume"]["average"]
    assert all(torch.equal(found.weights[name], expected.weights[name]) for name in expected.weights)
    assert all(torch.equal(last[f"module.network.{name}"], each) for name, each in expected.weights.items())
    split = expected.training["split"]
    assert {(row["domain"], row["case"]) for row in split["training"]} == {
        (domain, f"{domain}_{number:03d}") for domain in ("ankle", "shoulder") for number in range(3)
    }
    assert (split["validation"], split["testing"], expected.training["validation_dice"]) == ([], [], None)
    quality = expected.quality("ankle")
    assert quality is not None
    assert (quality.calibration, quality.references) == (None, 3)
    with pytest.raises(InputError, match="the split must have a test case, got none"):
        once.evaluate()
    words = ["train", *given, "--out", str(tmp_path / "stopped"), "--fold", "all", "--set", "early_stop_patience=2"]
    assert main([*words, "image_size=[32,32]", "widths=[4,8]", "max_epochs=1", "device=cpu"]) == 1
    assert "early_stop_patience must be 0 where no case validates, got 2" in capsys.readouterr().err


def test_the_command_says_which_bundle_command_it_is(
    manifests: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "x"
    pairs = ["max_epochs=1", "image_size=[32,32]", "widths=[4,8]", "batch_size=8", "device=cpu", "calibrate=false"]
    words = ["train", manifests["ankle"], "--out", str(out), "--recipe", "paper", "--set", *pairs, "--json"]
    assert main(words) == 0
    told = json.loads(capsys.readouterr().out)
    command = shlex.split(told["command_line"])
    assert command[:5] == ["python", "-m", "monai.bundle", "run", "training"]
    assert command[command.index("--manifests") + 1] == f'["{manifests["ankle"]}"]'
    assert command[command.index("--image_size") + 1] == "[32, 32]"
    assert "paper.yaml" in command[6]
    assert told["written"] == [str(out / "model.pt")]


def test_paths_that_a_shell_would_break_are_quoted(tmp_path: Path) -> None:
    configs, own = training_workflow([tmp_path / "O'Brien" / "a b.yaml"], out="runs/x", fold="least typical")
    words = shlex.split(bundle_command("training", configs, own))
    given = words[words.index("--manifests") + 1]
    assert DefaultParseValue(given) == [str(tmp_path / "O'Brien" / "a b.yaml")]  # as MONAI's command line reads it
    assert words[words.index("--fold") + 1] == "least typical"


def test_wrong_arguments_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="recipe must be paper or strong, got 'weak'; "):
        multijoint.train(["a.yaml"], out=tmp_path, recipe="weak")
    with pytest.raises(InputError, match=f"run {tmp_path.name} must be the folder of a training, with its config.yaml"):
        evaluation_workflow(tmp_path)
