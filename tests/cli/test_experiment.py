"""`multijoint experiment`: what signals do to a call that runs jobs."""

import os
import signal
import threading
from typing import Any

import pytest

from multijoint.cli.experiment import _stopping_on_signals
from multijoint.cluster import processes


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
