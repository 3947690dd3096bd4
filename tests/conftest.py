"""Phantoms and small trained models shared by the tests that run whole workflows."""

import logging
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import torch
from custom_components import distributed, losses
from custom_components.networks import norms
from filelock import FileLock
from monai.bundle import ConfigWorkflow
from support.bundles import BUNDLES, SMALL, Run, config_files
from support.processes import catch_ignored_signals

from multijoint.phantoms import write_phantoms

collect_ignore = ["consumers", "peers"]  # each has its own environment
catch_ignored_signals()
hypothesis.settings.register_profile("untimed", deadline=None)  # processors differ
hypothesis.settings.load_profile("untimed")


# Files that take long begin first, so that no process waits for another at the end.
LONGEST_FIRST = (
    *("docs/test_docs.py", "sharing/packaging/test_packaging.py", "training/test_training_faults.py"),
    *("experiments/jobs/test_run_job.py", "api/test_segment_faults.py", "sharing/packaging/test_int8_networks.py"),
    *("workflows/test_bundles.py", "sharing/inspection/test_inspection.py", "inference/test_inferers.py"),
    *("test_distributed.py", "cli/test_main.py", "training/test_tracking.py", "clinic/viewer/test_viewer.py"),
    *("benchmarks/scaling/test_scaling.py", "inference/test_int8.py", "test_wheel.py"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {Path(__file__).parent / name: place for place, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--faults", action="store_true", help="inject faults in their full numbers (make faults)")


@pytest.fixture(scope="session")
def amount(request: pytest.FixtureRequest) -> Callable[[int, int], int]:
    """How many faults to inject: `amount(short, full)` is the short number but under `--faults`."""
    full = request.config.getoption("--faults", default=False)
    return lambda short, long: long if full else short


@pytest.fixture(scope="session")
def fork(amount: Callable[[int, int], int]) -> bool:
    """Whether a command to be killed may be a fork of this process; under `--faults` it is a new Python."""
    return bool(amount(1, 0))


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Networks this small lose more than they gain by threads."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _own_log_level() -> Iterator[None]:
    """A command sets the level of the whole process's log; the next test does not hear the more for it."""
    before = logging.getLogger().level
    yield
    logging.getLogger().setLevel(before)


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Callable[[str, Callable[[Path], Any]], Path]:
    """A folder that all processes of a parallel run share: `made_once(name, make)` fills it in the first that asks."""
    base = tmp_path_factory.getbasetemp()
    root = (base if worker_id == "master" else base.parent) / "made_once"
    root.mkdir(exist_ok=True)

    def folder(name: str, make: Callable[[Path], Any]) -> Path:
        with FileLock(root / f"{name}.lock"):
            if not (root / f"{name}.done").exists():
                shutil.rmtree(root / name, ignore_errors=True)
                (root / name).mkdir()
                make(root / name)
                (root / f"{name}.done").touch()
        return root / name

    return folder


@pytest.fixture(scope="session")
def manifests(made_once: Callable[..., Path]) -> dict[str, str]:
    """Three phantoms a joint, by domain."""
    folder = made_once("phantoms", lambda folder: write_phantoms(folder, num_cases=3, seed=0, size=40))
    return {path.parent.name: str(path) for path in sorted(folder.glob("*/manifest.yaml"))}


@pytest.fixture(scope="session")
def run_bundle() -> Run:
    """Run one workflow of a bundle in this process, from its real configuration."""

    def run(bundle: str, configs: list[str], run_id: str = "run", **overrides: Any) -> ConfigWorkflow:
        root = BUNDLES / f"{bundle}_mr_bone_segmentation"
        workflow = ConfigWorkflow(
            config_file=config_files(bundle, *configs),
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
def trained(manifests: dict[str, str], run_bundle: Run, made_once: Callable[..., Path]) -> Path:
    """Folder of a joint model trained for one epoch on both phantom joints."""
    settings = {"manifests": [manifests["ankle"], manifests["shoulder"]], "device": "cpu", **SMALL}

    def train(folder: Path) -> None:
        run_bundle("multijoint", ["train.yaml"], "training", output_dir=str(folder / "run"), **settings)

    return made_once("trained", train) / "run"


@pytest.fixture
def in_threads(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[int], Any], int], list[Any]]:
    """Run a function of the rank in that many threads, which take the place of processes that train together."""
    own = threading.local()

    def run(function: Callable[[int], Any], num_ranks: int) -> list[Any]:
        barrier, parts = threading.Barrier(num_ranks, timeout=20), [torch.empty(0)] * num_ranks

        def all_reduce(tensor: torch.Tensor) -> None:
            parts[own.rank] = tensor.clone()
            barrier.wait()
            tensor.copy_(sum(parts))
            barrier.wait()

        def work(rank: int) -> Any:
            own.rank = rank
            try:
                return function(rank)
            except BaseException:
                barrier.abort()
                raise

        monkeypatch.setattr(torch.distributed, "all_reduce", all_reduce)
        monkeypatch.setattr(distributed, "rank", lambda: own.rank)
        for module in (distributed, losses, norms):
            monkeypatch.setattr(module, "num_ranks", lambda: num_ranks)
        with ThreadPoolExecutor(num_ranks) as pool:
            results = list(pool.map(work, range(num_ranks)))
        monkeypatch.undo()
        return results

    return run
