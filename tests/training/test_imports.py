"""A batch for training needs few files of ours: a reader of the code finds the whole way in a handful of them."""

import sys
from pathlib import Path

from support.processes import run

READ = """
import sys
{statement}
for module in list(sys.modules.values()):
    if "custom_components" in (getattr(module, "__file__", None) or ""):
        print(module.__name__)
"""


def files_read(statement: str) -> set[str]:
    done = run([sys.executable, "-c", READ.format(statement=statement)], check=True, cwd=Path(__file__).parents[2])
    return set(done.stdout.split())


def test_the_face_reads_the_module_asked_for_alone() -> None:
    assert files_read("from custom_components.training import prepare_slices") == {
        "custom_components",
        "custom_components.training",
        "custom_components.training.batches",
    }


def test_a_batch_from_files_to_tensors_reads_at_most_25_files() -> None:
    read = files_read(
        "from custom_components.training import prepare_slices\n"
        "from custom_components.data import DomainBalancedBatchSampler, Preprocessing, RandFlipRotateTranslated\n"
        "from custom_components.data import SliceDataset"
    )
    assert "custom_components.data.datasets" in read
    assert len(read) <= 25, sorted(read)


def test_a_network_and_its_loss_read_no_data_and_no_engines() -> None:
    read = files_read(
        "from custom_components.networks import EmbeddingForward, MultiDomainUNet\n"
        "from custom_components.losses import MultiDomainSegmentationLoss"
    )
    packages = {name.split(".")[1] for name in read if "." in name}
    assert packages <= {"distributed", "domains", "errors", "losses", "networks"}
