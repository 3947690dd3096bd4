"""Segmentation of large archives in shares, one process a share, on this machine or a Ray cluster."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from custom_components.data.scans import list_scans
from custom_components.errors import InputError, list_first
from custom_components.inference.flagged import log_flags, log_summary
from custom_components.inference.report import REPORT, merge_report, read_report, waiting_row
from custom_components.io.records import read_record
from custom_components.quality.flags import FlagRules
from custom_components.quality.tables import QUALITY_TABLE, gather_quality, merge_quality
from custom_components.system.files import remove_stale_temporaries
from custom_components.system.folders import OutputFolder
from custom_components.system.terminal import count, track

from multijoint.api.opening import Opened
from multijoint.api.segmenting import run_inference
from multijoint.cluster.processes import run_command
from multijoint.cluster.resources import Resources
from multijoint.cluster.tasks import run_tasks

SHARE = 16  # scans of a process; starting it takes little time compared to them


def segment_on_cluster(
    images: Sequence[Any],
    *,
    engine: str,
    address: str | None = None,
    threads: int = 1,
    share: int = SHARE,
    checkpoint: Opened,
    output_dir: Path,
    flag_rules: FlagRules | None = None,
    **settings: Any,
) -> None:
    """Segment an archive in shares, with one process a share and as many processes as there is room for.

    Args:
        images: files, folders or items; all machines must see them, the model and the output under the same paths.
        engine: see `cluster.run_tasks`.
        address: of a Ray cluster; `None` starts Ray on this machine.
        threads: processor threads of a share.
        share: scans of a share.
        checkpoint: `model.pt` of a run, or several.
        output_dir: as for `segment`; also gets `shares/`, with the log of each share.
        flag_rules: when a bone is flagged.
        settings: of `inference.yaml`.

    Raises:
        InputError: some scans cannot be segmented; raised after the others have been.
    """
    if share < 1:
        raise InputError(f"--share must be 1 scan or more, got {share}; give another number")
    rules = flag_rules or FlagRules()
    scans = [_with_paths(item, lambda path: str(Path(path).resolve())) for item in list_scans(images)]
    checkpoints = [checkpoint] if isinstance(checkpoint, Path) else list(checkpoint)
    for each in checkpoints:
        if not each.exists():
            raise InputError(f"checkpoint {each} must be a file, got none; train first or correct the path")
    common = settings | {
        "flag_rules": asdict(rules),
        "checkpoint": [str(each.resolve()) for each in checkpoints],
        "output_dir": str(output_dir.resolve()),
    }
    with OutputFolder(output_dir / "shares").locked(wait=False):
        rows = _segment_shares(
            scans,
            common,
            output_dir,
            Resources(threads=threads, gpu=settings.get("device") != "cpu"),
            share=share,
            engine=engine,
            address=address,
        )
    cases = [scan["name"] for scan in scans]
    remove_stale_temporaries(output_dir, recursive=False)  # of processes killed while they wrote
    with OutputFolder(output_dir).locked():
        done = [case for case, row in zip(cases, rows, strict=True) if row["output"]]
        bones = dict.fromkeys(cases, ()) | gather_quality(output_dir, done, rules=rules)
        merge_quality(output_dir / QUALITY_TABLE, bones, order=cases)
        merge_report(output_dir / REPORT, rows, cases=cases, changed=range(len(rows)))
    for case, row in zip(cases, rows, strict=True):
        if any(bone["flags"] for bone in bones[case]):
            log_flags(row["file"], bones[case], fit=read_record(output_dir / row["output"]).get("domain_fit"))
    log_summary(rows, folder=output_dir)
    bad = [f"{row['file']}: {row['cause']}" for row in rows if row["status"] not in ("written", "skipped")]
    if bad:
        listed = list_first(bad)
        raise InputError(f"{len(bad)} of {count(len(rows), 'scan')} could not be segmented, see {REPORT}: {listed}")


def _segment_shares(
    scans: Sequence[Mapping[str, Any]],
    common: Mapping[str, Any],
    output_dir: Path,
    resources: Resources,
    *,
    share: int,
    engine: str,
    address: str | None,
) -> list[dict[str, Any]]:
    """Rows of the reports of all shares, in the order of the scans."""
    shares: list[Path] = []
    for number, first in enumerate(range(0, len(scans), share)):
        path = output_dir.resolve() / "shares" / f"share_{number}.json"
        path.with_suffix(".csv").unlink(missing_ok=True)  # of a run that was stopped
        content = {
            **common,
            "images": scans[first : first + share],
            "report": f"shares/share_{number}.csv",
            "quality": None,
        }
        path.write_text(json.dumps(content))  # of this run only: it need not outlast a crash
        shares.append(path)
    commands = [(("segment-share", str(path)), path.with_suffix(".log")) for path in shares]
    done = run_tasks(run_command, commands, resources=resources, engine=engine, address=address)
    results = dict(track(done, "shares", total=len(shares)))
    rows = [row for number, path in enumerate(shares) for row in _rows_of_share(path, results[number])]
    for path in shares:  # the logs stay
        path.unlink()
        path.with_suffix(".csv").unlink(missing_ok=True)
    return rows


def _with_paths(item: Mapping[str, Any], change: Callable[[Any], Any]) -> dict[str, Any]:
    """An item with the paths of its image, and of further channels if it has any, changed."""
    further = {"further": [change(path) for path in item["further"]]} if "further" in item else {}
    return {**item, "image": change(item["image"]), **further}


def segment_share(path: Path) -> None:
    """Segment one share of `segment_on_cluster`."""
    settings = json.loads(path.read_text())
    images = [_with_paths(item, Path) for item in settings.pop("images")]
    checkpoints = tuple(Path(each) for each in settings.pop("checkpoint"))
    output_dir, rules = Path(settings.pop("output_dir")), FlagRules(**settings.pop("flag_rules"))
    run_inference(images, checkpoint=checkpoints, output_dir=output_dir, flag_rules=rules, **settings)


def _rows_of_share(share: Path, result: Any) -> list[dict[str, Any]]:
    """Rows of a share's report; scans that its process never reached failed for the reason that it ended."""
    try:
        rows = read_report(share.with_suffix(".csv"))
    except (OSError, csv.Error):
        rows = [waiting_row(item) for item in json.loads(share.read_text())["images"]]
    for row in rows:
        if row["status"] == "waiting":
            row |= {"status": "failed", "cause": f"its process ended: {result}"}
    return rows
