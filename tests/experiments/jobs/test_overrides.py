"""Override files are refused when an experiment is planned, for whatever its trainings would refuse or not notice."""

from pathlib import Path

import pytest
from custom_components.errors import InputError

from multijoint.cli import main
from multijoint.experiments.jobs.experiment import training_settings
from multijoint.experiments.jobs.methods import select_methods
from multijoint.experiments.jobs.overrides import check_overrides, overridden


def check(path: Path) -> dict:
    settings = training_settings({"max_epochs": 30})
    (method,) = select_methods([str(path)])
    check_overrides(method, settings)
    return overridden(settings, method)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("max_epoch: 3", "override own.yaml: setting max_epoch must be one that the configuration uses; did you"),
        ("colour: red", "setting colour must be one that the configuration uses; known are amp, "),
        ("fold: 3", "setting fold of own.yaml must be one that no job decides; leave it out"),
        ("train_subjects#ankle: 3", "setting train_subjects#ankle of own.yaml must be one that no job decides"),
        ("learning_rate: 1e-3", "learning_rate of own.yaml must be a number, and to YAML is a text, got 1e-3; write"),
        ("scaling: [1.5e3, 2]", "scaling of own.yaml must be a number, and to YAML is a text, got 1.5e3; write it"),
        ("batch_size: $8 * len(@domain)", "reference @domain in own.yaml must be to a setting; did you mean domains?"),
        ("los#temperature: 3", "setting los#temperature of own.yaml must lie in train.yaml"),
        ("train#handlers#99#interval: 3", "setting train#handlers#99#interval of own.yaml must lie in train.yaml"),
        ("max_epochs: auto", "override own.yaml must give image_size, widths, max_epochs in numbers"),
        ("max_epochs: [3]", r"max_epochs of own must be a whole number from 1, got \[3\]"),
        ("max_epochs: 0", "max_epochs of own must be a whole number from 1, got 0"),
        ("- max_epochs", "override own.yaml must be name: value pairs"),
        ("1: 2", "override own.yaml must be name: value pairs"),
        ("max_epochs: [", "override own.yaml must be a readable YAML file, got while parsing a flow node"),
        (b"\xff\xfe", "override own.yaml must be a readable YAML file, got 'utf-8' codec"),
    ],
)
def test_what_a_training_would_refuse_is_refused_first(content: str | bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=message):
        check(path)


@pytest.mark.parametrize(
    ("content", "changed"),
    [
        ("", {}),
        ("learning_rate: 1.0e-3\nmax_epochs: 3", {"learning_rate": 0.001, "max_epochs": 3}),
        ("batch_size: $8 * len(@domains)", {"batch_size": "$8 * len(@domains)"}),
        ("mine: 3\nbatch_size: $2 * @mine", {"mine": 3, "batch_size": "$2 * @mine"}),
        ("train#handlers#1#interval: 2", {"train#handlers#1#interval": 2}),
    ],
)
def test_overrides_are_laid_over_the_settings(content: str, changed: dict, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(content)
    assert check(tmp_path / "own.yaml") == training_settings({"max_epochs": 30}) | changed


def test_the_papers_methods_pass() -> None:
    settings = training_settings({"max_epochs": 30})
    for method in select_methods(["all"]):
        check_overrides(method, settings)


@pytest.mark.parametrize("name", ["a$b.yaml", "a@b.yaml", "a#b.yaml", "..yaml", "...yaml"])
def test_names_of_files_become_folders_and_pass_through_monai(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("attention: true")
    with pytest.raises(InputError, match=r"must have a path free of .* and a name that begins with no dot"):
        select_methods([str(tmp_path / name)])


def test_a_dry_run_says_so_and_writes_nothing(
    manifests: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own.yaml").write_text("max_epoch: 3")
    call = ["experiment", "--dry-run", "--out", str(tmp_path / "out"), "--methods", f"unet-base+{tmp_path}/own.yaml"]
    assert main([*call, "--manifests", *manifests.values()]) == 1
    assert capsys.readouterr().err.startswith("error: override own.yaml: setting max_epoch must be one that ")
    assert not (tmp_path / "out").exists()
