"""Handlers where the bundle tests do not reach: broken losses, early stopping, resuming another network."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from custom_components.data.cases import Case
from custom_components.data.preprocessing import Preprocessing
from custom_components.data.sampling import DomainBalancedBatchSampler
from custom_components.data.splits import Split
from custom_components.domains import Domain
from custom_components.errors import InputError
from custom_components.models.checkpoints import load_checkpoint
from custom_components.networks import EmbeddingForward, MultiDomainUNet
from custom_components.training.averaging import average_weights
from custom_components.training.epoch_log import EpochLog
from custom_components.training.handlers import (
    AveragingHandler,
    CheckpointHandler,
    EarlyStopHandler,
    ResumeHandler,
    SetSamplerEpoch,
)
from custom_components.training.interruption import InterruptionHandler
from custom_components.training.preemption import Preemption
from custom_components.training.runs import TrainingRun
from custom_components.training.state import TrainingState
from ignite.engine import Engine, Events
from ignite.engine.events import State
from monai.engines.utils import IterationEvents


def make_engine(losses: list[float]) -> Engine:
    """An engine of one batch an epoch, whose loss in epoch i is losses[i - 1]."""

    def step(engine: Engine, batch: int) -> dict:
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        return {"loss": torch.tensor(losses[engine.state.epoch - 1]), "image": torch.zeros(4, 1, 2, 2)}

    engine = Engine(step)
    engine.register_events(*IterationEvents)
    engine.scaler = None
    return engine


def make_evaluator(scores: list[float]) -> tuple[SimpleNamespace, object]:
    """Stands for a validation engine that has run in each epoch with the given key metric."""
    evaluator = SimpleNamespace(state=State(epoch=0, key_metric_name="dice", metrics={}))

    def validate(engine: Engine) -> None:
        evaluator.state.epoch = engine.state.epoch
        evaluator.state.metrics = {"dice": scores[engine.state.epoch - 1]}

    return evaluator, validate


def make_run(folder: Path, widths: list[int], *, resume: bool = False) -> TrainingRun:
    case = Case("a", "ankle", Path("i.nii"), Path("l.nii"), "s")
    return TrainingRun(
        folder,
        domains=[Domain("ankle", {1: "talus"}, "axial")],
        split=Split((case,), (), (), fold=0, num_folds=3),
        network=MultiDomainUNet([2], widths=widths, domain_names=["ankle"]),
        preprocessing=Preprocessing((8, 8)),
        resume=resume,
    )


def train(
    run: TrainingRun,
    scores: list[float],
    *,
    patience: int = 0,
    snapshots: tuple[int, ...] = (),
    choose_by: int = 1,
    decay: float = 0.0,
    save_interval: float = 0.0,
    max_epochs: int | None = None,
) -> Engine:
    optimizer = torch.optim.Adam(run.network.parameters(), lr=1e-3)
    scheduler = torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=10)
    evaluator, validate = make_evaluator(scores)
    engine = make_engine([1.0] * len(scores))
    engine.add_event_handler(Events.EPOCH_COMPLETED, validate)
    engine.add_event_handler(Events.ITERATION_STARTED, lambda: run.network.heads[0].bias.data.add_(1))
    log = EpochLog(run.output_dir, loss=SimpleNamespace(terms={}), optimizer=optimizer, evaluator=evaluator)
    sampler = DomainBalancedBatchSampler([0], batch_size=1)
    average = average_weights(EmbeddingForward(run.network), decay=decay)
    state = TrainingState(
        run, optimizer=optimizer, lr_scheduler=scheduler, log=log, sampler=sampler, average=average, choose_by=choose_by
    )
    ResumeHandler(state).attach(engine)
    EarlyStopHandler(state, patience=patience).attach(engine)
    CheckpointHandler(state, snapshots=snapshots, save_interval=save_interval).attach(engine)
    AveragingHandler(state).attach(engine)
    engine.run([0], max_epochs=max_epochs or len(scores))
    return engine


def test_best_is_kept_apart_from_last(tmp_path: Path) -> None:
    run = make_run(tmp_path, [2, 4])
    start = run.network.heads[0].bias.detach().clone()
    train(run, [0.1, 0.5, 0.3])
    best, last = (torch.load(tmp_path / name, weights_only=True) for name in ("model.pt", "last.pt"))
    assert (best["training"]["epoch"], best["training"]["validation_dice"]) == (2, 0.5)
    assert last["training"]["epoch"] == 3
    assert torch.equal(best["model"]["heads.0.bias"], start + 2)
    assert torch.equal(last["model"]["heads.0.bias"], start + 3)


def test_models_of_chosen_epochs_are_kept(tmp_path: Path) -> None:
    run = make_run(tmp_path, [2, 4])
    start = run.network.heads[0].bias.detach().clone()
    train(run, [0.1, 0.5, 0.3], snapshots=(1, 3, 9))
    assert sorted(path.name for path in tmp_path.glob("epoch_*.pt")) == ["epoch_1.pt", "epoch_3.pt"]
    for epoch in (1, 3):
        kept = torch.load(tmp_path / f"epoch_{epoch}.pt", weights_only=True)
        assert kept["training"]["epoch"] == epoch
        assert "resume" not in kept
        assert torch.equal(kept["model"]["heads.0.bias"], start + epoch)


def test_the_average_is_the_model_and_the_weights_go_on(tmp_path: Path) -> None:
    run = make_run(tmp_path, [2, 4])
    start = run.network.heads[0].bias.detach().clone()
    train(run, [0.1, 0.5, 0.3], snapshots=(3,), decay=0.5)
    bias = {name: load_checkpoint(tmp_path / f"{name}.pt")["model"]["heads.0.bias"] for name in ("last", "model")}
    bias["epoch 3"] = load_checkpoint(tmp_path / "epoch_3.pt")["model"]["heads.0.bias"]
    # 1 after the first step, then 2/11 of 1 and 9/11 of 2, then 3/12 of that and 9/12 of 3.
    second = 2 / 11 * 1 + 9 / 11 * 2
    expected = {"last": 3.0, "model": second, "epoch 3": second / 4 + 3 * 3 / 4}
    for name, risen in expected.items():
        torch.testing.assert_close(bias[name], start + risen)
    assert load_checkpoint(tmp_path / "last.pt")["resume"]["average"]["n_averaged"] == 3
    resumed = make_run(tmp_path, [2, 4], resume=True)
    train(resumed, [0.1, 0.5, 0.3, 0.9], decay=0.5)
    third = load_checkpoint(tmp_path / "model.pt")["model"]["heads.0.bias"]
    torch.testing.assert_close(third, start + expected["epoch 3"] * 4 / 13 + 4 * 9 / 13)


def test_averaging_begun_in_a_resumed_run_is_refused(tmp_path: Path) -> None:
    train(make_run(tmp_path, [2, 4]), [0.1])
    with pytest.raises(InputError, match="got weight_averaging in a training without it; use the run's own settings"):
        train(make_run(tmp_path, [2, 4], resume=True), [0.1, 0.2], decay=0.9)


SCORES = [0.1, 0.9, 0.2, 0.5, 0.7, 0.4]  # means of two: 0.1, 0.5, 0.55, 0.35, 0.6, 0.55


def test_the_best_epoch_may_be_that_of_the_best_mean(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        train(make_run(tmp_path / "whole", [2, 4]), SCORES, choose_by=2)
    best = load_checkpoint(tmp_path / "whole" / "model.pt")["training"]
    assert (best["epoch"], best["validation_dice"]) == (5, 0.7)
    assert "best epoch 5, validation Dice 0.6000 (mean of 2 validations): model.pt" in caplog.messages
    train(make_run(tmp_path / "resumed", [2, 4]), SCORES[:4], choose_by=2)
    assert load_checkpoint(tmp_path / "resumed" / "model.pt")["training"]["epoch"] == 3
    train(make_run(tmp_path / "resumed", [2, 4], resume=True), SCORES, choose_by=2)
    states = [load_checkpoint(tmp_path / name / "last.pt")["resume"] for name in ("whole", "resumed")]
    assert [(each["best"], each["best_epoch"], each["recent"]) for each in states] == [(0.6, 5, [0.7, 0.4])] * 2


def test_a_model_that_finds_nothing_is_the_last_thing_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = make_run(tmp_path / "nothing", [2, 4])
    train(run, [0.0, 0.0])
    assert caplog.messages == [], "calibration comes first"
    run.end()
    (said,) = caplog.messages
    assert said.startswith("model.pt finds NO BONE of ankle: validation Dice 0 in epoch 1; do not use it there")
    run.end()
    other = make_run(tmp_path / "something", [2, 4])
    train(other, [0.0, 0.01])
    other.end()
    assert caplog.messages == [said]


def test_patience_counts_the_means_that_choose(tmp_path: Path) -> None:
    assert train(make_run(tmp_path / "a", [2, 4]), SCORES, choose_by=2, patience=1).state.epoch == 4
    assert train(make_run(tmp_path / "b", [2, 4]), SCORES, patience=1).state.epoch == 3
    with pytest.raises(InputError, match="choose_by must be 1 or more validations, got 0"):
        train(make_run(tmp_path / "c", [2, 4]), SCORES, choose_by=0)


def test_patience_ends_a_run_that_no_longer_improves(tmp_path: Path) -> None:
    assert train(make_run(tmp_path / "a", [2, 4]), [0.5, 0.4, 0.6, 0.5, 0.4, 0.9], patience=2).state.epoch == 5
    assert train(make_run(tmp_path / "b", [2, 4]), [0.5, 0.4, 0.6, 0.5, 0.4, 0.9]).state.epoch == 6


def test_a_run_stopped_early_is_not_continued(tmp_path: Path) -> None:
    train(make_run(tmp_path, [2, 4]), [0.5, 0.4, 0.4, 0.4], patience=2)
    engine = train(make_run(tmp_path, [2, 4], resume=True), [0.5, 0.4, 0.4, 0.4], patience=2)
    assert engine.state.epoch == 3


def test_resuming_another_network_is_refused(tmp_path: Path) -> None:
    train(make_run(tmp_path, [2, 4]), [0.1])
    with pytest.raises(InputError, match=r"last\.pt must continue the same network"):
        train(make_run(tmp_path, [2, 8], resume=True), [0.1])


def test_the_newest_whole_checkpoint_is_resumed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    scores = [0.1, 0.5, 0.3]
    train(make_run(tmp_path, [2, 4]), scores)
    last, previous = tmp_path / "last.pt", tmp_path / "previous.pt"
    assert [load_checkpoint(path)["training"]["epoch"] for path in (last, previous)] == [3, 2]
    last.write_bytes(last.read_bytes()[:-1])
    with caplog.at_level("INFO"):
        engine = train(make_run(tmp_path, [2, 4], resume=True), scores)
    assert engine.state.epoch == 3
    assert "left out: checkpoint" in caplog.text
    assert "last.pt must match its SHA-256" in caplog.text
    assert "continuing after epoch 2" in caplog.text
    assert [load_checkpoint(path)["training"]["epoch"] for path in (last, previous)] == [3, 2]
    for path in (last, previous):
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"resume needs a whole last\.pt or previous\.pt; checkpoint .* is damaged"):
        train(make_run(tmp_path, [2, 4], resume=True), scores)


@pytest.mark.parametrize(("patience", "expected"), [(0, [1, 4, 7, 8]), (3, [1, 4, 5])])
def test_a_state_to_resume_from_is_saved_when_it_is_due_and_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patience: int, expected: list[int]
) -> None:
    saved: list[tuple[str, int]] = []
    seconds: list[int] = []
    remember = TrainingState.remember

    def end_epoch(state: TrainingState, **place: int) -> None:
        seconds.append(10)
        remember(state, **place)

    monkeypatch.setattr(TrainingState, "remember", end_epoch)
    monkeypatch.setattr("custom_components.training.handlers.monotonic", lambda: sum(seconds))
    monkeypatch.setattr(
        "custom_components.training.state._save_once",
        lambda path, model, resume: saved.append((path.name, model.training["epoch"])),
    )
    train(make_run(tmp_path, [2, 4]), [0.1, 0.9, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1], patience=patience, save_interval=30.0)
    assert [epoch for name, epoch in saved if name == "last.pt"] == expected
    # The best model is that of its epoch, and comes with the state that knows of it.
    assert saved[:4] == [("model.pt", 1), ("last.pt", 1), ("model.pt", 2), ("last.pt", 4)]
    assert len(saved) == 2 + len(expected)


def test_epochs_since_the_last_state_are_repeated_after_a_kill(tmp_path: Path) -> None:
    scores = [0.1, 0.5, 0.3]
    train(make_run(tmp_path / "whole", [2, 4]), scores, save_interval=1e9)
    run = make_run(tmp_path / "killed", [2, 4])
    with pytest.raises(IndexError):  # no score for the third epoch
        train(run, scores[:2], save_interval=1e9, max_epochs=3)
    epochs = [load_checkpoint(tmp_path / "killed" / name)["training"]["epoch"] for name in ("last.pt", "model.pt")]
    assert epochs == [1, 1]
    train(make_run(tmp_path / "killed", [2, 4], resume=True), scores, save_interval=1e9)
    for name in ("last.pt", "model.pt"):
        whole, again = (load_checkpoint(tmp_path / folder / name) for folder in ("whole", "killed"))
        assert whole["training"]["epoch"] == again["training"]["epoch"]
        assert torch.equal(whole["model"]["heads.0.bias"], again["model"]["heads.0.bias"])


def test_a_training_that_another_handler_ends_is_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    attach = CheckpointHandler.attach

    def attach_before_the_other(handler: CheckpointHandler, engine: Engine) -> None:
        attach(handler, engine)
        engine.add_event_handler(Events.EPOCH_COMPLETED(once=2), lambda: engine.terminate())

    monkeypatch.setattr(CheckpointHandler, "attach", attach_before_the_other)
    train(make_run(tmp_path, [2, 4]), [0.1, 0.5, 0.3], save_interval=1e9)
    epochs = [load_checkpoint(tmp_path / name)["training"]["epoch"] for name in ("last.pt", "model.pt")]
    assert epochs == [2, 2]


@pytest.mark.parametrize("value", ["x", 10, None, [1.5], ["2"], [True]])
def test_snapshots_must_be_epochs(tmp_path: Path, value: Any) -> None:
    with pytest.raises(InputError, match="snapshots must be numbers of epochs, got"):
        train(make_run(tmp_path, [2, 4]), [0.1], snapshots=value)


@pytest.mark.parametrize("value", [None, True, "30s", -1.0, float("nan")])
def test_an_interval_must_be_seconds(tmp_path: Path, value: Any) -> None:
    with pytest.raises(InputError, match="save_interval must be seconds, 0 or more, got"):
        train(make_run(tmp_path, [2, 4]), [0.1], save_interval=value)


def test_weights_that_are_not_finite_are_never_saved(tmp_path: Path) -> None:
    run = make_run(tmp_path, [2, 4])
    train(run, [0.1])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    run.network.heads[0].bias.data[0] = float("nan")
    with pytest.raises(InputError, match="weights must stay finite, got NaN or infinity in epoch 1; the checkpoints"):
        train(run, [0.9])
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("DataLoader worker (pid 7) is killed by signal: Killed. ", "process was killed .out of memory\\?"),
        ("DataLoader worker (pid 7) is killed by signal: Bus error. It is possible", "shared memory .* num_workers"),
        ("unable to allocate shared memory(shm) for file </torch_7_1_0>: No space", "shared memory .* num_workers"),
        ("DataLoader worker (pid(s) 7, 8) exited unexpectedly", "process was killed .out of memory\\?"),
    ],
)
def test_a_dead_data_loading_process_is_named(
    said: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Preemption, "wait_if_asked", lambda *_: None)  # SIGTERM does not come
    run = make_run(tmp_path, [2, 4])
    optimizer = torch.optim.Adam(run.network.parameters())
    scheduler = torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=10)
    evaluator, _ = make_evaluator([0.5])
    engine = make_engine([1.0])

    def die(engine: Engine) -> None:
        raise RuntimeError(said)

    log = EpochLog(tmp_path, loss=SimpleNamespace(terms={}), optimizer=optimizer, evaluator=evaluator)
    sampler = DomainBalancedBatchSampler([0], batch_size=1)
    state = TrainingState(run, optimizer=optimizer, lr_scheduler=scheduler, log=log, sampler=sampler)
    InterruptionHandler(state).attach(engine)
    engine.add_event_handler(Events.ITERATION_STARTED, die)
    with pytest.raises(InputError, match=rf"{reason}.*lower num_workers .*start again"):
        engine.run([0], max_epochs=1)


def test_sampler_is_told_the_epoch() -> None:
    sampler = DomainBalancedBatchSampler([0, 0, 0], batch_size=2)
    engine = Engine(lambda *_: None)
    SetSamplerEpoch(sampler).attach(engine)
    engine.run([0], max_epochs=3)
    assert sampler.epoch == 3
