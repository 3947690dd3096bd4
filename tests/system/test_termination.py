import os
import signal
from pathlib import Path

from custom_components.system.termination import at_termination, ending_on_sigterm


def test_sigterm_does_what_is_left_and_ends_even_in_a_destructor(tmp_path: Path) -> None:
    class Swallows:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGTERM)

    child = os.fork()
    if child == 0:
        try:
            with ending_on_sigterm(), at_termination((tmp_path / "outer").touch), at_termination(lambda: 1 / 0):
                with at_termination((tmp_path / "past").touch):
                    pass
                Swallows()
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 143
    assert [path.name for path in tmp_path.iterdir()] == ["outer"]


def test_without_a_signal_all_is_as_before(tmp_path: Path) -> None:
    earlier = signal.getsignal(signal.SIGTERM)
    with ending_on_sigterm(), at_termination((tmp_path / "never").touch):
        assert signal.getsignal(signal.SIGTERM) is not earlier
    assert signal.getsignal(signal.SIGTERM) is earlier
    assert not list(tmp_path.iterdir())
