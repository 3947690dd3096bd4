"""Curves and pictures of a training in TensorBoard and, by MONAI's own option, in MLflow."""

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from custom_components.training.tracking import Tracking, draw_slice, name_run
from support.bundles import BUNDLES, SMALL, Run
from support.processes import run
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


@pytest.fixture(scope="module")
def tracked(manifests: dict[str, str], run_bundle: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a run of two epochs with `--tracking mlflow`."""
    folder = tmp_path_factory.mktemp("tracked") / "a run of Müller"
    run_bundle(
        "multijoint",
        ["train.yaml"],
        "training",
        manifests=[manifests["ankle"], manifests["shoulder"]],
        output_dir=str(folder),
        device="cpu",
        tracking="mlflow",
        **{**SMALL, "max_epochs": 2},
    )
    return folder


def test_tensorboard_has_curves_and_pictures_of_each_validation(tracked: Path) -> None:
    events = EventAccumulator(str(tracked / "tensorboard"), size_guidance={"images": 0})
    events.Reload()
    assert {"loss", "cross_entropy", "learning_rate", "val_mean_dice", "val_mean_dice_ankle"} <= set(
        events.Tags()["scalars"]
    )
    assert [event.step for event in events.Scalars("loss")] == [1, 2]
    assert [event.step for event in events.Scalars("val_mean_dice")] == [1, 2]
    assert sorted(events.Tags()["images"]) == ["validation/ankle", "validation/shoulder"]
    pictures = events.Images("validation/ankle")
    assert [picture.step for picture in pictures] == [1, 2]
    assert (pictures[0].height, pictures[0].width) == (256, 3 * 256)


def test_epochs_that_are_repeated_after_a_kill_are_drawn_once(
    tracked: Path, manifests: dict[str, str], run_bundle: Run, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(tracked, folder)
    (folder / "last.pt").unlink()  # so it goes on after the first epoch
    both = [manifests["ankle"], manifests["shoulder"]]
    settings = {"manifests": both, "output_dir": str(folder), "device": "cpu", "resume": True, **SMALL}
    run_bundle("multijoint", ["train.yaml"], "training", **settings | {"max_epochs": 2})
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    for name in ("loss", "val_mean_dice"):
        assert [event.step for event in events.Scalars(name)] == [1, 2]


def test_mlflow_has_the_same_curves_parameters_and_pictures(tracked: Path) -> None:
    import mlflow

    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{tracked / 'mlruns.db'}")
    experiment = client.get_experiment_by_name("monai_experiment")
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == (name_run(tracked), "FINISHED")
    assert run.data.params["max_epochs"] == "2"
    log = (tracked / "log.csv").read_text().splitlines()
    column = log[0].split(",").index("loss")
    losses = client.get_metric_history(run.info.run_id, "loss")
    assert [(each.step, each.value) for each in losses] == [
        (epoch, pytest.approx(float(row.split(",")[column]))) for epoch, row in enumerate(log[1:], start=1)
    ]
    assert [each.step for each in client.get_metric_history(run.info.run_id, "val_mean_dice")] == [1, 2]
    assert len(client.get_metric_history(run.info.run_id, "train_loss")) >= 2  # of steps, as MONAI logs it
    images = [item.path for item in client.list_artifacts(run.info.run_id, "images")]
    assert len([path for path in images if "shoulder" in path and path.endswith(".png")]) == 2


def test_nothing_is_told_to_the_makers_of_mlflow(tracked: Path) -> None:
    from mlflow.telemetry import get_telemetry_client

    assert get_telemetry_client() is None


def test_tensorboard_can_be_left_out(manifests: dict[str, str], run_bundle: Run, tmp_path: Path) -> None:
    run_bundle(
        "ankle",
        ["train.yaml"],
        manifests=manifests["ankle"],
        output_dir=str(tmp_path / "run"),
        device="cpu",
        tensorboard=False,
        **SMALL,
    )
    assert not (tmp_path / "run" / "tensorboard").exists()
    assert (tmp_path / "run" / "log.csv").is_file()


def test_run_names_differ_with_the_folder_alone(tmp_path: Path) -> None:
    first, second = name_run(tmp_path / "a" / "run"), name_run(tmp_path / "b" / "run")
    assert first.startswith("run-")
    assert first != second
    assert first == name_run(tmp_path / "b" / ".." / "a" / "run")


def test_picture_shows_each_bone_in_its_colour_over_the_reference_in_white() -> None:
    image = np.linspace(0, 1, 16).repeat(8).reshape(16, 8)
    prediction, reference = np.zeros((16, 8), int), np.zeros((16, 8), int)
    prediction[2:6, 2:6] = 1
    reference[9:13, 2:6] = 1
    picture = draw_slice(image, prediction, reference, plane="sagittal")
    assert picture.shape == (128, 256, 3)  # the first axis to the left, the second upwards, 16 times as large
    picture = picture[:, ::-1]
    orange = np.argwhere(np.abs(picture - np.array((0xE6, 0x9F, 0x00))).max(axis=2) < 60)
    assert (*orange.min(axis=0), *orange.max(axis=0)) == pytest.approx((32, 32, 96, 96), abs=3)
    white = np.argwhere((picture == 255).all(axis=2)[24:104, 24:220]) + 24  # without the letters at the edges
    assert (*white.min(axis=0), *white.max(axis=0)) == pytest.approx((32, 144, 96, 208), abs=4)
    grey = picture[0, :, 0].astype(int)
    assert (np.diff(grey) >= 0).all()


def test_segment_never_imports_mlflow(trained: Path, manifests: dict[str, str], tmp_path: Path) -> None:
    scan = Path(manifests["ankle"]).parent / "images" / "ankle_000.nii.gz"
    arguments = ["segment", str(scan), "--checkpoint", str(trained / "model.pt"), "--domain", "ankle", "--quiet"]
    arguments += ["--output", str(tmp_path), "--device", "cpu"]
    code = (
        "import sys; from multijoint.cli import main; "
        f"code = main({json.dumps(arguments)}); print(code, 'mlflow' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(BUNDLES.parent)}
    done = run([sys.executable, "-c", code], check=True, env=environment)
    assert (done.stdout.split(), done.stderr) == (["0", "False"], "")


def test_without_tensorboard_a_line_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The core of the installation has no TensorBoard; a training must not fail for it."""
    for name in [name for name in sys.modules if name.startswith("torch.utils.tensorboard")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.delattr("torch.utils.tensorboard", raising=False)
    tracking = object.__new__(Tracking)
    tracking.output_dir, tracking.tensorboard = str(tmp_path), True
    tracking._writer = tracking._make_writer = None
    tracking._open()
    assert tracking._writer_from(1) is None
    assert "pip install 'multijoint[tracking]'" in caplog.text
    assert not list(tmp_path.iterdir())
