"""First step of a workflow: settings checked, errors in one line, device and random numbers chosen."""

from __future__ import annotations

import logging
import logging.handlers
import os
import sys
from types import TracebackType

import torch
from custom_components.distributed import own_gpu, wait_to_report
from custom_components.errors import LOG_PATHS, InputError, explain, find_cause
from custom_components.system.colours import write_error
from custom_components.system.freed_memory import keep_freed_memory
from custom_components.system.terminal import escape_logs
from custom_components.workflows.monai_workarounds import (
    active_config,
    hide_engine_errors,
    hide_engine_progress,
    hide_settings,
    keep_tracking_in_its_folder,
    name_empty_run,
    read_yaml_words,
)
from custom_components.workflows.settings import check_settings
from monai.utils import set_determinism

_INTERRUPTED = 130


def report_errors_plainly() -> None:
    """From now on print an error that ends this process in one line, `error: <cause>`.

    Such are `InputError`, `OSError` and a lack of memory. Ctrl-C prints "interrupted" and exits with code 130.
    Everything else is a bug of ours and keeps its traceback. A log that cannot be written, on a full disk, is ignored.
    """
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _report
        logging.raiseExceptions = False
        hide_engine_errors()


def _report(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if isinstance(error, KeyboardInterrupt):
        sys.stderr.write("interrupted\n")
        sys.exit(_INTERRUPTED)
    cause = find_cause(error, InputError, OSError, MemoryError, torch.OutOfMemoryError)
    wait_to_report(explained=cause is not None)
    if cause is None:
        sys.__excepthook__(kind, error, trace)
    elif isinstance(cause, MemoryError | torch.OutOfMemoryError):
        write_error(f"memory must suffice, got {explain(cause)}; lower batch_size")
    else:
        write_error(explain(cause))


def begin(*, seed: int | None = None) -> None:
    """Prepare the process for a workflow; the first step that a configuration's `initialize` names.

    - `null`, `true` and `false` on the command line mean what they mean in a configuration.
    - Settings that nothing uses, such as a misspelt override, are refused.
    - An error of the user or the machine is printed in one line, without a traceback (unless MULTIJOINT_DEBUG is set).
    - MONAI logs no settings, among which are paths of scans (unless MULTIJOINT_LOG_PATHS is set).
    - Engines do not log where they are; handlers do.
    - Freed memory stays in the process, for the next slices.
    - The run is deterministic: the seed decides the weights' initial values and everything random. `None` leaves the
      generators alone.
    """
    if not os.environ.get("MULTIJOINT_DEBUG"):
        report_errors_plainly()
    if os.environ.get(LOG_PATHS) != "1":
        hide_settings()
        hide_engine_errors()
    keep_freed_memory()
    escape_logs()
    read_yaml_words()
    hide_engine_progress()
    check_settings(active_config())
    name_empty_run()
    keep_tracking_in_its_folder()
    if seed is not None:
        set_determinism(seed=seed)


def select_device(name: str | torch.device = "auto") -> torch.device:
    """The device called `name`; "auto" is the first GPU, or the CPU where there is none.

    In a training over several processes, "auto" and "cuda" are the GPU of this process.

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
