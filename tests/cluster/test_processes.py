import sys
from pathlib import Path

import pytest

from multijoint.cluster.processes import ProcessFailure, run_process


def test_the_cause_of_a_failure_is_found_where_colour_is_forced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLICOLOR_FORCE", "1")
    code = "from custom_components.system.colours import write_error; write_error('fold must be 0'); exit(1)"
    with pytest.raises(ProcessFailure, match=r"^fold must be 0$"):
        run_process([sys.executable, "-c", code], log=tmp_path / "log", environment={})
