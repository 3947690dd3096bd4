"""A batch for training needs few files of ours: a reader of the code finds the whole way in a handful of them."""

import sys
from pathlib import Path

import pytest
from support.processes import run

STATEMENTS = {
    "prepare": "from custom_components.training import prepare_slices",
    "batch": "from custom_components.training import prepare_slices\n"
    "from custom_components.data import DomainBalancedBatchSampler, Preprocessing, RandFlipRotateTranslated\n"
    "from custom_components.data import SliceDataset",
    "network": "from custom_components.networks import EmbeddingForward, MultiDomainUNet\n"
    "from custom_components.losses import MultiDomainSegmentationLoss",
}
READ = f"""
import os, sys
import monai.bundle, ignite.engine  # once, before a fork runs each statement
for name, statement in {STATEMENTS}.items():
    if os.fork() == 0:
        exec(statement)
        files = [getattr(module, "__file__", None) or "" for module in sys.modules.values()]
        read = [module for module, file in zip(sys.modules, files) if "custom_components" in file]
        print(name, *read, flush=True)
        os._exit(0)
    os.wait()
"""


@pytest.fixture(scope="module")
def files_read() -> dict[str, set[str]]:
    """Modules of ours that each statement reads."""
    done = run([sys.executable, "-c", READ], check=True, cwd=Path(__file__).parents[2])
    return {name: set(read) for name, *read in map(str.split, done.stdout.splitlines())}


def test_the_face_reads_the_module_asked_for_alone(files_read: dict[str, set[str]]) -> None:
    assert files_read["prepare"] == {
        "custom_components",
        "custom_components.training",
        "custom_components.training.batches",
    }


def test_a_batch_from_files_to_tensors_reads_at_most_31_files(files_read: dict[str, set[str]]) -> None:
    assert "custom_components.data.datasets" in files_read["batch"]
    assert len(files_read["batch"]) <= 31, sorted(files_read["batch"])


def test_a_network_and_its_loss_read_no_data_and_no_engines(files_read: dict[str, set[str]]) -> None:
    packages = {name.split(".")[1] for name in files_read["network"] if "." in name}
    assert packages <= {"distributed", "domains", "errors", "losses", "networks"}
