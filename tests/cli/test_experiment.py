"""`multijoint experiment`: what its options ask for, and what signals do to a call that runs jobs."""

import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
from custom_components.errors import InputError

from multijoint.cli.experiment import _parse, _stopping_on_signals
from multijoint.cluster import processes
from multijoint.experiments.jobs.methods import known_methods
from multijoint.experiments.jobs.overrides import overridden
from multijoint.experiments.jobs.plan import make_plan
from multijoint.experiments.rows import LEAST_TYPICAL


@pytest.mark.parametrize(
    ("given", "expected"), [("all", None), ("0-2,5", [0, 1, 2, 5]), ("least-typical", [LEAST_TYPICAL])]
)
def test_folds_are_numbers_or_the_least_typical(given: str, expected: list[int] | None) -> None:
    assert _parse({"folds": given}) == {"folds": expected}


def test_options_left_out_keep_the_values_of_the_call_before() -> None:
    assert _parse({"folds": None, "shift": False, "seeds": None}) == {}
    assert _parse({"shift": True, "seeds": "0,1"}) == {"shift": True, "seeds": [0, 1]}


def test_the_full_preset_is_the_papers_experiment_and_the_strong_recipe_at_its_size(manifests: dict[str, str]) -> None:
    paths = [Path(path) for path in manifests.values()]
    plan = make_plan(Path("exp"), **_parse({"preset": "full", "seeds": "1", "manifests": paths}))
    methods = {job.method.name: job.method for job, _ in plan.jobs}
    assert list(methods) == [*known_methods(), "unet-base+strong", "proposed+strong"]
    assert {job.fold for job, _ in plan.jobs} == {0, 1, 2}
    assert {job.seed for job, _ in plan.jobs} == {1}
    paper, strong = (overridden(plan.settings, methods[name]) for name in ("proposed", "proposed+strong"))
    for own in (paper, strong):
        assert (own["image_size"], own["widths"][-1], own["max_epochs"]) == ([256, 256], 512, 30)
    assert (paper["dice_weight"], strong["dice_weight"]) == (0, 1)
    assert methods["proposed+strong"].title == "Proposed + strong"
    shorter = _parse({"preset": "full", "folds": "0-1"})
    assert (shorter["folds"], shorter["recipe"]) == ([0, 1], "paper")


def test_settings_beside_the_full_preset_join_its_own() -> None:
    assert _parse({"preset": "full"})["settings"] == {"precision": "auto"}
    asked = _parse({"preset": "full", "settings": ["max_epochs=3"]})
    assert asked["settings"] == {"precision": "auto", "max_epochs": 3}
    assert _parse({"preset": "full", "settings": ["precision=float32"]})["settings"] == {"precision": "float32"}


def test_folds_that_are_neither_are_refused() -> None:
    with pytest.raises(InputError, match="folds must be numbers and ranges such as 0,2 or 0-4, got 0,least-typical"):
        _parse({"folds": "0,least-typical"})


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("before", [signal.SIG_DFL, signal.SIG_IGN])
def test_a_signal_stops_the_call_unless_it_is_ignored(
    number: signal.Signals, before: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "_stopping", threading.Event())
    own = signal.signal(number, before)
    try:
        if before is signal.SIG_IGN:
            with _stopping_on_signals():
                os.kill(os.getpid(), number)
        else:
            with pytest.raises(KeyboardInterrupt), _stopping_on_signals():
                os.kill(os.getpid(), number)
        assert signal.getsignal(number) is before
    finally:
        signal.signal(number, own)


def test_numbers_are_numbers_in_a_file_of_settings_too(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("learning_rate: 1e-3\nschedule: cosine\n")
    assert _parse({"settings": [str(path)]}) == {"settings": {"learning_rate": 0.001, "schedule": "cosine"}}
    path.write_text("1: 2\n")
    with pytest.raises(InputError, match="must be name: value pairs"):
        _parse({"settings": [str(path)]})
