"""The state of a training: saved in a checkpoint, and restored from one."""

import shutil
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
from custom_components.networks.unet import MultiDomainUNet
from custom_components.training.epoch_log import EpochLog
from custom_components.training.resuming import load_newest
from custom_components.training.runs import TrainingRun
from custom_components.training.schedules import make_schedule, rate_factor
from custom_components.training.state import TrainingState

# Written by the first release: two epochs with validation scores 0.5 and 0.4, in each of which the bias of the head,
# at first (0, -4.6052), rose by 1.
OLD = Path(__file__).parent / "data" / "last_of_0.1.0.bin"


def make_state(folder: Path, **schedule: Any) -> TrainingState:
    case = Case("a", "ankle", Path("i.nii"), Path("l.nii"), "s")
    run = TrainingRun(
        folder,
        domains=[Domain("ankle", {1: "talus"}, "axial")],
        split=Split((case,), (), (), fold=0, num_folds=3),
        network=MultiDomainUNet([2], widths=[2, 4], domain_names=["ankle"]),
        preprocessing=Preprocessing((8, 8)),
    )
    optimizer = torch.optim.Adam(run.network.parameters(), lr=1e-3)
    log = EpochLog(folder, loss=SimpleNamespace(terms={}), optimizer=optimizer, evaluator=SimpleNamespace())
    return TrainingState(
        run,
        optimizer=optimizer,
        lr_scheduler=make_schedule(optimizer, **{"power": 1.0, "max_epochs": 10, "steps_per_epoch": 3, **schedule}),
        log=log,
        sampler=DomainBalancedBatchSampler([0] * 6, batch_size=2),
    )


def step(state: TrainingState) -> None:
    """An optimizer step with a gradient of 1 everywhere, and new running statistics."""
    for weight in state.run.network.parameters():
        weight.grad = torch.ones_like(weight)
    state.optimizer.step()
    for name, buffer in state.run.network.named_buffers():
        if name.endswith("running_mean"):
            buffer += 1


def test_the_last_checkpoint_of_the_version_before_is_taken_up(tmp_path: Path) -> None:
    shutil.copy(OLD, tmp_path / "last.pt")
    state = make_state(tmp_path)
    state.restore(load_newest(tmp_path), num_steps=1)
    assert (state.epoch, state.steps, state.saved) == (2, 0, (2, 0))
    assert (state.best, state.best_epoch, state.num_stale) == (0.5, 1, 1)
    assert state.run.network.heads[0].bias.tolist() == pytest.approx([2, 2 - 4.6052], abs=1e-4)
    assert state.optimizer.param_groups[0]["lr"] == 1e-3


def test_what_it_saves_is_what_the_version_before_saved(tmp_path: Path) -> None:
    state = make_state(tmp_path)
    state.remember(epoch=1, steps=0, num_steps=3)
    state.save("last.pt", state.model(0.5))
    new, old = load_checkpoint(tmp_path / "last.pt"), load_checkpoint(OLD)
    assert new.keys() == old.keys()
    assert list(new["resume"]) == list(old["resume"])
    assert new["training"].keys() == old["training"].keys()


def test_a_step_begun_is_not_saved_but_for_the_weights(tmp_path: Path) -> None:
    """The forward pass changes running statistics, the end of an epoch the learning rate; both are copied before."""
    state = make_state(tmp_path)
    step(state)
    state.remember(epoch=0, steps=1, num_steps=3)
    (name,) = (name for name, _ in state.run.network.named_buffers() if name == "bottleneck.norm1.norms.0.running_mean")
    for buffer in state.run.network.buffers():
        buffer.zero_()
    state.optimizer.param_groups[0]["lr"] = 7.0
    state.save("last.pt", state.model())
    content = load_checkpoint(tmp_path / "last.pt")
    assert content["model"][name].tolist() == [1.0] * 4
    assert content["resume"]["optimizer"]["param_groups"][0]["lr"] == 1e-3
    assert (content["training"]["epoch"], content["resume"]["steps"], state.saved) == (0, 1, (0, 1))


