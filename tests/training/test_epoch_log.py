"""The log of a training: means over an epoch, scores of the epochs that validate, and losses that end it."""

import csv
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from custom_components.domains import Domain
from custom_components.errors import InputError
from custom_components.training.batches import SliceTarget
from custom_components.training.epoch_log import EpochLog
from ignite.engine import Engine, Events
from ignite.engine.events import State

RATE = 0.5


def make_engine(losses: list[list[float]], *, sizes: tuple[int, ...] = (4,)) -> Engine:
    """An engine whose step i of epoch k has the loss `losses[k - 1][i]`, and `sizes[i]` slices."""

    def step(engine: Engine, batch: int) -> dict:
        own = losses[engine.state.epoch - 1]
        loss = own[batch % len(own)]
        size = sizes[batch % len(sizes)]
        target = SliceTarget(torch.zeros(size, 1, 2, 2), torch.zeros(size), torch.zeros(size))
        return {"loss": torch.tensor(loss), "image": torch.zeros(size, 1, 2, 2), "label": target}

    return Engine(step)


def make_log(folder: Path, *, terms: dict | None = None) -> EpochLog:
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.ones(1))], lr=RATE)
    evaluator = SimpleNamespace(state=State(epoch=0, key_metric_name="dice", metrics={}))
    return EpochLog(folder, loss=SimpleNamespace(terms=terms or {}), optimizer=optimizer, evaluator=evaluator)


def read(folder: Path) -> list[dict[str, str]]:
    with (folder / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_row_holds_means_over_steps_and_slices_a_second(tmp_path: Path) -> None:
    log = make_log(tmp_path, terms={"contrastive": torch.tensor(2.0)})
    engine = make_engine([[1.0, 3.0]], sizes=(4, 2))
    log.attach(engine)
    engine.run([0, 1], max_epochs=1)
    (row,) = read(tmp_path)
    assert (row["epoch"], float(row["loss"]), float(row["contrastive"])) == ("1", 2.0, 2.0)
    assert (float(row["learning_rate"]), row["steps"]) == (RATE, "2")
    assert 0 <= float(row["seconds"]) <= float(row["epoch_seconds"])
    assert float(row["slices_per_second"]) > 6 / 10
    assert float(row["peak_memory_mib"]) > 1
    assert engine.state.metrics["loss"] == 2.0
    assert "epoch" not in engine.state.metrics


def test_scores_stand_in_the_rows_of_epochs_that_validate(tmp_path: Path) -> None:
    log, engine = make_log(tmp_path), make_engine([[1.0], [1.0], [1.0]])

    def validate(engine: Engine) -> None:
        if engine.state.epoch in (1, 3):
            log.evaluator.state.epoch = engine.state.epoch
            log.evaluator.state.metrics = {"dice": float("nan") if engine.state.epoch == 3 else 0.75, "n": 5}

    engine.add_event_handler(Events.EPOCH_COMPLETED, validate)
    log.attach(engine)
    scores = []
    engine.add_event_handler(Events.EPOCH_COMPLETED, lambda e: scores.append(log.validation_score(e.state.epoch)))
    engine.run([0], max_epochs=3)
    assert [row["dice"] for row in read(tmp_path)] == ["0.75", "", "nan"]
    assert scores == [0.75, None, None]  # without a bone to score there is no score
    assert "dice" not in engine.state.metrics  # the validation's own curves have it


def test_the_line_of_an_epoch_is_for_people(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """All else is in `log.csv`."""
    log, engine = make_log(tmp_path, terms={"contrastive": torch.tensor(2.0)}), make_engine([[0.4124], [0.3], [0.2]])
    domains = [Domain("ankle", {1: "talus"}, "axial"), Domain("shoulder", {1: "humerus"}, "axial")]
    log.state = SimpleNamespace(run=SimpleNamespace(domains=domains))

    def validate(engine: Engine) -> None:
        if engine.state.epoch != 2:
            log.evaluator.state.epoch = engine.state.epoch
            log.evaluator.state.metrics = {"dice": 0.4, "dice_n": 5, "dice_ankle": 0.87, "dice_shoulder": 0.0}

    engine.add_event_handler(Events.EPOCH_COMPLETED, validate)
    log.attach(engine)
    with caplog.at_level("INFO", logger="custom_components"):
        engine.run([0], max_epochs=3)
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("custom_components")]
    assert lines == [
        "epoch 1/3  loss 0.412  Dice ankle 0.870  shoulder 0.000  0 s left",
        "epoch 2/3  loss 0.300  0 s left",
        "epoch 3/3  loss 0.200  Dice ankle 0.870  shoulder 0.000",
    ]
    assert "contrastive" in read(tmp_path)[0]
    assert log.domains_without_a_find(3) == ["shoulder"]
    assert log.domains_without_a_find(2) == []
    again = make_log(tmp_path)
    again.state = log.state
    assert again.domains_without_a_find(1) == ["shoulder"], "of a run that is continued"


def test_a_resumed_run_replaces_the_rows_that_it_repeats(tmp_path: Path) -> None:
    first = make_log(tmp_path)
    engine = make_engine([[1.0], [2.0], [3.0]])
    first.attach(engine)
    engine.run([0], max_epochs=3)
    second, engine = make_log(tmp_path), make_engine([[9.0], [7.0]])
    second.attach(engine)
    engine.state.epoch, engine.state.iteration = 1, 1
    engine.add_event_handler(Events.STARTED, lambda e: setattr(e.state, "epoch", 1))
    engine.run([0], max_epochs=2)
    assert [(row["epoch"], float(row["loss"])) for row in read(tmp_path)] == [("1", 1.0), ("2", 7.0)]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_broken_loss_stops_the_run_at_its_step(bad: float, tmp_path: Path) -> None:
    engine = make_engine([[0.25], [bad]])
    make_log(tmp_path).attach(engine)
    with pytest.raises(InputError, match=rf"loss must stay finite, got loss {bad} in epoch 2, step 1; nothing was"):
        engine.run([0, 0], max_epochs=2)
    with (tmp_path / "log.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["epoch"], float(row["loss"]), float(row["learning_rate"])) == ("1", 0.25, 0.5)


def test_broken_terms_stop_the_run_at_the_end_of_its_epoch(tmp_path: Path) -> None:
    (tmp_path / "last.pt").touch()
    engine = make_engine([[0.25]])
    make_log(tmp_path, terms={"contrastive": torch.tensor(float("nan"))}).attach(engine)
    message = r"got contrastive nan in epoch 1; last\.pt and model\.pt are kept .*begin anew in another output_dir"
    with pytest.raises(InputError, match=message):
        engine.run([0, 0], max_epochs=1)
    assert not (tmp_path / "log.csv").exists()


def test_sums_of_an_epoch_begun_go_on_in_another_log(tmp_path: Path) -> None:
    first, second = make_log(tmp_path), make_log(tmp_path)
    engine = make_engine([[0.25]])
    engine.add_event_handler(Events.ITERATION_COMPLETED, first._add)
    engine.run([0, 0, 0])
    second.load_state_dict(first.state_dict())
    engine = make_engine([[0.75]])
    second.attach(engine)
    engine.run([0], max_epochs=1)
    with (tmp_path / "log.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (float(row["loss"]), row["steps"]) == (0.375, "4")
    assert second.state_dict()["sums"] == {}
