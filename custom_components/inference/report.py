"""Report of an inference run: `segment_report.csv`, a row for each scan, and `quality.csv`, a row for each bone."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from custom_components.errors import InputError, show_path
from custom_components.inference.flagged import log_flags, log_summary
from custom_components.io.formats import case_id
from custom_components.io.records import case_of, is_label_map, read_record
from custom_components.quality.flags import FlagRules
from custom_components.quality.tables import (
    QUALITY_TABLE,
    gather_quality,
    merge_quality,
    quality_rows,
    read_table,
    shorten_flags,
)
from custom_components.system.files import read_csv, remove_stale_temporaries, write_csv
from custom_components.system.folders import OutputFolder
from custom_components.system.terminal import attach_bar, count
from custom_components.system.termination import at_termination

if TYPE_CHECKING:
    from ignite.engine import Engine

REPORT = "segment_report.csv"

REPORT_COLUMNS = ("file", "status", "cause", "seconds", "output", "flags")
"""Header of `segment_report.csv`; status is "waiting", "written", "skipped" (it was finished before) or "failed"."""

_NEEDED = ("file", "status", "output")
_REPORT_INTERVAL_S = 5.0


class ReportHandler:
    """Write `segment_report.csv`, the status of each scan, and `quality.csv`, the quality of each bone.

    Rows of other scans in these tables stay: they are of earlier runs, or of one that writes to the folder now. The
    rows of `quality.csv` come from the records of the label maps of these scans, also of scans that were finished
    before. Both tables are written before the first scan is read, which detects a folder that cannot be written to.
    They are updated every few seconds and at the end of the run, also when it is stopped.

    A flagged scan is logged when it is done, and a summary at the end. A folder that is removed ends the run.

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
        self._changed = set(range(len(items)))  # rows that are not in the tables yet
        self._folder = OutputFolder(output_dir)
        self._written = 0.0
        self._open = contextlib.ExitStack()

    def attach(self, engine: Engine) -> None:
        """Register with a `VolumeEvaluator`."""
        from ignite.engine import Events  # not for those who read the tables: it imports PyTorch

        self._open.callback(attach_bar(engine, "scans"))
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add)
        engine.add_event_handler(Events.COMPLETED, self._end)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self._stop)

    def _start(self) -> None:
        self._write()
        self._open.enter_context(at_termination(self._write))
        remove_stale_temporaries(self.path.parent, recursive=False)

    def _add(self, engine: Engine) -> None:
        self._folder.check()
        item = engine.state.output
        index = engine.state.iteration - 1
        row = self.rows[index]
        row["seconds"] = f"{item['seconds']:.2f}"
        if "failure" in item:
            row["status"], row["cause"] = "failed", item["failure"]
        else:
            row["status"] = "skipped" if "finished" in item else "written"
            row["output"] = item["saved"].name
            record = read_record(item["saved"])
            bones = quality_rows(record, case=item["name"], rules=self.rules)
            row["flags"] = shorten_flags(bones)
            log_flags(row["file"], bones, fit=record.get("domain_fit"))
        self._changed.add(index)
        if time.monotonic() - self._written > _REPORT_INTERVAL_S:
            self._write()

    def _end(self) -> None:
        self._open.close()
        done = [index for index, row in enumerate(self.rows) if row["output"]]
        gone = [index for index in done if not (self.output_dir / self.rows[index]["output"]).is_file()]
        for index in gone:
            cause = f"{self.rows[index]['output']} was removed before the run ended"
            self.rows[index] |= {"status": "failed", "cause": cause, "output": "", "flags": ""}
        self._changed.update(gone)
        self._write()
        if gone:
            raise InputError(
                f"output folder {show_path(self.output_dir)} must keep its results until the run ends, "
                f"got {count(len(gone), 'label map')} of {len(done)} removed meanwhile; run the command again"
            )
        log_summary(self.rows, folder=self.output_dir)

    def _stop(self, error: BaseException) -> None:
        self._open.close()
        with contextlib.suppress(OSError, InputError):
            self._write()
        raise error

    def _write(self) -> None:
        """Bring the rows that changed into the tables, whatever another run has written there meanwhile."""
        try:
            with self._folder.locked():
                self._write_rows()
        except OSError as error:
            if error.filename == str(self.output_dir) or not self.output_dir.is_dir():
                raise type(error)(
                    error.errno, f"could not write the file: {error.strerror or error}", str(self.path)
                ) from error
            raise
        self._written = time.monotonic()

    def _write_rows(self) -> None:
        changed = {self._cases[index]: self.rows[index] for index in sorted(self._changed)}
        unsaved = [case for case, row in changed.items() if row["status"] != "failed"]
        # From the records as they are now: another run may have written a label map of the same case.
        bones = dict.fromkeys(changed, ()) | gather_quality(self.output_dir, unsaved, rules=self.rules)
        for case, row in changed.items():
            row["flags"] = shorten_flags(bones[case]) if row["output"] else ""
        if self.quality_path is not None:
            read_table(self.quality_path, needed=("case",))  # a damaged one is found before anything is written
        merge_report(self.path, self.rows, cases=self._cases, changed=self._changed)
        if self.quality_path is not None:
            merge_quality(self.quality_path, bones, order=self._cases)
        self._changed = set()


def waiting_row(item: Mapping[str, Any]) -> dict[str, Any]:
    """Row of a scan before its turn."""
    return dict.fromkeys(REPORT_COLUMNS, "") | {
        "file": item.get("shown") or show_path(item["image"]),
        "status": "waiting",
    }


def read_report(path: Path) -> list[dict[str, Any]]:
    """Rows of a report."""
    return read_csv(path)


def read_own_report(path: Path, items: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of these scans, in their order, of a report that may have others."""
    rows = {row["file"]: row for row in read_report(path)}
    return [rows[file] for file in (waiting_row(item)["file"] for item in items) if file in rows]


def merge_report(
    path: Path, rows: Sequence[Mapping[str, Any]], *, cases: Sequence[str], changed: Collection[int]
) -> None:
    """Write rows with the keys `REPORT_COLUMNS` into a report, whole or not at all; rows of other cases stay in front.

    Args:
        path: the report.
        rows: one a scan of a run.
        cases: name of each scan.
        changed: indices of the rows to write; of the others the report's own rows stay, if it has them.

    Raises:
        InputError: the report that is there is damaged.
    """
    columns, found = read_table(path, needed=_NEEDED)
    files, names = {row["file"] for row in rows}, {cases[index] for index in changed}
    before = {row["file"]: row for row in found}
    others = [row for row in found if row["file"] not in files and _case_of(row) not in names]
    own = [row if index in changed else before.get(row["file"], row) for index, row in enumerate(rows)]
    write_csv(path, tuple(dict.fromkeys([*REPORT_COLUMNS, *columns])), [*others, *own])


def _case_of(row: Mapping[str, str]) -> str:
    """Case of a row; that of a scan without a result as `scans.list_scans` names it, which whole paths do not tell."""
    if is_label_map(row["output"]):
        return case_of(row["output"])
    parts = PurePath(row["file"]).parts
    folders = () if PurePath(row["file"]).is_absolute() else parts[:-1]
    return "_".join((*folders, case_id(row["file"])))
