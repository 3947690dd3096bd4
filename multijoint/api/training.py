"""Trainings and their evaluations, by the workflows of the joint bundle."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from custom_components.errors import InputError
from custom_components.system.files import read_csv

from multijoint.running import find_bundle, recipe_config, run_workflow

_DEFAULT = "strong"  # the recipe that train.yaml follows by itself
# What an evaluation takes over of a training, and of an adaptation.
_OF_THE_DATA = ("manifests", "dataset_dir", "fold", "num_folds", "train_subjects")
_OF_ADAPTING = ("base", "like", "freeze", "validation_subjects")


@dataclass(frozen=True)
class Run:
    """Folder of a training.

    Args:
        folder: where `model.pt`, `last.pt`, `log.csv`, `split.json` and `config.yaml` lie.
    """

    folder: Path

    @property
    def model(self) -> Path:
        """File of the trained model, for `multijoint.load`."""
        return self.folder / "model.pt"

    @property
    def log(self) -> list[dict[str, str]]:
        """A row an epoch: losses, seconds, validation Dice; as in `log.csv`."""
        return read_csv(self.folder / "log.csv")

    def evaluate(self, **arguments: Any) -> list[dict[str, str]]:
        """Score the held-out subjects; see `evaluate`."""
        return evaluate(self, **arguments)


def training_workflow(
    manifests: Sequence[str | Path], *, out: str | Path, fold: int | str = 0, recipe: str = _DEFAULT, **settings: Any
) -> tuple[list[str], dict[str, Any]]:
    """Configurations and settings of a training, for `run_workflow` and `bundle_command`; see `train`."""
    overlay = recipe_config(recipe)
    configs = ["train.yaml"] + ([] if recipe == _DEFAULT else [overlay])
    given = [manifests] if isinstance(manifests, str | Path) else list(manifests)
    own = {"manifests": [Path(path) for path in given], "fold": fold, "output_dir": Path(out)}
    if "epochs_of" in settings:
        settings["epochs_of"] = [run.folder if isinstance(run, Run) else Path(run) for run in settings["epochs_of"]]
    return configs, own | settings


def train(
    manifests: Sequence[str | Path], *, out: str | Path, fold: int | str = 0, recipe: str = _DEFAULT, **settings: Any
) -> Run:
    """Train one network on one or several data sets.

    Args:
        manifests: one a data set, see `multijoint init`.
        out: folder of the run.
        fold: the part of the subjects that is held out; or "least typical"; or "all", which trains on every labelled
            case: no case validates, and the last weights are the model.
        recipe: "strong", or "paper" for the training of Boutillon et al. 2021.
        settings: of `train.yaml`, such as `budget`, `max_epochs`, `epochs_of` or `resume`.

    Returns:
        The run.

    Raises:
        InputError: the data or the settings cannot be used.
    """
    configs, own = training_workflow(manifests, out=out, fold=fold, recipe=recipe, **settings)
    run_workflow(configs, workflow_type="train", **own)
    return Run(Path(out))


def evaluation_workflow(
    run: Run | str | Path, *, out: str | Path | None = None, **settings: Any
) -> tuple[list[str], dict[str, Any]]:
    """Configurations and settings of an evaluation, for `run_workflow` and `bundle_command`; see `evaluate`.

    Raises:
        InputError: the folder is not that of a training.
    """
    folder = run.folder if isinstance(run, Run) else Path(run)
    path = folder / "config.yaml"
    try:
        trained = yaml.safe_load(path.read_text(encoding="utf-8"))
        is_adapted = "base" in trained
        own = {name: trained[name] for name in (*_OF_THE_DATA, *(_OF_ADAPTING if is_adapted else ()))}
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        raise InputError(f"run {folder.name} must be the folder of a training, with its {path.name}") from error
    own["manifests"] = [Path(manifest) for manifest in own["manifests"]]
    own["dataset_dir"] = None if own["dataset_dir"] is None else Path(own["dataset_dir"])
    if is_adapted:
        own["base"] = Path(settings.get("base", own["base"]))
        settings["base"] = own["base"]
        if not own["base"].exists():
            raise InputError(
                f"run {folder.name} was adapted from a model that must still be there, got nothing at its path (a zip "
                "is unpacked for the adaptation alone); give it unpacked, by --set base=FOLDER"
            )
    own |= {"checkpoint": folder / "model.pt", "output_dir": Path(out) if out else folder / "evaluation"}
    return ["train.yaml", *(["adapt.yaml"] if is_adapted else []), "evaluate.yaml"], own | settings


def evaluate(run: Run | str | Path, *, out: str | Path | None = None, **settings: Any) -> list[dict[str, str]]:
    """Segment and score the subjects that a training has held out.

    Args:
        run: a training, or its folder.
        out: folder of label maps and tables; `evaluation` in the run's folder if None.
        settings: of `evaluate.yaml`, such as `test_time_augmentation`; or other `manifests` and `fold` than the run's.

    Returns:
        Rows of `metrics.csv`, one a case and bone: `dice`, `assd_mm`, `mssd_mm`, `status`, ...

    Raises:
        InputError: the run or a scan cannot be used.
    """
    configs, own = evaluation_workflow(run, out=out, **settings)
    run_workflow(configs, workflow_type="train", **own)
    return read_csv(own["output_dir"] / "metrics.csv")


def bundle_command(step: str, configs: Sequence[str], settings: Mapping[str, Any]) -> str:
    """The command of MONAI's that runs a workflow of the joint bundle, for a shell.

    Args:
        step: training or evaluating.
        configs: as for `run_workflow`.
        settings: as for `run_workflow`.
    """
    bundle = min(str(find_bundle()), os.path.relpath(find_bundle()), key=len)
    files = [f"{bundle}/configs/{name}" for name in configs]
    words = ["python", "-m", "monai.bundle", "run", step, "--config_file", _word(files if len(files) > 1 else files[0])]
    words += ["--bundle_root", bundle]
    for name, value in settings.items():
        words += [f"--{name}", _word(value)]
    return shlex.join(words)


def _word(value: Any) -> str:
    """A value as Python Fire reads it."""
    if isinstance(value, list):
        value = [str(each) if isinstance(each, Path) else each for each in value]
        if all(isinstance(each, str) for each in value):
            return json.dumps(value, ensure_ascii=False)  # a shell quotes its `"` plainly
    return str(value)
