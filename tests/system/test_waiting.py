import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from custom_components.system import waiting
from custom_components.system.waiting import choose_waiting, is_idle
from support.processes import Process, run


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "x")  # so that it is as before at the end
    monkeypatch.delenv("OMP_WAIT_POLICY")


@pytest.fixture
def ticks(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, tuple[int, int]]]]:
    """What the two looks find; the second comes at once."""
    found: list[dict[str, tuple[int, int]]] = []
    monkeypatch.setattr(waiting, "_ticks", lambda: found.pop(0))
    monkeypatch.setattr(waiting, "_LOOK_S", 0)
    yield found
    assert not found


IDLE, HALF, BUSY = {"cpu0": (10, 10), "cpu1": (5, 10)}, {"cpu0": (10, 10), "cpu1": (4, 10)}, {"cpu0": (0, 10)}


def test_threads_wait_in_a_loop_only_where_all_processors_are_seen_idle(
    ticks: list[dict[str, tuple[int, int]]],
) -> None:
    for after, policy in ((IDLE, None), (HALF, "PASSIVE"), (BUSY, "PASSIVE"), ({}, "PASSIVE")):
        os.environ.pop("OMP_WAIT_POLICY", None)
        ticks[:] = [dict.fromkeys(after, (0, 0)), after]
        choose_waiting(look=True)
        assert os.environ.get("OMP_WAIT_POLICY") == policy


def test_a_command_that_does_not_train_never_looks(ticks: list[dict[str, tuple[int, int]]]) -> None:
    choose_waiting(look=False)
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"


@pytest.mark.parametrize("look", [False, True])
def test_the_environment_decides(look: bool, ticks: list[dict[str, tuple[int, int]]]) -> None:
    os.environ["OMP_WAIT_POLICY"] = "ACTIVE"
    choose_waiting(look=look)
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"


def test_a_process_that_spins_is_seen() -> None:
    spin = f"import os\nos.sched_setaffinity(0, [{min(os.sched_getaffinity(0))}])\nwhile True: pass"
    with Process([sys.executable, "-c", spin]):
        time.sleep(0.5)
        assert not is_idle()
        assert run([sys.executable, waiting.__file__]).stdout == "OMP_WAIT_POLICY=PASSIVE\n"


def test_as_a_program_it_needs_python_alone() -> None:
    told = run([sys.executable, "-S", "-E", Path(waiting.__file__)], cwd="/").stdout
    assert told in ("OMP_WAIT_POLICY=PASSIVE\n", "-u OMP_WAIT_POLICY\n")


def test_elsewhere_than_on_linux_threads_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    assert not is_idle()
