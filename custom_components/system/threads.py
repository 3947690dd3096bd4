"""Work shared between threads whose result is the same to the last bit, however many there are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from custom_components.system.terminal import track

Item = TypeVar("Item")
Result = TypeVar("Result")

_num_threads: int | None = None  # of `map_exactly`, where PyTorch itself must not start any


def map_exactly(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    most_at_once: int | None = None,
    what: str | None = None,
) -> list[Result]:
    """Apply a function of CPU tensors to each item on one thread, to as many items at once as PyTorch has threads.

    PyTorch cuts a convolution or a sum into other blocks for another number of threads, and rounding then differs in
    the last bits. A function that gets one thread and one item always cuts alike. In those threads gradients are on and
    autocast is off unless it says so itself. `most_at_once` bounds the memory in use where there are more threads;
    `what` names the items for `terminal.track`. Results come in the order of the items, and
    `torch.get_num_threads()` is the same afterwards.

    Example:
        >>> map_exactly(lambda slices: float(slices.sum()), [torch.ones(2, 2), torch.zeros(1)])
        [4.0, 0.0]
    """
    before = torch.get_num_threads()
    num_threads = _num_threads or before
    if num_threads == 1 or not items:
        return [function(item) for item in track(items, what)]
    try:
        # Ended with each call: a process forked later would inherit its locks, but none of its threads.
        num_workers = min(num_threads, len(items), most_at_once or num_threads)
        with ThreadPoolExecutor(num_workers, initializer=_take_one_thread) as pool:
            return list(track(pool.map(function, items), what, total=len(items)))
    finally:
        torch.set_num_threads(before)  # this thread's own never changed, that of threads yet to come did


def work_as_fork(*, of: int = 1) -> None:
    """In one `of` several forked processes, keep PyTorch from starting threads; `map_exactly` still shares work.

    The processes together use as many threads as the parent has. Of a parent that had threads of OpenMP, a forked
    process has none, although OpenMP would wait for them.
    """
    global _num_threads
    _num_threads = max(1, torch.get_num_threads() // of)
    torch.set_num_threads(1)


def _take_one_thread() -> None:
    torch.get_num_threads()  # the first call in a thread sets it to the process's number
    torch.set_num_threads(1)
