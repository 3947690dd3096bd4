import dataclasses
import json
import logging
from pathlib import Path

import pytest
import torch
from custom_components.data.cases import Case
from custom_components.data.preprocessing import Preprocessing
from custom_components.data.splits import Split
from custom_components.domains import Domain
from custom_components.errors import InputError
from custom_components.models.checkpoints import save_checkpoint
from custom_components.models.seen import seen_by
from custom_components.networks.unet import MultiDomainUNet
from custom_components.training import runs
from custom_components.training.run_lock import LOCK
from custom_components.training.runs import TrainingRun
from custom_components.workflows.begin import begin, select_device
from monai.bundle import ConfigParser


def make_run(folder: Path, *, resume: bool = False) -> TrainingRun:
    cases = [Case(f"a{i}", "ankle", Path(f"/data/a{i}.nii"), Path(f"/data/a{i}_seg.nii"), f"s{i}") for i in range(3)]
    return TrainingRun(
        folder,
        domains=[Domain("ankle", {3: "talus"}, "axial")],
        split=Split((cases[2],), (cases[1],), (cases[0],), fold=0, num_folds=3),
        network=MultiDomainUNet([2], widths=[2, 4], domain_names=["ankle"]),
        preprocessing=Preprocessing((8, 8)),
        seed=7,
        resume=resume,
    )


def test_settings_are_checked_from_within_a_configuration() -> None:
    first_step = {"_target_": "custom_components.workflows.begin"}
    parser = ConfigParser({"lr": 1.0, "run": "$@lr", "initialize": [first_step]})
    parser.get_parsed_content("initialize::0")
    parser = ConfigParser({"lr": 1.0, "learning": 2.0, "run": "$@lr", "initialize": [first_step]})
    with pytest.raises(RuntimeError) as caught:
        parser.get_parsed_content("initialize::0")
    assert "setting learning must be one that the configuration uses" in str(caught.value.__cause__)


def test_begin_makes_random_numbers_repeat() -> None:
    draws = []
    for _ in range(2):
        begin(seed=3)
        draws.append(torch.rand(4))
    assert torch.equal(*draws)


def test_monai_prints_the_settings_of_a_run_only_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    logger = logging.getLogger("monai.bundle.scripts")
    begin()
    assert not logger.isEnabledFor(logging.INFO)
    logger.setLevel(logging.INFO)
    monkeypatch.setenv("MULTIJOINT_LOG_PATHS", "1")
    begin()
    assert logger.isEnabledFor(logging.INFO)


def test_select_device() -> None:
    assert select_device("cpu") == torch.device("cpu")
    assert select_device("auto").type in ("cpu", "cuda")
    with pytest.raises(InputError, match="device must be one of this machine's, got toaster"):
        select_device("toaster")
    with pytest.raises(InputError, match="device must be one of this machine's, got cuda:99"):
        select_device("cuda:99")


def test_run_writes_its_record_without_paths_and_prints_the_split(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = make_run(tmp_path / "run")
    with caplog.at_level(logging.INFO):
        run.start()
    run.end()
    assert "s0" in caplog.text
    assert "s0" in (tmp_path / "run" / "run.log").read_text()
    split = json.loads((tmp_path / "run" / "split.json").read_text())
    assert split["training"] == [{"domain": "ankle", "case": "a2", "subject": "s2"}]
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["seed"] == 7
    # Each of the 6 norms has 2 weights a channel; the head is 2 x 2 + 2.
    assert record["weights_per_domain"] == 2 * (2 + 2 + 4 + 4 + 2 + 2) + 2 * 2 + 2
    assert "/data" not in "".join(path.read_text() for path in (tmp_path / "run").iterdir())


def test_run_refuses_a_folder_with_a_model_unless_resumed(tmp_path: Path) -> None:
    for name in ("model.pt", "last.pt", "previous.pt"):
        (tmp_path / name).touch()
        with pytest.raises(InputError, match="output_dir must not hold another run"):
            make_run(tmp_path).start()
        if name != "previous.pt":
            (tmp_path / name).unlink()
    (tmp_path / ".last.pt.tmp-1").touch()
    for name in ("last.pt", "previous.pt"):
        (tmp_path / name).unlink(missing_ok=True)
    resume = {"steps": 0}
    save_checkpoint(tmp_path / "last.pt", make_run(tmp_path).model(epoch=1, validation_dice=0.5), resume=resume)
    run = make_run(tmp_path, resume=True)
    run.start()
    run.end()
    assert not (tmp_path / ".last.pt.tmp-1").exists()
    with pytest.raises(InputError, match=r"resume needs .*last.pt, got no such file"):
        make_run(tmp_path / "other", resume=True).start()


def test_a_run_keeps_its_folder_until_it_ends(tmp_path: Path) -> None:
    """Another process has no say while it runs; here the lock's file stands for it, see `test_run_lock.py`."""
    run = make_run(tmp_path)
    run.start()
    assert (tmp_path / LOCK).exists()
    run.end()
    assert not (tmp_path / LOCK).exists()
    with pytest.raises(InputError, match="resume needs"):
        make_run(tmp_path, resume=True).start()
    assert not (tmp_path / LOCK).exists()


def test_the_people_of_the_model_adapted_and_of_those_before_it_count_as_seen(tmp_path: Path) -> None:
    earlier = make_run(tmp_path / "a").model(epoch=1, validation_dice=0.5)
    people = {"training": [{"domain": "knee", "subject": "k1"}], "validation": [], "complete": False}
    before = dataclasses.replace(earlier, training={**earlier.training, "seen": people})
    run = dataclasses.replace(make_run(tmp_path / "b"), started_from=before)
    seen = seen_by(run.model(epoch=1, validation_dice=None).training)
    assert seen.everybody == {("knee", "k1"), ("ankle", "s1"), ("ankle", "s2")}
    assert not seen.complete


def test_log_of_a_run_rotates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "_LOG_BYTES", 1000)
    run = make_run(tmp_path)
    run.start()
    for number in range(100):
        logging.getLogger("custom_components").warning("line %d of the log", number)
    run.end()
    logging.getLogger("custom_components").warning("after the end")
    logs = sorted(tmp_path.glob("run.log*"))
    assert [path.name for path in logs] == ["run.log", "run.log.1", "run.log.2"]
    assert all(path.stat().st_size <= 1000 for path in logs)
    assert logs[0].read_text().endswith("line 99 of the log\n")


def test_model_holds_a_copy_of_what_travels(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    model = run.model(epoch=4, validation_dice=0.5)
    assert model.training["epoch"] == 4
    assert model.training["split"]["testing"] == [{"domain": "ankle", "case": "a0", "subject": "s0"}]
    assert model.network["num_classes"] == [2]
    assert model.weights.keys() == run.network.state_dict().keys()
    buffers = {name: buffer + 1 for name, buffer in run.network.named_buffers()}
    other = run.model(epoch=4, validation_dice=0.5, tensors=buffers)
    for name, weight in run.network.state_dict().items():
        assert torch.equal(other.weights[name], weight + (name in buffers))


def test_image_size_must_suit_the_network(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    run.preprocessing = Preprocessing((8, 9))
    with pytest.raises(InputError, match=r"image_size must be multiples of 2 for 2 widths, got \[8, 9\]"):
        run.start()
    assert not (tmp_path / "run").exists()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"output_dir must be a folder to make, got .*file/run \(Not a direct"):
        make_run(tmp_path / "file" / "run").start()
