"""The bundles of the repository, and settings for a training that takes a second."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from monai.bundle import ConfigWorkflow

__all__ = ["BUNDLES", "Run", "SMALL", "config_files"]


BUNDLES = Path(__file__).parents[2] / "bundles"


SMALL = {"image_size": [32, 32], "widths": [4, 8], "max_epochs": 1, "batch_size": 8, "learning_rate": 1e-3}


def config_files(bundle: str, *names: str) -> list[str]:
    """Paths of configurations of the joint bundle, each followed by a bundle's own overlay of the same name."""
    folders = [BUNDLES / f"{each}_mr_bone_segmentation" / "configs" for each in dict.fromkeys(("multijoint", bundle))]
    return [str(folder / name) for name in names for folder in folders if (folder / name).is_file()]


Run = Callable[..., ConfigWorkflow]
