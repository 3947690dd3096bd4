"""Faults that a training survives: damaged and half-written checkpoints, signals, dead loaders, a full disk."""

import csv
import os
import random
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest
import torch
from custom_components.data.preprocessing import Preprocessing
from custom_components.domains import Domain
from custom_components.errors import InputError, find_cause
from custom_components.models.checkpoints import load_checkpoint, load_model, save_checkpoint
from custom_components.models.trained_model import TrainedModel
from custom_components.networks.unet import MultiDomainUNet
from custom_components.system.files import TEMPORARY, remove_stale_temporaries
from custom_components.training.interruption import InterruptionHandler
from custom_components.training.resuming import load_newest
from ignite.engine import Events
from monai.bundle import ConfigWorkflow
from monai.engines.utils import IterationEvents
from support.bundles import BUNDLES, SMALL, Run
from support.forking import start

Amount = Callable[[int, int], int]
ROOT = BUNDLES / "multijoint_mr_bone_segmentation"
SETTINGS = {**SMALL, "batch_size": 8, "device": "cpu", "learning_rate_decay": 0.9}  # 4 steps an epoch


RECIPE = {"weight_averaging": 0.9, "schedule": "one-cycle", "choose_by": 2, "reestimate_norms": True}


def make_model(*, seed: int = 0) -> TrainedModel:
    torch.manual_seed(seed)
    network = MultiDomainUNet([2], widths=[2, 4], domain_names=["ankle"])
    training = {"epoch": seed, "validation_dice": 0.5}
    domains = (Domain("ankle", {1: "talus"}, "axial"),)
    return TrainedModel(domains, Preprocessing((8, 8)), network.settings(), network.state_dict(), training)


