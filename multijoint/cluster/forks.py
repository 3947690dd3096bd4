"""Cases shared out to all processors of this machine."""

from __future__ import annotations

import logging
import logging.handlers
import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection
from typing import Any, TypeVar

from custom_components.errors import InputError
from custom_components.system.terminal import track

from multijoint.cluster.resources import num_processors

Item = TypeVar("Item")
Result = TypeVar("Result")

_FEWEST = 4  # items, below which starting processes costs more than they save
_AHEAD = 2  # items a process that wait or are done: the memory in use does not grow with their number


def map_forked(
    function: Callable[[Item], Result], items: Sequence[Item], *, what: str | None = None
) -> Iterator[Result]:
    """Results of a function in the order of the items, computed by as many processes as there are processors.

    The processes are forks of this one, so that the function need not be importable; results must be picklable. One
    processor, or few items, need no other process. `what` names the items for `terminal.track`.

    Raises:
        InputError: a process was killed, as Linux does for lack of memory. Exceptions of the function are raised too.

    Example:
        >>> list(map_forked(abs, [-2, 1]))
        [2, 1]
    """
    num_workers = min(num_processors(), len(items))
    if num_workers < 2 or len(items) < _FEWEST:
        yield from (function(item) for item in track(items, what))
        return
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(num_workers, mp_context=context, initializer=_begin, initargs=(function,)) as pool:
        try:
            waiting = [pool.submit(_call, item) for item in items[: _AHEAD * num_workers]]
            for number in track(range(len(items)), what):
                result, records = waiting.pop(0).result()
                for record in records:
                    logging.getLogger(record.name).handle(record)
                if number + _AHEAD * num_workers < len(items):
                    waiting.append(pool.submit(_call, items[number + _AHEAD * num_workers]))
                yield result
        except BrokenProcessPool as error:
            raise InputError("memory must suffice for a case a processor, got a process that was killed") from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


# Of this process, a fork. What is logged here is shown by the parent, which knows where its progress bar is.
_function: Callable = abs
_logged: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()


def _begin(function: Callable) -> None:
    global _function
    _function = function
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group: the parent decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    logging.getLogger().handlers = [logging.handlers.QueueHandler(_logged)]
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)  # it was killed, and waits for no result


def _call(item: object) -> tuple[Any, list[logging.LogRecord]]:
    result = _function(item)
    return result, [_logged.get() for _ in range(_logged.qsize())]
