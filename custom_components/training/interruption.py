"""Handler of interruptions from outside: SIGTERM, and the end of a data loading process."""

from __future__ import annotations

import errno
import logging
import re
import time

from custom_components.distributed import rank
from custom_components.errors import InputError, explain
from custom_components.models.checkpoints import RESUMABLE
from custom_components.networks.parameters import is_finite
from custom_components.training.preemption import Preemption
from custom_components.training.state import TrainingState
from ignite.engine import Engine, Events
from monai.engines.utils import IterationEvents

_logger = logging.getLogger(__name__)
_DEAD_LOADER = re.compile(r"DataLoader worker .*(killed by signal: (?P<signal>[\w ]+)|exited unexpectedly)")
_FULL_MEMORY = re.compile(r"shared memory|/torch_\d+_\d+")  # of PyTorch's errors; a bus error is the third kind
_LOADER_REASONS = {None: "out of memory?", "Killed": "out of memory?"}
_CONTINUE = "continue with --resume true"


class InterruptionHandler:
    """Save `last.pt` on SIGTERM, as of the last completed step, and exit with code 143.

    The process exits without waiting for the step in progress; see `Preemption`. An error that ends the training is
    logged; one by which PyTorch reports a killed data loading process is explained.
    """

    def __init__(self, state: TrainingState) -> None:
        self.state = state
        self._failure: BaseException | None = None
        self._preemption = Preemption(self.save)

    def attach(self, engine: Engine) -> None:
        """Register with a trainer, before `ResumeHandler` and all handlers that change or save the state."""
        # The state changes from `hold` to `release`: while the optimizer steps, and from the end of an epoch until its
        # checkpoints are written, by handlers that come later. Before a training is resumed `save` saves nothing.
        engine.add_event_handler(Events.STARTED, lambda _: self._preemption.start())
        engine.add_event_handler(Events.EPOCH_STARTED, lambda _: self._preemption.release())
        engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, lambda _: self._preemption.hold())
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._end_step)
        engine.add_event_handler(Events.EPOCH_COMPLETED, lambda _: self._preemption.hold())
        engine.add_event_handler(Events.COMPLETED, lambda _: self._preemption.end())
        engine.add_event_handler(Events.EXCEPTION_RAISED, self._fail)

    def save(self) -> str:
        """Save the last completed step; return one line on where the training stopped, and how to go on.

        `Preemption` calls it in its thread, while the main thread changes nothing.
        """
        state = self.state
        state.log.remove_bar()
        if not state.num_steps:
            return f"stopped by SIGTERM before the first step; {_CONTINUE if state.run.resume else 'start again'}"
        place = f"epoch {state.epoch + 1} after step {state.steps} of {state.num_steps}"
        if rank() > 0:
            time.sleep(3.0)  # stay to answer the first process, whose step in progress may wait for this one
            return f"stopped by SIGTERM in {place}"
        if (state.epoch, state.steps) != state.saved:
            model = state.model()
            if not (state.is_good and is_finite(model.weights)):
                return f"stopped by SIGTERM in {place}; loss or weights are not finite: earlier checkpoints are kept"
            state.save(RESUMABLE[0], model)
        return f"stopped by SIGTERM in {place}; {_CONTINUE if any(state.saved) else 'nothing to save yet: start again'}"

    def _end_step(self, engine: Engine) -> None:
        num_steps, epoch = engine.state.epoch_length, engine.state.epoch - 1
        self.state.remember(epoch=epoch, steps=engine.state.iteration - epoch * num_steps, num_steps=num_steps)
        self._preemption.release()

    def _fail(self, error: BaseException) -> None:
        if error is self._failure:  # raised below, it makes the engine fire a second time
            raise error
        self._preemption.release(broken=True)
        self.state.log.remove_bar()
        dead = _DEAD_LOADER.search(str(error)) if isinstance(error, RuntimeError) else None
        # SIGTERM to a whole job may reach the data loading processes first. The kernel's SIGKILL comes alone.
        self._preemption.wait_if_asked(2.0 if dead and dead["signal"] != "Killed" else 0.0)
        self._failure = error
        if _is_full_memory(error) or (dead and dead["signal"] == "Bus error"):
            self._failure = self._explain_memory()
        elif dead:
            self._failure = self._explain_loader(dead["signal"])
        _logger.error("%s", explain(self._failure))
        self._preemption.end()
        self.state.run.end()
        raise self._failure from error.__cause__ if self._failure is error else error

    def _explain_memory(self) -> InputError:
        kept = any(self.state.saved)
        return InputError(
            "shared memory (/dev/shm) must have room for the slices of num_workers data loading processes, got a full "
            f"one; lower num_workers (0 needs none) or enlarge it (docker run --shm-size=2g), and "
            f"{_CONTINUE if kept else 'start again'}"
        )

    def _explain_loader(self, signal: str | None) -> InputError:
        kept = any(self.state.saved)
        return InputError(
            f"a data loading process was killed ({_LOADER_REASONS.get(signal, signal)}); "
            f"{'the last checkpoint is kept' if kept else 'nothing was saved yet'}: lower num_workers and "
            f"{_CONTINUE if kept else 'start again'}"
        )


def _is_full_memory(error: BaseException) -> bool:
    """Whether an error is that of a full /dev/shm, where data loading processes leave their batches and their locks."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOSPC and error.filename is None
    return isinstance(error, RuntimeError) and _FULL_MEMORY.search(str(error)) is not None
