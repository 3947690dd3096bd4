"""Archives in shares: a killed share loses nothing, and the next run does only the rest."""

import os
import shutil
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from custom_components.errors import InputError
from custom_components.inference.report import REPORT, read_report
from custom_components.quality.tables import QUALITY_TABLE, read_table
from support.forking import forked_jobs

from multijoint.api.archives import segment_on_cluster
from multijoint.cluster import processes


def test_a_killed_share_is_finished_by_the_next_run(trained: Path, manifests: dict[str, str], tmp_path: Path) -> None:
    scans, out = tmp_path / "scans", tmp_path / "out"
    scans.mkdir()
    for number in range(12):
        source = Path(manifests["ankle"]).parent / "images" / f"ankle_00{number % 3}.nii.gz"
        shutil.copy(source, scans / f"s{number:02d}.nii.gz")
    (scans / "s05.nii.gz").write_bytes(b"no scan")
    how: dict[str, Any] = {"engine": "local", "checkpoint": trained / "model.pt", "domain": "ankle", "device": "cpu"}
    how |= {"output_dir": out, "share": 12}

    def written() -> dict[str, int]:
        return {path.name: path.stat().st_mtime_ns for path in out.glob("[!.]*_seg.nii.gz")}

    def kill_the_share() -> None:
        while not written():
            time.sleep(0.002)
        for process in list(processes._running):
            os.kill(process.pid, signal.SIGKILL)

    killer = threading.Thread(target=kill_the_share, daemon=True)
    killer.start()
    with forked_jobs(), pytest.raises(InputError, match=r"could not be segmented, see .*killed by SIGKILL"):
        segment_on_cluster([scans], **how)
    killer.join()
    before = written()
    assert 0 < len(before) < 11

    with forked_jobs(), pytest.raises(InputError, match=r"^1 of 12 scans could not be segmented, see .*s05.nii.gz"):
        segment_on_cluster([scans], **how | {"share": 5})
    rows = read_report(out / REPORT)
    assert [row["file"] for row in rows] == [f"s{number:02d}.nii.gz" for number in range(12)]
    assert {row["output"] for row in rows if row["status"] == "skipped"} == before.keys()
    assert [row["file"] for row in rows if row["status"] == "failed"] == ["s05.nii.gz"]
    assert len(written()) == 11
    assert before.items() <= written().items()
    cases = [row["case"] for row in read_table(out / QUALITY_TABLE, needed=("case",))[1]]
    assert list(dict.fromkeys(cases)) == [f"s{number:02d}" for number in range(12) if number != 5]
    assert not list(out.glob(".*"))
    assert sorted(path.name for path in (out / "shares").iterdir()) == [f"share_{number}.log" for number in range(3)]


def test_a_share_has_at_least_one_scan(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--share must be 1 scan or more, got 0"):
        segment_on_cluster([tmp_path], engine="local", share=0, checkpoint=tmp_path, output_dir=tmp_path)
