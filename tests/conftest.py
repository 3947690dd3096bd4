"""Phantoms and small trained models shared by the tests that run whole workflows."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigWorkflow

from custom_components.phantoms import write_phantoms

BUNDLES = Path(__file__).parents[1] / "bundles"
SMALL = {"image_size": [32, 32], "widths": [4, 8], "max_epochs": 1, "batch_size": 8, "learning_rate": 1e-3}

Run = Callable[..., ConfigWorkflow]


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Networks this small lose more than they gain by threads."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def manifests(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Three phantoms a joint, by domain."""
    paths = write_phantoms(tmp_path_factory.mktemp("phantoms"), num_cases=3, seed=0, size=40)
    return {path.parent.name: str(path) for path in paths}


@pytest.fixture(scope="session")
def run_bundle() -> Run:
    """Run one workflow of a bundle in this process, from its real configuration."""

    def run(bundle: str, configs: list[str], run_id: str = "run", **overrides: Any) -> ConfigWorkflow:
        root = BUNDLES / f"{bundle}_mr_bone_segmentation"
        workflow = ConfigWorkflow(
            config_file=[str(root / "configs" / name) for name in configs],
            workflow_type="train" if "train.yaml" in configs else "inference",
            logging_file=False,
            run_id=run_id,
            bundle_root=str(root),
            **overrides,
        )
        workflow.initialize()
        workflow.run()
        return workflow

    return run


@pytest.fixture(scope="session")
def trained(manifests: dict[str, str], run_bundle: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a joint model trained for one epoch on both phantom joints."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    paths = [manifests["ankle"], manifests["shoulder"]]
    run_bundle("multijoint", ["train.yaml"], "training", manifests=paths, output_dir=str(folder), device="cpu", **SMALL)
    return folder