def test_a_state_taken_up_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    first = make_state(tmp_path)
    step(first)
    first.best, first.best_epoch, first.num_stale = 0.25, 1, 3
    first.remember(epoch=1, steps=2, num_steps=3)
    first.save("last.pt", first.model())
    step(first)
    second = make_state(tmp_path)
    second.restore(load_newest(tmp_path), num_steps=3)
    assert (second.best, second.best_epoch, second.num_stale) == (0.25, 1, 3)
    assert len(list(second.sampler)) == 1  # two of three batches are done
    step(second)
    for name, tensor in first.run.network.state_dict().items():
        assert torch.equal(tensor, second.run.network.state_dict()[name]), name


def test_another_learning_rate_is_refused(tmp_path: Path) -> None:
    first = make_state(tmp_path)
    first.remember(epoch=1, steps=0, num_steps=3)
    first.save("last.pt", first.model())
    second = make_state(tmp_path)
    second.optimizer.param_groups[0]["initial_lr"] = 1e-4
    with pytest.raises(InputError, match=r"got learning_rate 0.0001 in place of 0.001; use the run's own settings"):
        second.restore(load_newest(tmp_path), num_steps=3)


def test_a_polynomial_that_has_become_longer_is_the_one_of_that_length(tmp_path: Path) -> None:
    """Its rate at the end of the first training is 0, and would stay so."""
    first = make_state(tmp_path)
    step(first)
    for _ in range(10):
        first.lr_scheduler.step()
    first.remember(epoch=10, steps=0, num_steps=3)
    first.save("last.pt", first.model())
    second = make_state(tmp_path, max_epochs=40)
    second.restore(load_newest(tmp_path), num_steps=3)
    assert second.optimizer.param_groups[0]["lr"] == pytest.approx(0.75e-3)
    second.lr_scheduler.step()
    assert second.optimizer.param_groups[0]["lr"] == pytest.approx(1e-3 * 29 / 40)


def test_a_schedule_by_steps_goes_on_within_an_epoch(tmp_path: Path) -> None:
    """With its own length, and with another one as if it had had it from the beginning."""
    settings = {"schedule": "cosine", "warmup": 0.1}
    first = make_state(tmp_path, **settings)
    for _ in range(10):
        step(first)
        first.lr_scheduler.step()
    first.remember(epoch=3, steps=1, num_steps=3)
    first.lr_scheduler.step()  # of a step that is not remembered
    first.save("last.pt", first.model())
    for epochs in (10, 20):
        second = make_state(tmp_path, max_epochs=epochs, **settings)
        second.restore(load_newest(tmp_path), num_steps=3)
        assert second.optimizer.param_groups[0]["lr"] == pytest.approx(1e-3 * rate_factor(10, 30, **settings))
        for number in range(11, 3 * epochs + 1):
            second.lr_scheduler.step()
            expected = 1e-3 * rate_factor(number, 3 * epochs, **settings)
            assert second.optimizer.param_groups[0]["lr"] == pytest.approx(expected)
        assert second.optimizer.param_groups[0]["lr"] == 0.0


@pytest.mark.parametrize("schedules", [("polynomial", "cosine"), ("one-cycle", "polynomial")])
def test_a_schedule_by_epochs_is_not_taken_for_one_by_steps(schedules: tuple[str, str], tmp_path: Path) -> None:
    first, second = (make_state(tmp_path, schedule=schedule) for schedule in schedules)
    first.remember(epoch=1, steps=0, num_steps=3)
    first.save("last.pt", first.model())
    with pytest.raises(InputError, match="got another schedule or warmup; use the run's own settings"):
        second.restore(load_newest(tmp_path), num_steps=3)


def test_losses_that_are_not_finite_make_a_state_bad(tmp_path: Path) -> None:
    state = make_state(tmp_path)
    state.remember(epoch=0, steps=1, num_steps=3)
    assert state.is_good
    state.log.load_state_dict({"sums": {"loss": float("nan")}, "num_batches": 1, "num_slices": 2, "seconds": 0.0})
    state.remember(epoch=0, steps=1, num_steps=3)
    assert not state.is_good


def test_a_model_alone_is_no_state(tmp_path: Path) -> None:
    state = make_state(tmp_path)
    state.remember(epoch=1, steps=0, num_steps=3)
    state.save("model.pt", state.model(0.5))
    assert "resume" not in load_checkpoint(tmp_path / "model.pt")
    assert state.saved == (0, 0)
    shutil.copy(tmp_path / "model.pt", tmp_path / "last.pt")
    with pytest.raises(InputError, match="must hold what a training continues from, got a model alone"):
        load_newest(tmp_path)
