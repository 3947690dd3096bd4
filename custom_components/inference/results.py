"""The folder that segmentations go to: what is finished there, what must not be replaced, and a report of each scan."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Engine, Events

import custom_components
from custom_components.domains import Domain
from custom_components.errors import InputError, show_path
from custom_components.io.nifti_files import case_id
from custom_components.io.volumes import Volume, read_label, write_label_map
from custom_components.models.trained_model import TrainedModel
from custom_components.quality.flags import FlagRules, measure_quality
from custom_components.quality.tables import (
    QUALITY_TABLE,
    gather_quality,
    quality_rows,
    read_record,
    shorten_flags,
    write_quality,
)
from custom_components.system.files import file_digest, remove_stale_temporaries, write_atomically, write_csv
from custom_components.system.terminal import attach_bar
from custom_components.system.termination import at_termination

__all__ = [
    "REPORT",
    "REPORT_COLUMNS",
    "ReportHandler",
    "ResultFolder",
    "read_report",
    "waiting_row",
    "write_report",
]

REPORT = "segment_report.csv"
REPORT_COLUMNS = ("file", "status", "cause", "seconds", "output", "flags")
"""Header of `segment_report.csv`; status is "waiting", "written", "skipped" (it was finished before) or "failed"."""

_REPORT_INTERVAL_S = 5.0


class ResultFolder:
    """Label maps `<case>_seg.nii.gz`, each with a record `<case>_seg.json` of what it was made from, how, and how well.

    A scan is finished when its label map is there, unchanged, and the record names the same scan, model, domain,
    settings and version of this package, and what was measured of each bone (`bone_quality.measure_quality`). A label
    map that anybody else put there or changed, or that was made from another scan of the same name, is never replaced
    unless `overwrite` says so.

    Args:
        output_dir: the folder.
        model: the trained model.
        domain: name of the domain of items that do not say.
        settings: whatever else decides the labels, as plain values.
        overwrite: segment everything anew and replace what is there.
    """

    def __init__(
        self,
        output_dir: str | Path,
        *,
        model: TrainedModel,
        domain: str | None = None,
        settings: Mapping[str, Any] | None = None,
        overwrite: bool = False,
    ) -> None:
        self.output_dir = Path(output_dir)
        self.model = model
        self.default_domain = domain
        self.settings = dict(settings or {})
        self.overwrite = overwrite

    def find(self, item: Mapping[Any, Any]) -> Path | None:
        """The finished label map of an item (with `image`, its path), or None if it is to be made.

        Raises:
            InputError: something is there that must not be replaced.
        """
        path, record_path = self._paths(item)
        image = Path(item["image"])
        if self.overwrite or not path.exists() or not image.is_file():
            return None
        record, digest = _read_record(record_path), file_digest(image)
        remedy = "move it, choose another output folder, or give --overwrite"
        if not record:
            raise InputError(f"{path.name} must not exist already, got one of unknown origin; {remedy}")
        if record["image_sha256"] != digest and record["image_id"] != _path_id(image, record["image_sha256"]):
            raise InputError(f"{path.name} must not be of another scan, got one of a scan of the same name; {remedy}")
        if record["label_map_sha256"] not in (None, file_digest(path)):
            if _is_whole(path):
                raise InputError(f"{path.name} must be as it was written, got a changed one (by hand?); {remedy}")
            return None
        made = {"image_sha256": digest} | self._how(item)
        same = made.items() <= record.items() and "quality" in record
        return path if record["label_map_sha256"] and same else None

    def save(self, item: Mapping[Any, Any], labels: np.ndarray) -> Path:
        """Write the label map of an item (with `source`, its volume) and its record.

        What is measured of the bones also takes `pred_before` (class indices before post-processing, shape
        (1, X, Y, Z)) and `expected_dice` (of each output channel of the network) of the item, if it has them.

        The record comes first, still without the digest of the label map: whoever finds a label map finds its names,
        and whoever finds such a record knows that the scan is not finished.

        Shape:
            labels: (X, Y, Z), label values.
        """
        path, record_path = self._paths(item)
        source: Volume = item["source"]
        labels_of = self._domain(item).labels
        record = {
            "image": source.path.name,
            "labels": {"0": "background"} | {str(value): name for value, name in labels_of.items()},
            "image_sha256": source.digest,
            "image_id": _path_id(source.path, source.digest),
            **self._how(item),
            "quality": self._measure(item, labels),
        }
        _write_record(record_path, record | {"label_map_sha256": None})
        write_label_map(path, labels, like=source)
        _write_record(record_path, record | {"label_map_sha256": file_digest(path)})
        return path

    def _measure(self, item: Mapping[Any, Any], labels: np.ndarray) -> list[dict[str, Any]]:
        domain, expected, before = self._domain(item), item.get("expected_dice"), item.get("pred_before")
        return measure_quality(
            labels,
            domain=domain,
            voxel_ml=abs(float(np.linalg.det(item["source"].affine[:3, :3]))) / 1e3,
            before=None if before is None else np.asarray(before)[0],
            expected_dice=[expected[channel] for channel in self.model.channels(domain.name)] if expected else None,
            connectivity=self.settings.get("connectivity", 1),
            known=self.model.quality(domain.name),
        )

    def _paths(self, item: Mapping[Any, Any]) -> tuple[Path, Path]:
        name = item.get("name") or case_id(item["source"].path)
        return self.output_dir / f"{name}_seg.nii.gz", self.output_dir / f"{name}_seg.json"

    def _domain(self, item: Mapping[Any, Any]) -> Domain:
        return self.model.domain(item.get("domain", self.default_domain))

    def _how(self, item: Mapping[Any, Any]) -> dict[str, Any]:
        return {
            "domain": self._domain(item).name,
            "model_sha256": self.model.digest or None,
            "settings": self.settings,
            "version": custom_components.__version__,
        }


class ReportHandler:
    """Keep `segment_report.csv`: a row a scan, from "waiting" to what became of it; and `quality.csv`, a row a bone.

    The rows of `quality.csv` are those of the records beside the label maps of these scans, whenever they were made.
    Both are written before the first scan is read, so that a folder that cannot be written to costs no time; they are
    brought up to date every few seconds and at the end, also when the run is stopped.

    Args:
        output_dir: folder of the report.
        items: the scans, in order; those of the data set.
        name: file name of the report.
        quality: file name of the table of bones; None for none.
        rules: when a bone is flagged.
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
    """The row of a scan that nobody has come to."""
    return dict.fromkeys(REPORT_COLUMNS, "") | {
        "file": item.get("shown") or show_path(item["image"]),
        "status": "waiting",
    }


def read_report(path: Path) -> list[dict[str, Any]]:
    """Rows of a report."""
    with path.open(newline="", errors="surrogateescape") as file:
        return list(csv.DictReader(file))


def write_report(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows with the keys `REPORT_COLUMNS`, whole or not at all."""
    write_csv(path, REPORT_COLUMNS, rows, errors="surrogateescape")


def _path_id(path: Path, digest: str) -> str:
    """Tells whether two scans are the same file, without telling where it is."""
    return hashlib.blake2b(os.fsencode(os.path.realpath(path)), key=bytes.fromhex(digest), digest_size=16).hexdigest()


def _is_whole(path: Path) -> bool:
    try:
        read_label(path)
    except InputError:
        return False
    return True


def _read_record(path: Path) -> dict[str, Any]:
    """A record of ours, or nothing."""
    try:
        record = json.loads(path.read_bytes())
        bytes.fromhex(record["image_sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return record if {"image_id", "label_map_sha256"} <= record.keys() else {}


def _write_record(path: Path, record: Mapping[str, Any]) -> None:
    write_atomically(path, (json.dumps(record, indent=2) + "\n").encode())
