"""Tasks on Ray, in a process of its own; that it gives what this machine gives stands in test_run_job.py."""

import os
import sys
from pathlib import Path

from support.processes import run

CODE = """
import sys, threading, time
from pathlib import Path
from support.ray_nodes import Nodes
from multijoint.cluster import Resources, on_ray, run_tasks

folder = Path(sys.argv[1])
on_ray._AHEAD = 3

def work(number, environment):
    with open(folder / f"task_{number}", "a") as file:
        file.write("begun ")
    while not (folder / "go").exists():
        time.sleep(0.02)
    if number == 5:
        raise ValueError("five")
    return number * 10

def lose_one():
    while len(list(folder.glob("task_*"))) < 2:
        time.sleep(0.02)
    (folder / "lost").write_text("\\n".join(nodes.lose_one()))
    (folder / "go").touch()

nodes = Nodes()
threading.Thread(target=lose_one).start()
results = run_tasks(work, range(7), resources=Resources(gpu=False), engine="ray", address=nodes.address)
(folder / "results").write_text(repr(sorted(results)))
nodes.end()
"""


def test_a_node_lost_in_the_middle_costs_no_task(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(CODE)
    tests = Path(__file__).parents[1]
    path = os.pathsep.join([str(tests), str(tests.parent), os.environ.get("PYTHONPATH", "")])
    done = run([sys.executable, "-W", "ignore", script, tmp_path], env=os.environ | {"PYTHONPATH": path})
    assert done.returncode == 0, done.stderr
    results = "[(0, 0), (1, 10), (2, 20), (3, 30), (4, 40), (5, ValueError('five')), (6, 60)]"
    assert (tmp_path / "results").read_text() == results
    assert "ray::work" in (tmp_path / "lost").read_text()
    assert sorted(path.read_text() for path in tmp_path.glob("task_*")) == [*["begun "] * 6, "begun begun "]
