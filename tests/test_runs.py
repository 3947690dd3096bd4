import json
import logging
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser

from custom_components.domains import Domain
from custom_components.errors import InputError
from custom_components.manifests import Case
from custom_components.networks import MultiDomainUNet
from custom_components.preprocessing import Preprocessing
from custom_components.runs import TrainingRun, begin, check_settings, select_device
from custom_components.splits import Split


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


def test_setting_that_nothing_uses_is_refused_with_the_nearest_name() -> None:
    config = {
        "max_epochs": 1,
        "batch_size": 4,
        "train": {"trainer": {"epochs": "@max_epochs", "n": "$@batch_size * 2"}},
    }
    check_settings(config)
    with pytest.raises(InputError, match=r"setting batchsize must be one .*did you mean batch_size\?"):
        check_settings({**config, "batchsize": 8})
    with pytest.raises(InputError, match=r"setting zzz must be one .*known are batch_size, max_epochs"):
        check_settings({**config, "zzz": 8})


def test_settings_are_checked_from_within_a_configuration() -> None:
    first_step = {"_target_": "custom_components.runs.begin"}
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
    with caplog.at_level(logging.INFO):
        make_run(tmp_path / "run").start()
    assert "s0" in caplog.text
    split = json.loads((tmp_path / "run" / "split.json").read_text())
    assert split["training"] == [{"domain": "ankle", "case": "a2", "subject": "s2"}]
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["seed"] == 7
    # Each of the 6 norms has 2 weights a channel; the head is 2 x 2 + 2.
    assert record["weights_per_domain"] == 2 * (2 + 2 + 4 + 4 + 2 + 2) + 2 * 2 + 2
    assert "/data" not in "".join(path.read_text() for path in (tmp_path / "run").iterdir())


def test_run_refuses_a_folder_with_a_model_unless_resumed(tmp_path: Path) -> None:
    (tmp_path / "last.pt").touch()
    with pytest.raises(InputError, match="output_dir must not hold another run"):
        make_run(tmp_path).start()
    make_run(tmp_path, resume=True).start()
    with pytest.raises(InputError, match=r"resume needs .*last.pt, got no such file"):
        make_run(tmp_path / "other", resume=True).start()


def test_model_holds_a_copy_of_what_travels(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    model = run.model(epoch=4, validation_dice=0.5)
    assert model.training["epoch"] == 4
    assert model.training["split"]["testing"] == [{"domain": "ankle", "case": "a0", "subject": "s0"}]
    assert model.network["num_classes"] == [2]
    assert model.weights.keys() == run.network.state_dict().keys()


def test_image_size_must_suit_the_network(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    run.preprocessing = Preprocessing((8, 9))
    with pytest.raises(InputError, match=r"image_size must be multiples of 2 for 2 widths, got \[8, 9\]"):
        run.start()
    assert not (tmp_path / "run").exists()
