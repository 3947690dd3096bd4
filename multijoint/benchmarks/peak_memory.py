"""Peak memory of a command and all processes that it starts, as a machine without swap would need it."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

__all__ = ["run_measured"]

_INTERVAL_S, _RESTING = 0.02, 10


def run_measured(command: Sequence[str], *, env: dict[str, str] | None = None) -> tuple[float, float]:
    """Run a command; returns seconds, and the largest sum over its processes alive at one time, in GiB.

    Memory that processes share counts once (Linux's proportional set size), sampled every 20 ms, or less often if a
    sample takes more than 2 ms. Memory shared with other commands counts in part.

    Raises:
        RuntimeError: the command failed; with its last lines.
    """
    start, peak = time.perf_counter(), 0
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=env)
        while process.poll() is None:
            asked = time.perf_counter()
            peak = max(peak, sum(map(_resident_bytes, _tree(process.pid))))
            # Counting the pages of a large process stops it for a while, so the pause is ten times as long.
            time.sleep(max(_INTERVAL_S, _RESTING * (time.perf_counter() - asked)))
        seconds = time.perf_counter() - start
        output.seek(0)
        printed = output.read().decode(errors="replace").strip()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command[:4])} ended with code {process.returncode}: {printed[-500:]}")
    return seconds, peak / 2**30


def _tree(pid: int) -> list[int]:
    found = [pid]
    for process in found:
        for path in Path(f"/proc/{process}/task").glob("*/children"):
            try:
                found += map(int, path.read_text().split())
            except OSError:
                continue
    return found


def _resident_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:  # it has ended
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)
