"""Adaptation of a trained model to one new data set, by the training workflow of the joint bundle."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from custom_components.errors import InputError, suggest

from multijoint.api.opening import open_model
from multijoint.running import find_bundle, run_workflow

_CONFIGS = ("train.yaml", "adapt.yaml")
# Set by the arguments or the model, or part of how a workflow is built.
_FIXED = {"base", "manifests", "output_dir", "dataset_dir", "freeze", "like", "bundle_root", "domains", "split"}
_FIXED |= {"imports", "initialize", "run", "training", "network", "slices", "datasets"}


def adapt_model(
    model: str | Path,
    *,
    manifest: str | Path,
    out: str | Path,
    freeze: str = "shared",
    like: str | None = None,
    dataset_dir: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    trust: bool = False,
) -> Path:
    """Add a data set to a trained model, with a new norm and head trained on its labelled subjects.

    Runs `train.yaml` with `adapt.yaml` of the joint bundle. The result is an ordinary run: it can be continued with the
    setting `resume`, evaluated, packaged, and adapted again.

    Args:
        model: `model.pt` of a run, or a packaged bundle; see `open_model`.
        manifest: of the new data set.
        out: folder of the run.
        freeze: "shared" or "none"; see `adaptation.extend_network`.
        like: domain whose norms the new ones start from; `None` for the one that fits the new labels best.
        dataset_dir: folder that the manifest's paths are relative to, if not its own.
        settings: of `train.yaml` and `adapt.yaml`, such as `max_epochs` or `train_subjects`.
        trust: also take a bundle that the inspection calls unsafe.

    Returns:
        Path of the adapted model.

    Raises:
        InputError: the model, the data set and the settings do not fit together.
    """
    with open_model(model, trust=trust) as base:
        run_workflow(
            _CONFIGS,
            workflow_type="train",
            base=base,
            manifests=[Path(manifest)],
            output_dir=Path(out),
            dataset_dir=None if dataset_dir is None else Path(dataset_dir),
            freeze=_as_text("freeze", freeze),
            like=None if like is None else _as_text("like", like),
            **adaptation_settings(settings or {}),
        )
    return Path(out) / "model.pt"


def adaptation_settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """Check the settings of an adaptation.

    Raises:
        InputError: `train.yaml` and `adapt.yaml` have no such setting, or an argument or the model decides it.

    Example:
        >>> adaptation_settings({"max_epochs": 10})
        {'max_epochs': 10}
    """
    known: dict[str, Any] = {}
    for name in _CONFIGS:
        known |= yaml.safe_load((find_bundle() / "configs" / name).read_text(encoding="utf-8"))
    free = [name for name, value in known.items() if not (name in _FIXED or "#" in name or isinstance(value, dict))]
    for name in given:
        if name not in free:
            rule = "must be one of train.yaml or adapt.yaml that is free to choose"
            raise InputError(f"setting {name} {rule}; {suggest(name, free)}")
    return dict(given)


def _as_text(name: str, value: str) -> str:
    if re.search(r"[$@%#]", value):
        raise InputError(f"{name} must be free of $, @, % and # (code to MONAI), got {value}; correct it")
    return value
