"""Learning rates at each step, against PyTorch's own schedulers and by hand."""

import math
from typing import Any

import pytest
import torch
from custom_components.errors import InputError
from custom_components.training.schedules import make_schedule, moves_each_epoch, rate_factor
from torch.optim import lr_scheduler

RATES = (0.1, 1.0)
EPOCHS, STEPS = 5, 4  # 20 steps in all


def make_optimizer() -> torch.optim.Optimizer:
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in RATES]
    return torch.optim.Adam(groups)


def rates(optimizer: torch.optim.Optimizer, scheduler: Any, number: int) -> list[list[float]]:
    """Rates of both groups at each of so many steps."""
    found = []
    for _ in range(number):
        found.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    return found


def our_rates(number: int = EPOCHS * STEPS, **settings: Any) -> list[list[float]]:
    optimizer = make_optimizer()
    return rates(optimizer, make_schedule(optimizer, max_epochs=EPOCHS, steps_per_epoch=STEPS, **settings), number)


@pytest.mark.parametrize("power", [0.0, 0.9])
def test_a_polynomial_is_pytorchs_by_epoch(power: float) -> None:
    optimizer = make_optimizer()
    schedule = make_schedule(optimizer, power=power, max_epochs=EPOCHS, steps_per_epoch=STEPS)
    assert type(schedule) is lr_scheduler.PolynomialLR
    assert moves_each_epoch("polynomial", 0.0)
    other = make_optimizer()
    theirs = lr_scheduler.PolynomialLR(other, total_iters=EPOCHS, power=power)
    assert rates(optimizer, schedule, EPOCHS) == rates(other, theirs, EPOCHS)  # to the bit


def test_cosine_after_a_warm_up_is_pytorchs() -> None:
    optimizer = make_optimizer()
    warm = lr_scheduler.LinearLR(optimizer, start_factor=0.2, total_iters=4)  # 0.2, 0.4, 0.6, 0.8, and 1 at step 4
    fall = lr_scheduler.CosineAnnealingLR(optimizer, T_max=15)
    theirs = rates(optimizer, lr_scheduler.SequentialLR(optimizer, [warm, fall], milestones=[5]), 20)
    assert our_rates(schedule="cosine", warmup=0.25) == [pytest.approx(each) for each in theirs]


def test_one_cycle_is_pytorchs() -> None:
    for share in (0.0, 0.5):
        optimizer = make_optimizer()
        theirs = lr_scheduler.OneCycleLR(
            optimizer, max_lr=list(RATES), total_steps=20, pct_start=share or 0.3, cycle_momentum=False
        )
        assert our_rates(schedule="one-cycle", warmup=share) == [
            pytest.approx(each) for each in rates(optimizer, theirs, 20)
        ]


def test_a_polynomial_may_rise_first() -> None:
    expected = [0.5, 1.0, *((1 - step / 18) ** 0.9 for step in range(18)), 0.0]
    assert [rate for _, rate in our_rates(21, warmup=0.1, power=0.9)] == pytest.approx(expected)
    assert [rate for _, rate in our_rates(warmup=0.1)] == [0.5, *[1.0] * 19]  # without a decay it stays
    assert not moves_each_epoch("polynomial", 0.1)
    assert not moves_each_epoch("cosine", 0.0)


@pytest.mark.parametrize("schedule", ["polynomial", "cosine", "one-cycle"])
@pytest.mark.parametrize("total", [1, 2, 3, 100])
def test_a_rate_is_never_above_the_highest_nor_negative(schedule: str, total: int) -> None:
    for warmup in (0.01, 0.3, 0.99):
        factors = [rate_factor(step, total, schedule=schedule, warmup=warmup, power=0.9) for step in range(total + 5)]
        assert all(math.isfinite(each) and 0 <= each <= 1 for each in factors)
        assert factors[-1] == factors[total]  # a training that lasts longer than planned stays where it has come to


def test_another_schedule_and_a_warm_up_of_all_steps_are_refused() -> None:
    with pytest.raises(InputError, match="schedule must be polynomial, cosine, one-cycle, got 'step'"):
        our_rates(schedule="step")
    for warmup in (-0.1, 1.0):
        with pytest.raises(InputError, match="warmup must be a share of all steps"):
            our_rates(warmup=warmup)
