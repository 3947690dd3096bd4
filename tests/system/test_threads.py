import threading
import time
from collections.abc import Iterator

import pytest
import torch
from custom_components.system.threads import map_exactly


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("num_threads", [1, 2, 4])
def test_results_come_in_order_each_from_one_thread(num_threads: int) -> None:
    torch.set_num_threads(num_threads)
    meeting = threading.Barrier(num_threads, timeout=10)  # as many at once as there are threads

    def work(item: int) -> tuple[int, int]:
        meeting.wait()
        time.sleep(0.01 * (item % 3))
        return item, torch.get_num_threads()

    assert map_exactly(work, range(8)) == [(item, 1) for item in range(8)]


def test_no_more_at_once_than_asked_for() -> None:
    torch.set_num_threads(4)
    busy = threading.BoundedSemaphore(2)

    def work(_: int) -> bool:
        free = busy.acquire(blocking=False)
        time.sleep(0.01)
        busy.release()
        return free

    assert all(map_exactly(work, range(12), most_at_once=2))


def test_the_number_of_threads_stays_what_it_was_here_and_in_threads_to_come() -> None:
    torch.set_num_threads(3)
    map_exactly(lambda item: item, range(5))
    assert torch.get_num_threads() == 3
    seen: list[int] = []
    later = threading.Thread(target=lambda: seen.append(torch.get_num_threads()), daemon=True)
    later.start()
    later.join(timeout=30)
    assert seen == [3]


@pytest.mark.parametrize("num_threads", [1, 2])
def test_an_error_ends_the_work_and_comes_through(num_threads: int) -> None:
    torch.set_num_threads(num_threads)
    done: list[int] = []

    def work(item: int) -> None:
        if item == 1:
            raise ValueError("slice 1 must be another")
        time.sleep(0.01)
        done.append(item)

    with pytest.raises(ValueError, match="slice 1 must be another"):
        map_exactly(work, range(1000))
    assert len(done) < 100
    assert torch.get_num_threads() == num_threads


def test_nothing_to_do_gives_nothing() -> None:
    torch.set_num_threads(2)
    assert map_exactly(lambda item: item, []) == []