def equal(first: Any, second: Any) -> bool:
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(equal(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(equal, first, second))
    return torch.equal(first, second) if isinstance(first, torch.Tensor) else bool(first == second)


def read_log(folder: Path) -> list[tuple[str, ...]]:
    """Epoch, losses, rate and scores; not the times."""
    with (folder / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    left_out = ("seconds", "slices_per_second", "epoch_seconds", "peak_memory_mib")
    return [tuple(value for name, value in row.items() if name not in left_out) for row in rows]


def same_training(first: Path, second: Path) -> bool:
    """Whether two runs came to the same bits: weights, optimizer, best model, log."""
    contents = [load_checkpoint(folder / "last.pt") for folder in (first, second)]
    for content in contents:
        content["resume"].pop("log")  # holds seconds
    best = [load_checkpoint(folder / "model.pt") for folder in (first, second)]
    return equal(*contents) and equal(*best) and read_log(first) == read_log(second)


@pytest.mark.parametrize("digest", [True, False], ids=["with digest", "alone"])
def test_no_flipped_bit_passes_for_a_checkpoint(digest: bool, amount: Amount, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    save_checkpoint(path, make_model())
    if not digest:
        (tmp_path / "model.pt.sha256").unlink()
    whole, known, generator = path.read_bytes(), load_checkpoint(path), random.Random(0)
    num_flips, num_refused = amount(60, 1000), 0
    for _ in range(num_flips):
        bit = generator.randrange(8 * len(whole))
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        try:
            content = load_checkpoint(path)
            load_model(path)
        except InputError:
            num_refused += 1
        else:
            assert equal(content, known), bit  # padding or a time stamp
    print(f"{num_flips} flipped bits: {num_refused} refused, {num_flips - num_refused} without effect")
    if digest:
        assert num_refused == num_flips


def save_for_ever(folder: Path, ready: int) -> None:
    """In a separate process: checkpoints 1, 2, 3, ..., and after each its number to the pipe."""
    for number in range(1, 100_000):
        save_checkpoint(folder / "last.pt", make_model(seed=number), resume={"steps": 0})
        os.write(ready, number.to_bytes(4, "little"))


def test_killed_at_any_moment_the_newest_checkpoint_or_the_one_before_is_found(amount: Amount, tmp_path: Path) -> None:
    generator = random.Random(1)
    num_kills, num_behind, num_stale = amount(8, 100), 0, 0
    for kill in range(num_kills):
        folder = tmp_path / str(kill)
        folder.mkdir()
        told, ready = os.pipe()
        if (child := os.fork()) == 0:
            os.close(told)
            try:
                save_for_ever(folder, ready)
            finally:
                os._exit(1)
        os.close(ready)
        newest = os.read(told, 4)
        time.sleep(generator.uniform(0, 0.05))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        while more := os.read(told, 4):
            newest = more
        os.close(told)
        reported = int.from_bytes(newest, "little")
        found = load_newest(folder)["training"]["epoch"]
        assert found in (reported, reported + 1)  # the last may be whole though not yet reported
        assert equal(load_newest(folder)["model"], make_model(seed=found).to_dict()["model"])
        num_behind += found == reported
        num_stale += remove_stale_temporaries(folder)
        for number in (reported + 1, reported + 2):
            save_checkpoint(folder / "last.pt", make_model(seed=number), resume={"steps": 0})
        assert load_newest(folder)["training"]["epoch"] == reported + 2
        assert not list(folder.glob(TEMPORARY))
        assert len(list(folder.iterdir())) == 4
    print(f"{num_kills} kills: all found a whole checkpoint; {num_stale} left a temporary file, which went")


@pytest.fixture(scope="module", params=[{}, RECIPE], ids=["plain", "recipe"])
def uninterrupted(
    request: pytest.FixtureRequest, manifests: dict[str, str], run_bundle: Run, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    """A run never stopped, and its settings."""
    folder = tmp_path_factory.mktemp("uninterrupted") / "run"
    settings = {**SETTINGS, "manifests": list(manifests.values()), "max_epochs": 3, **request.param}
    run_bundle("multijoint", ["train.yaml"], output_dir=str(folder), **settings)
    return folder, settings


@pytest.mark.parametrize(
    ("moment", "count", "left"),
    [
        (IterationEvents.FORWARD_COMPLETED, 1, (0, 0)),
        (IterationEvents.FORWARD_COMPLETED, 6, (1, 1)),
        (IterationEvents.BACKWARD_COMPLETED, 8, (1, 3)),
        (Events.ITERATION_STARTED, 8, (1, 3)),
        (Events.EPOCH_COMPLETED, 2, (1, 4)),
        ("validation", 10, (2, 4)),
        (Events.EPOCH_STARTED, 3, (2, 0)),
    ],
    ids=str,
)
def test_stopped_at_a_moment_of_each_kind_a_run_goes_on_bit_for_bit(
    moment: Any,
    count: int,
    left: tuple[int, int],
    uninterrupted: tuple[Path, dict[str, Any]],
    run_bundle: Run,
    tmp_path: Path,
) -> None:
    """What SIGTERM's thread does is done in the trainer's own thread here, at a moment that is known."""
    reference, settings = uninterrupted[0], uninterrupted[1] | {"output_dir": str(tmp_path)}

    class Stopped(Exception):
        pass

    workflow = ConfigWorkflow(
        config_file=str(ROOT / "configs" / "train.yaml"), logging_file=False, bundle_root=str(ROOT), **settings
    )
    workflow.initialize()
    trainer = workflow.parser.get_parsed_content("train::trainer")
    handler = workflow.parser.get_parsed_content("train::handlers::5")
    assert isinstance(handler, InterruptionHandler)
    said: list[str] = []
    passed = [0]

    def stop(engine: object) -> None:
        passed[0] += 1
        if passed[0] == count:
            said.append(handler.save())
            raise Stopped

    if moment == "validation":
        workflow.parser.get_parsed_content("validate::evaluator").add_event_handler(Events.ITERATION_STARTED, stop)
    else:  # before the handlers of the configuration
        trainer.add_event_handler(moment, stop)
        trainer._event_handlers[moment].insert(0, trainer._event_handlers[moment].pop())
    with pytest.raises(RuntimeError) as caught:
        workflow.run()
    assert find_cause(caught.value, Stopped) is not None
    epoch, steps = left
    if left == (0, 0):
        assert said == ["stopped by SIGTERM in epoch 1 after step 0 of 4; nothing to save yet: start again"]
        assert not list(tmp_path.glob("*.pt"))
        return
    place = f"epoch {epoch + 1} after step {steps} of 4"
    assert said == [f"stopped by SIGTERM in {place}; continue with --resume true"]
    saved = load_newest(tmp_path)
    assert (saved["training"]["epoch"], saved["resume"]["steps"]) == left
    run_bundle("multijoint", ["train.yaml"], resume=True, **settings)
    assert same_training(tmp_path, reference)


class Training:
    """A training in a separate process, from the command line, and its output.

    Args:
        folder: of the run.
        manifests: its data sets.
        fork: of this process, or a new Python.
        settings: overrides.
    """

    def __init__(self, folder: Path, manifests: dict[str, str], *, fork: bool, **settings: Any) -> None:
        given = {**SETTINGS, "manifests": list(manifests.values()), "output_dir": folder, **settings}
        command = ["monai.bundle", "run", "training"]
        command += ["--config_file", str(ROOT / "configs" / "train.yaml"), "--bundle_root", str(ROOT)]
        command += [part for name, value in given.items() for part in (f"--{name}", str(value))]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
        self.process = start(command, fork=fork, env=environment, stdout=PIPE, stderr=PIPE, cwd=BUNDLES.parent)
        self.output = ""

    def wait_for(self, text: str) -> None:
        """Read its output up to a line with the text."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output += line
            if text in line:
                return
        raise AssertionError(self.output + (self.process.stderr.read() if self.process.stderr else ""))

    def end(self) -> int:
        """The exit code, once it has ended."""
        output, errors = self.process.communicate(timeout=120)
        self.output += output
        # MONAI warns before anything of ours runs.
        self.errors = [line for line in errors.splitlines() if 'any `"_target_"` value in it' not in line]
        assert "Traceback" not in self.output + errors
        return self.process.returncode


@pytest.fixture(scope="module")
def epochs(amount: Amount) -> int:
    """Of a training that lasts longer than the seconds after which it is stopped."""
    return amount(30, 60)


@pytest.fixture(scope="module")
def reference(
    epochs: int, manifests: dict[str, str], run_bundle: Run, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("reference") / "run"
    settings = {**SETTINGS, "manifests": list(manifests.values()), "output_dir": str(folder), "max_epochs": epochs}
    run_bundle("multijoint", ["train.yaml"], **settings)
    return folder


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "workers" in metafunc.fixturenames:
        full = metafunc.config.getoption("--faults", default=False)
        metafunc.parametrize("workers", [0, 1, 2, 4] if full else [0, 2])


def test_stopped_by_signals_at_random_moments_a_run_comes_to_the_same_bits(
    workers: int, fork: bool, epochs: int, reference: Path, manifests: dict[str, str], amount: Amount, tmp_path: Path
) -> None:
    """Terminated again and again, then killed, in the process alone and in its data loading processes too."""
    generator = random.Random(workers)
    num_terminated, seconds, places = amount(1, 10), [], []
    for number in range(num_terminated + 1):
        settings = {"max_epochs": epochs, "num_workers": workers, "resume": number > 0}
        training = Training(tmp_path, manifests, fork=fork and workers > 0, **settings)
        training.wait_for("continuing after epoch" if number else "epoch 2/")
        time.sleep(generator.uniform(0, epochs / 24 / (num_terminated + 1)))
        asked = time.monotonic()
        assert training.process.poll() is None, "too late"
        if number == num_terminated:
            os.killpg(training.process.pid, signal.SIGKILL)
            training.end()
        else:
            kill = os.killpg if number % 2 else os.kill
            kill(training.process.pid, signal.SIGTERM)
            assert training.end() == 143, training.output
            seconds.append(time.monotonic() - asked)
            assert training.errors == []
            (place,) = (line for line in training.output.splitlines() if "stopped by SIGTERM" in line)
            assert "stopped by SIGTERM in epoch" in place
            assert place.endswith("continue with --resume true")
            places.append(place.split(" in ")[1].split(";")[0])
            assert place.split("WARNING ")[1] in (tmp_path / "run.log").read_text()
    last = Training(tmp_path, manifests, fork=fork, max_epochs=epochs, num_workers=workers, resume=True)
    assert last.end() == 0, last.output
    assert same_training(tmp_path, reference)
    assert not list(tmp_path.rglob(TEMPORARY))
    assert max(seconds) < 10
    print(f"{workers} workers, SIGTERM to exit: at most {max(seconds):.2f} s; {len(places)} times: {places}")


def test_a_killed_data_loading_process_is_reported_and_ctrl_c_is_one_word(
    manifests: dict[str, str], fork: bool, tmp_path: Path
) -> None:
    training = Training(tmp_path, manifests, fork=fork, max_epochs=1000, num_workers=1)
    training.wait_for("epoch 1/1000")
    training.wait_for("epoch 2/1000")
    children = Path(f"/proc/{training.process.pid}/task/{training.process.pid}/children").read_text().split()
    assert len(children) == 1
    os.kill(int(children[0]), signal.SIGKILL)
    assert training.end() == 1
    assert training.errors == [
        "error: a data loading process was killed (out of memory?); the last checkpoint is kept: lower num_workers "
        "and continue with --resume true"
    ]
    training = Training(tmp_path, manifests, fork=fork, max_epochs=1000, num_workers=1, resume=True)
    training.wait_for("continuing after epoch")
    training.wait_for("/1000  loss")
    os.killpg(training.process.pid, signal.SIGINT)
    assert training.end() == 130
    assert training.errors == ["interrupted"]
    load_newest(tmp_path)


def test_a_run_that_diverges_stops_at_its_step_and_keeps_the_good_checkpoints(
    manifests: dict[str, str], run_bundle: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = {**SETTINGS, "manifests": list(manifests.values()), "output_dir": str(tmp_path)}
    settings["learning_rate_decay"] = 0.0
    run_bundle("multijoint", ["train.yaml"], **settings)
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*.pt*")}

    def diverge(self: torch.optim.AdamW, *given: Any, **more: Any) -> Any:
        self.param_groups[0]["lr"] = 1e30
        return step(self, *given, **more)

    step = torch.optim.AdamW.step
    monkeypatch.setattr(torch.optim.AdamW, "step", diverge)
    with pytest.raises(RuntimeError) as caught:
        run_bundle("multijoint", ["train.yaml"], **{**settings, "resume": True, "max_epochs": 5})
    monkeypatch.undo()
    message = str(find_cause(caught.value, InputError))
    assert message.startswith("loss must stay finite, got loss nan in epoch 2, step ")
    assert message.endswith(
        "last.pt and model.pt are kept from before: lower learning_rate and begin anew in another output_dir"
    )
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.pt*")} == before
    run_bundle("multijoint", ["train.yaml"], **{**settings, "resume": True, "max_epochs": 2})
    assert [row[0] for row in read_log(tmp_path)] == ["1", "2"]


def test_a_full_disk_is_one_line_and_leaves_the_checkpoints(
    manifests: dict[str, str], run_bundle: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = {**SETTINGS, "manifests": list(manifests.values()), "output_dir": str(tmp_path)}
    run_bundle("multijoint", ["train.yaml"], **settings)
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*.pt")}
    sync = os.fsync

    def refuse(descriptor: int) -> None:
        if os.fstat(descriptor).st_size > 20_000:
            raise OSError(28, "No space left on device")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(RuntimeError) as caught:
        run_bundle("multijoint", ["train.yaml"], **{**settings, "resume": True, "max_epochs": 2})
    assert "could not write the file: No space left on device" in str(find_cause(caught.value, OSError))
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.pt")} == before
    assert not list(tmp_path.glob(TEMPORARY))
    assert load_newest(tmp_path)["training"]["epoch"] == 1
    log = (tmp_path / "run.log").read_text()
    assert log.endswith("ERROR last.pt: could not write the file: No space left on device\n")
    monkeypatch.undo()
    run_bundle("multijoint", ["train.yaml"], **{**settings, "resume": True, "max_epochs": 2})
    assert load_newest(tmp_path)["training"]["epoch"] == 2


def test_nothing_is_sent_anywhere_and_no_path_is_kept(
    manifests: dict[str, str], run_bundle: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One epoch of training and one scan, with the network cut off."""
    connect = socket.socket.connect

    def refuse(own: socket.socket, address: Any) -> None:
        if own.family in (socket.AF_INET, socket.AF_INET6):
            raise AssertionError(f"connects to {address}")
        connect(own, address)

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *given, **more: pytest.fail(f"asks for {given}"))
    run = tmp_path / "run"
    run_bundle("multijoint", ["train.yaml"], manifests=list(manifests.values()), output_dir=str(run), **SETTINGS)
    scan = Path(manifests["ankle"]).parent / "images" / "ankle_000.nii.gz"
    run_bundle(
        "multijoint",
        ["inference.yaml"],
        checkpoint=str(run / "model.pt"),
        domain="ankle",
        images=[str(scan)],
        output_dir=str(tmp_path / "out"),
        device="cpu",
    )
    assert (tmp_path / "out" / "ankle_000_seg.nii.gz").is_file()
    folders = [str(scan.parents[2]).encode(), str(tmp_path).encode()]
    kept = [path for path in run.rglob("*") if path.is_file() and path.name != "config.yaml"]
    assert len(kept) == 9
    for path in kept:
        assert not any(folder in path.read_bytes() for folder in folders), path
