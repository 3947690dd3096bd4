"""Two Ray nodes on this machine, one of which can be lost. For processes of their own: Ray leaves threads behind."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

__all__ = ["Nodes"]


class Nodes:
    """Two nodes of one processor each; `address` is that of their cluster."""

    def __init__(self) -> None:
        os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
        os.environ |= {"RAY_worker_niceness": "0"}  # else 15, with which a busy machine leaves them no time
        from ray.cluster_utils import Cluster

        self._cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        self._second = self._cluster.add_node(num_cpus=1)
        self.address: str = self._cluster.address

    def lose_one(self) -> list[str]:
        """Kill the second node with all that runs there, at once, as a machine that fails; the programs that ran."""
        children: dict[int, list[int]] = {}
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):  # it has ended
                parent = int(path.read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(path.parent.name))
        pids = [entry.process.pid for entries in self._second.all_processes.values() for entry in entries]
        for pid in pids:  # which grow
            pids += children.get(pid, [])
        names = []
        for pid in pids:
            with contextlib.suppress(OSError):
                names.append(Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").strip())
                os.kill(pid, signal.SIGKILL)
        self._cluster.remove_node(self._second, allow_graceful=False)
        return names

    def end(self) -> None:
        """End both."""
        self._cluster.shutdown()
