"""Workflows of the joint bundle, run from Python."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from custom_components.errors import InputError, suggest

__all__ = ["JOINT_BUNDLE", "RECIPES", "InputError", "find_bundle", "list_bundles", "recipe_config", "run_workflow"]

JOINT_BUNDLE = "multijoint_mr_bone_segmentation"
RECIPES = ("paper", "strong")
"""Names of the files of the joint bundle that hold a whole recipe of a training."""


def run_workflow(configs: Sequence[str], *, workflow_type: str, **settings: Any) -> None:
    """Run a workflow of the project's joint bundle in this process.

    Args:
        configs: names of its configurations, such as `inference.yaml`; later ones override earlier ones.
        workflow_type: "train" or "inference".
        settings: overrides by name. Paths should be `Path` objects: in text, MONAI takes "$" for code, "@" for a
            reference and "#" for "::".

    Raises:
        InputError: the input cannot be used. Like `OSError`, it is raised without MONAI's errors around it.
    """
    # Tables and figures need the names below only; MONAI takes seconds to import.
    from custom_components.workflows.monai_workarounds import hide_missing_log_file, raise_own_errors
    from monai.bundle import ConfigWorkflow

    if "images" in settings:
        # A tuple: MONAI would look into a list for code and references, and names of scans may look like either.
        settings["images"] = tuple(settings["images"])
    bundle = find_bundle()
    hide_missing_log_file()
    workflow = ConfigWorkflow(
        config_file=[str(bundle / "configs" / name) for name in configs],
        workflow_type=workflow_type,
        logging_file=False,
        bundle_root=str(bundle),
        **settings,
    )
    hook, raises = sys.excepthook, logging.raiseExceptions
    try:
        with raise_own_errors():
            workflow.initialize()
            workflow.run()
    finally:  # a workflow prints the error that ends its process; this process is the caller's
        sys.excepthook, logging.raiseExceptions = hook, raises


def find_bundle(name: str = JOINT_BUNDLE) -> Path:
    """Folder of one of the project's bundles.

    Raises:
        InputError: the folder does not exist.
    """
    known = {path.name: path for path in list_bundles()}
    if name not in known:
        raise InputError(f"the bundle {name} must be installed with the package, got none; reinstall multijoint")
    return known[name]


def list_bundles() -> list[Path]:
    """Folders of the project's bundles, by name; they lie in the package, or next to it in the repository."""
    package = Path(__file__).parent
    paths = [*package.parent.glob("bundles/*/configs/metadata.json"), *package.glob("bundles/*/configs/metadata.json")]
    return sorted({path.parts[-3]: path.parents[1] for path in paths}.values(), key=lambda path: path.name)


def recipe_config(name: str) -> str:
    """Configuration of the joint bundle that holds a whole recipe of a training, overrides of `train.yaml`.

    Raises:
        InputError: there is no such recipe.
    """
    if name not in RECIPES:
        raise InputError(f"recipe must be {' or '.join(RECIPES)}, got {name!r}; {suggest(name, RECIPES)}")
    return f"{name}.yaml"
