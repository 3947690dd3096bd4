"""The bundles of the repository, and settings for a training that takes a second."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from monai.bundle import ConfigWorkflow

__all__ = ["BUNDLES", "Run", "SMALL"]


BUNDLES = Path(__file__).parents[2] / "bundles"


SMALL = {"image_size": [32, 32], "widths": [4, 8], "max_epochs": 1, "batch_size": 8, "learning_rate": 1e-3}


Run = Callable[..., ConfigWorkflow]
