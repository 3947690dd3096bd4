"""Report of an inference run: `segment_report.csv`, a row for each scan, and `quality.csv`, a row for each bone."""

from __future__ import annotations

import contextlib
import csv
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from custom_components.errors import show_path
from custom_components.io.records import read_record
from custom_components.quality.flags import FlagRules
from custom_components.quality.tables import QUALITY_TABLE, gather_quality, quality_rows, shorten_flags, write_quality
from custom_components.system.files import remove_stale_temporaries, restored, write_csv
from custom_components.system.terminal import attach_bar
from custom_components.system.termination import at_termination
from ignite.engine import Engine, Events

REPORT = "segment_report.csv"

REPORT_COLUMNS = ("file", "status", "cause", "seconds", "output", "flags")
"""Header of `segment_report.csv`; status is "waiting", "written", "skipped" (it was finished before) or "failed"."""

_REPORT_INTERVAL_S = 5.0


class ReportHandler:
    """Write `segment_report.csv`, the status of each scan, and `quality.csv`, the quality of each bone.

    The rows of `quality.csv` come from the records of the label maps of these scans, also of scans that were finished
    before. Both tables are written before the first scan is read, which detects a folder that cannot be written to.
    They are updated every few seconds and at the end of the run, also when it is stopped.

    Args:
        output_dir: folder of the tables.
        items: scans in the order of the data set.
        name: file name of the report.
        quality: file name of the table of bones; None writes none.
        rules: conditions under which a bone is flagged.
    """

    def __init__(
        self,
        output_dir: str | Path,
        *,
        items: list[dict[str, Any]],
        name: str = REPORT,
        quality: str | None = QUALITY_TABLE,
        rules: FlagRules | None = None,
    ) -> None:
        self.output_dir = Path(output_dir)
        self.path = self.output_dir / name
        self.quality_path = None if quality is None else self.output_dir / quality
        self.rules = rules or FlagRules()
        self.rows = [waiting_row(item) for item in items]
        self._cases = [item["name"] for item in items]
        self._bones: dict[str, list[dict[str, Any]]] = {}
        self._written = 0.0
        self._open = contextlib.ExitStack()

    def attach(self, engine: Engine) -> None:
        """Register with a `VolumeEvaluator`."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add)
        engine.add_event_handler(Events.COMPLETED, self._end)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self._stop)
        attach_bar(engine, "scans")

    def _start(self) -> None:
        found = gather_quality(self.output_dir, self._cases, rules=self.rules)
        self._bones = {case: found.get(case, []) for case in self._cases}
        self._write()
        self._open.enter_context(at_termination(self._write))
        remove_stale_temporaries(self.path.parent, recursive=False)

    def _add(self, engine: Engine) -> None:
        item = engine.state.output
        row = self.rows[engine.state.iteration - 1]
        row["seconds"] = f"{item['seconds']:.2f}"
        if "failure" in item:
            row["status"], row["cause"] = "failed", item["failure"]
            self._bones[item["name"]] = []
        else:
            row["status"] = "skipped" if "finished" in item else "written"
            row["output"] = item["saved"].name
            bones = quality_rows(read_record(item["saved"]), case=item["name"], rules=self.rules)
            self._bones[item["name"]], row["flags"] = bones, shorten_flags(bones)
        if time.monotonic() - self._written > _REPORT_INTERVAL_S:
            self._write()

    def _end(self) -> None:
        self._open.close()
        self._write()

    def _stop(self, error: BaseException) -> None:
        with contextlib.suppress(OSError):
            self._end()
        raise error

    def _write(self) -> None:
        write_report(self.path, self.rows)
        if self.quality_path is not None:
            write_quality(self.quality_path, self._bones)
        self._written = time.monotonic()


def waiting_row(item: Mapping[str, Any]) -> dict[str, Any]:
    """Row of a scan before its turn."""
    return dict.fromkeys(REPORT_COLUMNS, "") | {
        "file": item.get("shown") or show_path(item["image"]),
        "status": "waiting",
    }


def read_report(path: Path) -> list[dict[str, Any]]:
    """Rows of a report."""
    with path.open(newline="", errors="surrogateescape") as file:
        return restored(csv.DictReader(file))


def write_report(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows with the keys `REPORT_COLUMNS`, whole or not at all."""
    write_csv(path, REPORT_COLUMNS, rows, errors="surrogateescape")
