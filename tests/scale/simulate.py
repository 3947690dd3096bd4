"""A large archive on two simulated Ray nodes: corrupt scans, a killed command, a lost node; nothing may be lost."""

import argparse
import contextlib
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from custom_components.inference.report import REPORT, read_report
from custom_components.io.records import is_finished, label_map_path
from custom_components.models.checkpoints import save_checkpoint
from custom_components.quality.tables import QUALITY_TABLE, read_table

sys.path.append(str(Path(__file__).parents[1]))
from support.models import make_model
from support.processes import Process
from support.ray_nodes import Nodes

SHAPE = (16, 16, 4)
EVERY = 100  # scans, of which one is corrupt
FILES = Path("scans"), Path("out")


class Command:
    """The command that a user gives, and what it needs."""

    def __init__(self, address: str, *, share: int) -> None:
        command = [sys.executable, "-m", "multijoint.cli", "segment", FILES[0], "--checkpoint", "model.pt"]
        command += ["--domain", "shoulder", "--device", "cpu", "--out", FILES[1], "--engine", "ray"]
        command += ["--address", address, "--share", share]
        self.start, self.mib, self.processor_seconds = time.monotonic(), 0.0, 0.0
        with open("command.log", "ab") as log:
            self.process = Process(command, limit=86400, stdout=log, stderr=log)

    def wait_until(self, number: int) -> None:
        """Until there are so many label maps."""
        while len(written()) < number:
            assert not self._ended(), Path("command.log").read_text()[-2000:]
            time.sleep(1 + number // 10_000)  # to list a large folder takes a while, and the command works meanwhile

    def _ended(self) -> bool:
        """Whether it has ended; else note what it has needed so far."""
        place = Path(f"/proc/{self.process.pid}")
        with contextlib.suppress(OSError, StopIteration):
            peak = next(line for line in (place / "status").read_text().splitlines() if line.startswith("VmHWM"))
            ticks = (place / "stat").read_text().rpartition(")")[2].split()[11:13]
            self.mib = int(peak.split()[1]) / 1024
            self.processor_seconds = sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")
            return False
        return True

    def end(self) -> dict[str, float]:
        """Wait for its end; what it took."""
        while not self._ended():
            time.sleep(0.1)
        code, seconds = self.process.wait(), time.monotonic() - self.start
        needed = {"seconds": seconds, "its processor seconds": self.processor_seconds, "its MiB": self.mib}
        return {"code": code, **{name: round(value, 1) for name, value in needed.items()}}


def written() -> dict[str, int]:
    """The label maps in the output folder, each with the time when it was written."""
    if not FILES[1].is_dir():
        return {}
    with os.scandir(FILES[1]) as entries:
        return {
            entry.name: entry.stat().st_mtime_ns
            for entry in entries
            if entry.name.endswith("_seg.nii.gz") and entry.name[0] != "."
        }


def make_archive(number: int) -> list[str]:
    """Write a model and so many scans; the names of the corrupt ones."""
    save_checkpoint(Path("model.pt"), make_model())
    FILES[0].mkdir()
    bad = []
    for index in range(number):
        path = FILES[0] / f"scan_{index:07d}.nii.gz"
        if index % 1000 == 0:  # copies share a file: their names tell them apart
            voxels = np.random.default_rng(index).integers(0, 1000, SHAPE).astype(np.int16)
            nibabel.save(nibabel.Nifti1Image(voxels, np.diag([1, 1, 3, 1])), path)
            first = path.read_bytes()
        else:
            path.write_bytes(first)
        if index % EVERY == EVERY // 2:
            path.write_bytes((first[: len(first) // 2], b"", b"no scan")[index // EVERY % 3])
            bad.append(path.name)
    return bad


def check(number: int, bad: Sequence[str], before: dict[str, int]) -> None:
    """Nothing is lost, and the resumed run has computed only the rest."""
    rows = {row["file"]: row for row in read_report(FILES[1] / REPORT)}
    names = sorted(path.name for path in FILES[0].iterdir())
    assert len(names) == number
    assert list(rows) == names, "the report must have a row for each scan, in order"
    failed = {name for name, row in rows.items() if row["status"] == "failed"}
    assert failed == set(bad), failed ^ set(bad)
    assert all(name in rows[name]["cause"] for name in bad), "each failure must name its file"
    skipped = {row["output"] for row in rows.values() if row["status"] == "skipped"}
    now = written()
    assert before.keys() <= skipped, "what was finished must not be computed again"
    assert {name: now[name] for name in before} == before, "nor be written again"
    assert len(now) == number - len(bad), "each good scan must have one label map"
    for name in names:
        if name not in failed:
            path = label_map_path(FILES[1], name.removesuffix(".nii.gz"))
            assert rows[name]["output"] == path.name
            assert is_finished(path, image=FILES[0] / name), name
    cases = [row["case"] for row in read_table(FILES[1] / QUALITY_TABLE, needed=("case",))[1]]
    assert cases == [name.removesuffix(".nii.gz") for name in names if name not in failed], "a row a bone"
    assert not list(FILES[1].glob(".*")), "no temporary file may be left"


def main() -> None:
    """Segment an archive until a third is done, kill the command, resume, lose a node, and check all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scans", type=int, default=1000)
    parser.add_argument("--share", type=int, default=16, help="scans of a process")
    parser.add_argument("--work", type=Path, required=True, help="folder to work in, made anew")
    options = parser.parse_args()
    shutil.rmtree(options.work, ignore_errors=True)
    options.work.mkdir(parents=True)
    os.chdir(options.work)
    bad = make_archive(options.scans)
    found: dict[str, Any] = {"scans": options.scans, "corrupt": len(bad)}
    nodes = Nodes()

    first = Command(nodes.address, share=options.share)
    first.wait_until(options.scans // 3)
    first.process.send_signal(signal.SIGKILL)
    found["killed run"] = first.end()
    while (before := written()) != (time.sleep(3), written())[1]:  # what the shares still write
        pass
    found["finished when it was killed"] = len(before)

    second = Command(nodes.address, share=options.share)
    second.wait_until(options.scans * 2 // 3)
    found["finished when the node was lost"] = len(written())
    found["processes of shares lost with it"] = sum("segment-share" in name for name in nodes.lose_one())
    found["resumed run"] = second.end()
    check(options.scans, bad, before)

    third = Command(nodes.address, share=options.share)
    found["run with nothing to do"] = third.end()
    check(options.scans, bad, written())
    print(json.dumps(found, indent=2))
    nodes.end()


if __name__ == "__main__":
    main()
