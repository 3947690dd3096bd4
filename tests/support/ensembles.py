"""Trained members of an ensemble: one a fold of the phantoms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from custom_components.models.checkpoints import load_model, save_checkpoint
from support.bundles import SMALL, Run

__all__ = ["train_folds"]


def train_folds(manifests: dict[str, str], run_bundle: Run, made_once: Callable[..., Path]) -> list[Path]:
    """The `model.pt` of three folds, each trained for an epoch, the first time that they are asked for.

    After so short a training all is background; with larger weights and no bias in the last layers, bones are found.
    """

    def train(folder: Path) -> None:
        for fold in range(3):
            settings = {"manifests": [manifests["ankle"], manifests["shoulder"]], "device": "cpu", **SMALL}
            out = {"output_dir": str(folder / f"fold{fold}"), "fold": fold, "seed": fold}
            run_bundle("multijoint", ["train.yaml"], "training", **settings, **out)
            path = folder / f"fold{fold}" / "model.pt"
            model = load_model(path)
            factors = {name: 30.0 * name.endswith("weight") for name in model.weights if name.startswith("heads.")}
            weights = {name: each * factors.get(name, 1) for name, each in model.weights.items()}
            save_checkpoint(path, replace(model, weights=weights))

    folder = made_once("folds", train)
    return [folder / f"fold{fold}" / "model.pt" for fold in range(3)]
