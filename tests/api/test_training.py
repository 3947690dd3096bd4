"""Trainings and evaluations from Python and from the command, each as the bundle's command runs them."""

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from custom_components.errors import InputError
from custom_components.models.checkpoints import load_model
from support.bundles import SMALL

import multijoint
from multijoint.api.training import bundle_command, evaluation_workflow, training_workflow
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
    assert command[command.index("--manifests") + 1] == f"['{manifests['ankle']}']"
    assert command[command.index("--image_size") + 1] == "[32, 32]"
    assert "paper.yaml" in command[6]
    assert told["written"] == [str(out / "model.pt")]


def test_paths_that_a_shell_would_break_are_quoted(tmp_path: Path) -> None:
    configs, own = training_workflow([tmp_path / "O'Brien" / "a b.yaml"], out="runs/x", fold="least typical")
    words = shlex.split(bundle_command("training", configs, own))
    assert str(tmp_path / "O'Brien" / "a b.yaml") in words[words.index("--manifests") + 1]
    assert words[words.index("--fold") + 1] == "least typical"


def test_wrong_arguments_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="recipe must be paper or strong, got 'weak'; "):
        multijoint.train(["a.yaml"], out=tmp_path, recipe="weak")
    with pytest.raises(InputError, match=f"run {tmp_path.name} must be the folder of a training, with its config.yaml"):
        evaluation_workflow(tmp_path)
