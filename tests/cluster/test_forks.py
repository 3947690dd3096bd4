"""Cases shared out to processes: the same results in order, messages and errors of all, none left behind."""

import logging
import os
import signal
import sys
import time

import pytest
from custom_components.errors import InputError
from support.processes import Process

from multijoint.cluster import forks
from multijoint.cluster.forks import map_forked


@pytest.fixture(autouse=True)
def _two_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forks, "num_processors", lambda: 2)


def test_results_come_in_order_from_two_other_processes() -> None:
    results = list(map_forked(lambda item: (item, os.getpid()), range(20)))
    assert [item for item, _ in results] == list(range(20))
    assert os.getpid() not in (processes := {process for _, process in results})
    assert 1 <= len(processes) <= 2
    assert {process for _, process in map_forked(lambda item: (item, os.getpid()), range(3))} == {os.getpid()}


def test_few_items_wait_at_a_time() -> None:
    class Counting(list):
        most = 0

        def __getitem__(self, index):  # type: ignore[no-untyped-def]
            self.most = max(self.most, index.stop if isinstance(index, slice) else index)
            return super().__getitem__(index)

    items = Counting(range(50))
    results = map_forked(abs, items)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    assert items.most <= 3 + 4
    results.close()


def test_messages_and_errors_reach_the_caller(caplog: pytest.LogCaptureFixture) -> None:
    def work(item: int) -> int:
        logging.getLogger("of.a.case").warning("case %d", item)
        if item == 6:
            raise InputError("case 6 must be read, got none")
        return item

    assert list(map_forked(work, range(5))) == list(range(5))
    assert caplog.messages == [f"case {item}" for item in range(5)]
    with pytest.raises(InputError, match="case 6 must be read"):
        list(map_forked(work, range(9)))


def test_a_killed_process_is_an_error_in_words() -> None:
    def work(item: int) -> int:
        if item == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        return item

    with pytest.raises(InputError, match=r"memory must suffice .*, got a process that was killed"):
        list(map_forked(work, range(9)))


def test_processes_end_with_the_one_that_started_them() -> None:
    code = """
import os, time
from multijoint.cluster import forks
forks.num_processors = lambda: 2
for process in forks.map_forked(lambda item: (time.sleep(0.01 if item < 4 else 600), os.getpid())[1], range(8)):
    print(process, flush=True)
"""
    with Process([sys.executable, "-c", code], stdout=-1) as parent:
        assert parent.stdout is not None
        children = {int(parent.stdout.readline()) for _ in range(3)}
        os.kill(parent.pid, signal.SIGKILL)
        for _ in range(500):
            if not any(os.path.exists(f"/proc/{child}") for child in children):
                break
            time.sleep(0.02)
        assert not any(os.path.exists(f"/proc/{child}") for child in children)
