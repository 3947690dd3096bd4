"""What a command that fails says last: one line about what user or machine did, a traceback of our own bugs."""

from __future__ import annotations

import logging
import logging.handlers
import os
import sys
from types import TracebackType

import torch
from custom_components.distributed import own_gpu, wait_to_report
from custom_components.errors import LOG_PATHS, InputError, explain, find_cause
from custom_components.workflows.settings import active_config, check_settings, name_run
from monai.utils import set_determinism

__all__ = ["begin", "report_errors_plainly", "select_device"]

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


def begin(*, seed: int | None = None) -> None:
    """First step of every workflow, named in a configuration's `initialize`.

    Refuses settings that nothing uses (a misspelt override), prints errors of the user's or the machine's as one line
    instead of a traceback (unless MULTIJOINT_DEBUG is set), keeps MONAI from printing what it was given, paths of scans
    included (unless MULTIJOINT_LOG_PATHS is set), and makes the run deterministic.

    Args:
        seed: for the weights' initial values and everything random; `None` leaves the generators alone.
    """
    if not os.environ.get("MULTIJOINT_DEBUG"):
        report_errors_plainly()
    if os.environ.get(LOG_PATHS) != "1":
        logging.getLogger("monai.bundle.scripts").setLevel(logging.WARNING)
    check_settings(active_config())
    name_run()
    if seed is not None:
        set_determinism(seed=seed)


def select_device(name: str | torch.device = "auto") -> torch.device:
    """The device called `name`; "auto" is the first GPU, or the CPU where there is none.

    A process that trains with others has a GPU of its own, for "auto" and "cuda".

    Raises:
        InputError: no such device here.
    """
    own = own_gpu()
    if own is not None and str(name) in ("auto", "cuda"):
        return own
    if str(name) == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"device must be one of this machine's, got {name} ({reason}); use auto or cpu") from error
    return device
