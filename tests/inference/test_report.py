"""`segment_report.csv` and `quality.csv` of a run."""

from pathlib import Path
from typing import Any

import pytest
from custom_components.inference.report import REPORT_COLUMNS, ReportHandler, read_report
from custom_components.io.records import label_map_path, write_record
from ignite.engine import Engine

BONE = {
    "label": 1, "bone": "talus", "volume_ml": 0.0, "expected_dice": 0.0, "confidence": None, "component_voxels": None,
    "voxels_before": None, "changed": None, "cut": False, "training_volume_ml": None,
}  # fmt: skip


def finished_scan(folder: Path, case: str) -> Path:
    path = label_map_path(folder, case)
    path.write_bytes(b"labels")
    write_record(path, {"domain": "ankle", "label_map_sha256": "00", "quality": [BONE]})
    return path


def run(folder: Path, items: list[dict[str, Any]], process: Any) -> ReportHandler:
    handler = ReportHandler(folder, items=items)
    engine = Engine(process)
    handler.attach(engine)
    engine.run(items)
    return handler


def test_each_scan_has_a_row_with_its_outcome(tmp_path: Path) -> None:
    items = [{"image": Path("x") / f"{name}.nii", "name": name} for name in ("good", "bad", "done")]

    def process(engine: Engine, item: dict[str, Any]) -> dict[str, Any]:
        waiting = [row["status"] for row in read_report(tmp_path / "segment_report.csv")]
        assert waiting == ["waiting"] * 3, "written before the first scan"
        if item["name"] == "bad":
            return item | {"failure": "bad.nii must be whole", "seconds": 0.5}
        more = {"finished": True} if item["name"] == "done" else {}
        return item | {"saved": finished_scan(tmp_path, item["name"]), "seconds": 1.234} | more

    run(tmp_path, items, process)
    rows = read_report(tmp_path / "segment_report.csv")
    assert [tuple(row) for row in rows] == [REPORT_COLUMNS] * 3
    assert [tuple(row.values()) for row in rows] == [
        ("good.nii", "written", "", "1.23", "good_seg.nii.gz", "talus: missing, low-confidence"),
        ("bad.nii", "failed", "bad.nii must be whole", "0.50", "", ""),
        ("done.nii", "skipped", "", "1.23", "done_seg.nii.gz", "talus: missing, low-confidence"),
    ]
    bones = (tmp_path / "quality.csv").read_text().splitlines()
    assert [line.split(",")[:4] for line in bones[1:]] == [
        ["good", "ankle", "1", "talus"],
        ["done", "ankle", "1", "talus"],
    ]


def test_a_run_that_breaks_off_leaves_a_report_of_what_it_did(tmp_path: Path) -> None:
    items = [{"image": f"{name}.nii", "name": name} for name in ("first", "second")]

    def process(engine: Engine, item: dict[str, Any]) -> dict[str, Any]:
        if item["name"] == "second":
            raise KeyboardInterrupt
        return item | {"saved": finished_scan(tmp_path, item["name"]), "seconds": 1.0}

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, items, process)
    assert [row["status"] for row in read_report(tmp_path / "segment_report.csv")] == ["written", "waiting"]
