"""The two recipes: train.yaml is the strong one, and paper.yaml sets all that makes it another."""

from pathlib import Path

import pytest
import yaml
from custom_components.errors import InputError
from support.bundles import config_files

from multijoint.experiments.jobs.experiment import recipe_settings, training_settings
from multijoint.running import RECIPES

PAPER = {
    "image_size": [256, 256],
    "widths": [32, 64, 128, 256, 512],
    "max_epochs": 30,
    "batch_size": 32,
    "learning_rate": 1e-4,
    "weight_decay": 0.0,
    "dice_weight": 0.0,
    "max_translation": 0.25,
    "max_rotation": 45.0,
    "flip_axes": [0, 1],
}
"""Sections 3.1 and 3.2 of Boutillon et al. 2021."""


def test_train_yaml_has_the_values_of_the_strong_recipe() -> None:
    strong = recipe_settings("strong")
    assert strong
    assert {name: training_settings({})[name] for name in strong} == strong


def test_the_paper_recipe_is_the_papers_and_sets_what_the_strong_one_sets() -> None:
    paper = recipe_settings("paper")
    assert paper.items() >= PAPER.items()
    assert paper.keys() >= {name for name, value in recipe_settings("strong").items() if value != paper.get(name)}
    kept = {
        "temperature": 0.1,
        "contrastive_weight": 0.1,
        "norm": "domain",
        "head": "domain",
        "embedding": "bottleneck",
    }
    assert {name: training_settings(paper)[name] for name in kept} == kept


def test_recipes_are_files_of_the_joint_bundle() -> None:
    for name in RECIPES:
        (path,) = config_files("multijoint", f"{name}.yaml")
        assert yaml.safe_load(Path(path).read_text()) == recipe_settings(name)
    assert recipe_settings(None) == {}
    with pytest.raises(InputError, match="recipe must be paper or strong, got 'papre'; did you mean paper"):
        recipe_settings("papre")
