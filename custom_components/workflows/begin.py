"""What a command that fails says last: one line about what user or machine did, a traceback of our own bugs."""

from __future__ import annotations

import logging
import sys
from types import TracebackType

import torch

from custom_components.distributed import wait_to_report
from custom_components.errors import InputError, explain, find_cause

__all__ = ["report_errors_plainly"]

_INTERRUPTED = 130
_ENGINES = ("SupervisedTrainer", "SupervisedEvaluator")


def report_errors_plainly() -> None:
    """From now on print an error that ends this process as `error: <one line>`, where it is one that tells the cause.

    Those are `InputError`, `OSError` and memory that does not suffice. Ctrl-C prints "interrupted" and exits with code
    130. All else keeps its traceback. A log that cannot be written, on a full disk, is no reason to say anything.
    """
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _report
        logging.raiseExceptions = False
        for name in _ENGINES:  # they would log the error too, twice, with its paths
            logging.getLogger(f"ignite.engine.engine.{name}").addFilter(_is_no_exception)


def _is_no_exception(record: logging.LogRecord) -> bool:
    return "is terminating due to exception" not in record.msg


def _report(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if isinstance(error, KeyboardInterrupt):
        sys.stderr.write("interrupted\n")
        sys.exit(_INTERRUPTED)
    cause = find_cause(error, InputError, OSError, MemoryError, torch.OutOfMemoryError)
    wait_to_report(explained=cause is not None)
    if cause is None:
        sys.__excepthook__(kind, error, trace)
    elif isinstance(cause, MemoryError | torch.OutOfMemoryError):
        sys.stderr.write(f"error: memory must suffice, got {explain(cause)}; lower batch_size\n")
    else:
        sys.stderr.write(f"error: {explain(cause)}\n")
