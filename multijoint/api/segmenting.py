"""."""

from __future__ import annotations

import csv
import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from custom_components.data.scans import list_scans
from custom_components.errors import InputError, list_first
from custom_components.inference.report import REPORT, read_report, waiting_row, write_report
from custom_components.quality.flags import FlagRules
from custom_components.quality.tables import QUALITY_TABLE, gather_quality, write_quality
from custom_components.system.files import write_atomically

from multijoint.cli.presenting import record
from multijoint.cluster import ProcessFailure, Resources, run_process, run_tasks
from multijoint.running import run_workflow

__all__ = ["segment", "segment_on_cluster", "segment_share"]


_SHARE = 16  # scans of a process: what a process costs to start is small beside them


def segment(
    images: Sequence[Any], *, checkpoint: Path, output_dir: Path, flag_rules: FlagRules | None = None, **settings: Any
) -> None:
    """Segment volumes with the joint bundle's `inference.yaml`.

    Args:
        images: files, folders or items, see `scans.list_scans`.
        checkpoint: a run's `model.pt`.
        output_dir: where `<name>_seg.nii.gz`, `<name>_seg.json`, `segment_report.csv` and `quality.csv` go.
        flag_rules: when a bone is flagged.
        settings: of `inference.yaml`, such as `domain`, `device` or `overwrite`.

    Raises:
        InputError: what cannot be used; the scans that can are still written.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    report = output_dir / settings.get("report", REPORT)
    # a tuple: MONAI would look into a list for code and references, and names of scans may look like either
    settings |= {"images": tuple(images), "checkpoint": checkpoint, "output_dir": output_dir}
    settings |= {f"flag_rules#{name}": value for name, value in asdict(flag_rules or FlagRules()).items()}
    earlier = report.stat() if report.exists() else None
    try:
        run_workflow(["inference.yaml"], workflow_type="inference", **settings)
    finally:
        if report.exists() and report.stat() != earlier:
            _record(report)


def segment_on_cluster(
    images: Sequence[Path],
    *,
    engine: str,
    address: str | None = None,
    threads: int = 1,
    checkpoint: Path,
    output_dir: Path,
    flag_rules: FlagRules | None = None,
    **settings: Any,
) -> None:
    """Segment an archive in shares, each by `multijoint segment` in a process of its own, wherever there is room.

    Args:
        images: files or folders; every machine must see them, the checkpoint and the output under the same paths.
        engine: see `cluster.run_tasks`.
        address: of a Ray cluster; `None` starts Ray on this machine.
        threads: processor threads of a share.
        checkpoint: as for `segment`, and so are the settings.
        output_dir: also gets `shares/`, with the log of each share.
        flag_rules: likewise.
        settings: see there.

    Raises:
        InputError: what cannot be used; the scans that can are still written.
    """
    rules = flag_rules or FlagRules()
    scans = [item | {"image": str(Path(item["image"]).resolve())} for item in list_scans(images)]
    if not checkpoint.is_file():
        raise InputError(f"checkpoint {checkpoint} must be a file, got none; train first or correct the path")
    common = (
        settings
        | {"flag_rules": asdict(rules)}
        | {"checkpoint": str(checkpoint.resolve()), "output_dir": str(output_dir.resolve())}
    )
    shares = []
    for number, first in enumerate(range(0, len(scans), _SHARE)):
        path = output_dir.resolve() / "shares" / f"share_{number}.json"
        content = common | {
            "images": scans[first : first + _SHARE],
            "report": f"shares/share_{number}.csv",
            "quality": None,
        }
        write_atomically(path, (json.dumps(content, indent=2) + "\n").encode())
        shares.append(path)
    resources = Resources(threads=threads, gpu=settings.get("device") != "cpu")
    results = dict(run_tasks(_segment_share, shares, resources=resources, engine=engine, address=address))
    rows = [row for number, share in enumerate(shares) for row in _rows_of_share(share, results[number])]
    cases = [scan["name"] for scan, row in zip(scans, rows, strict=True) if row["output"]]
    write_quality(output_dir / QUALITY_TABLE, gather_quality(output_dir, cases, rules=rules))
    write_report(output_dir / REPORT, rows)
    _record(output_dir / REPORT)
    for share in shares:  # the logs stay
        share.unlink()
        share.with_suffix(".csv").unlink(missing_ok=True)
    bad = [f"{row['file']}: {row['cause']}" for row in rows if row["status"] not in ("written", "skipped")]
    if bad:
        listed = list_first(bad)
        raise InputError(f"{len(bad)} of {len(rows)} scans could not be segmented, see {REPORT}: {listed}")


def segment_share(path: Path) -> None:
    """Segment one share of `segment_on_cluster`."""
    settings = json.loads(path.read_text())
    images = [item | {"image": Path(item["image"])} for item in settings.pop("images")]
    checkpoint, output_dir = Path(settings.pop("checkpoint")), Path(settings.pop("output_dir"))
    rules = FlagRules(**settings.pop("flag_rules"))
    segment(images, checkpoint=checkpoint, output_dir=output_dir, flag_rules=rules, **settings)


def _record(report: Path) -> None:
    rows = read_report(report)
    record(
        output=report.parent,
        report=report,
        written=[row["output"] for row in rows if row["status"] == "written"],
        failed={row["file"]: row["cause"] for row in rows if row["status"] in ("failed", "waiting")},
        scans=rows,
    )


def _segment_share(share: Path, environment: dict[str, str]) -> str | None:
    command = [sys.executable, "-m", "multijoint.cli", "segment-share", str(share)]
    try:
        run_process(command, log=share.with_suffix(".log"), environment=environment)
    except ProcessFailure as failure:
        return str(failure)
    return None


def _rows_of_share(share: Path, result: Any) -> list[dict[str, Any]]:
    """Rows of a share's report; a scan that its process did not come to has the process's failure as its cause."""
    items = json.loads(share.read_text())["images"]
    try:
        rows = read_report(share.with_suffix(".csv"))
    except (OSError, csv.Error):
        rows = [waiting_row(item) for item in items]
    for row in rows:
        if row["status"] == "waiting":
            row |= {"status": "failed", "cause": f"its process ended: {result}"}
    return rows
