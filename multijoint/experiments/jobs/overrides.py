"""Override files of methods: checked before anything runs, and laid over the settings of all methods."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from custom_components.errors import InputError, suggest

from multijoint.experiments.jobs.methods import Method
from multijoint.running import RECIPES, find_bundle, recipe_config

PLANNED = ("image_size", "widths", "max_epochs")
"""Settings that may be "auto"."""
OF_JOBS = ("manifests", "dataset_dir", "fold", "seed", "output_dir", "resume", "snapshots", "train_subjects")
"""Settings that each job has its own values of, whatever an override says."""


def overridden(settings: Mapping[str, Any], method: Method) -> dict[str, Any]:
    """The settings with the overrides of a method.

    Raises:
        InputError: an override cannot be read, or is "auto": every job would plan for itself.
    """
    own = dict(settings)
    for path in method.configs:
        changes = _read(path)
        if path in _recipes():  # a recipe leaves to the experiment what it leaves to the planner
            changes = {name: value for name, value in changes.items() if name not in (*PLANNED, "budget")}
        if any(isinstance(changes.get(name), str) for name in PLANNED):
            raise InputError(
                f"override {path.name} must give {', '.join(PLANNED)} in numbers; set auto for all methods"
            )
        own |= changes
    epochs = own["max_epochs"]
    if not isinstance(epochs, str) and (type(epochs) is not int or epochs < 1):
        of = f" of {method.name}" if method.name else ""
        raise InputError(f"max_epochs{of} must be a whole number from 1, got {epochs}; correct it")
    return own


def check_overrides(method: Method, settings: Mapping[str, Any]) -> None:
    """Refuse a method that its trainings would refuse, or whose overrides would change nothing.

    Args:
        method: whose files are read.
        settings: all of `train.yaml`.

    Raises:
        InputError: a file is no YAML of settings; one of them is not in `train.yaml`, is decided by each job, is a
            number that YAML takes for text, or refers to what is not there.
    """
    # And with it MONAI, which tables do without.
    from custom_components.workflows.settings import check_settings, texts_of
    from monai.bundle import ConfigParser
    from monai.bundle.utils import merge_kv

    merged = ConfigParser(copy.deepcopy(dict(settings)))
    for path in method.configs:
        changes = _read(path)
        for name, value in changes.items():
            if re.split("#|::", name.removeprefix("+"), maxsplit=1)[0] in OF_JOBS:
                raise InputError(f"setting {name} of {path.name} must be one that no job decides; leave it out")
            for text in texts_of(value):
                if re.fullmatch(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+", text):
                    rule = "must be a number, and to YAML is a text"
                    raise InputError(f"{name} of {path.name} {rule}, got {text}; write it as 1.0e-3 or 2.0e+2")
            try:
                merge_kv(merged, name, value)
            except (KeyError, IndexError, TypeError, ValueError) as error:
                raise InputError(f"setting {name} of {path.name} must lie in train.yaml; correct its name") from error
        try:
            check_settings(merged.config)
        except InputError as error:
            raise InputError(f"override {path.name}: {error}") from error
        for text in texts_of(changes):
            for name in re.findall(r"@([A-Za-z_]\w*)", text) if text.startswith(("$", "@")) else ():
                if name not in merged.config:
                    raise InputError(
                        f"reference @{name} in {path.name} must be to a setting; {suggest(name, merged.config)}"
                    )


def _recipes() -> list[Path]:
    return [find_bundle() / "configs" / recipe_config(name) for name in RECIPES]


def _read(path: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InputError(f"override {path.name} must be a readable YAML file, got {error}; correct it") from error
    if found is not None and not (isinstance(found, dict) and all(isinstance(name, str) for name in found)):
        raise InputError(f"override {path.name} must be name: value pairs, as train.yaml; correct it")
    return found or {}
