"""Exams as scans: the chosen series as NIfTI in the output folder, with a record of its exam."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import custom_components
from custom_components.errors import InputError, explain
from custom_components.io.records import read_record, write_record
from custom_components.io.volumes import nifti_bytes
from custom_components.system.files import file_digest, write_atomically

from multijoint.clinic.dicom.series import DicomExam, Series, choose_series
from multijoint.clinic.dicom.volume import read_series

__all__ = ["SCANS", "ConvertedExam", "convert_exam"]

SCANS = "scans"
"""Folder of the scans, in the output folder."""


@dataclass(frozen=True)
class ConvertedExam:
    """An exam and its scan.

    Args:
        item: of an inference data set (see `scans.list_scans`); with a `failure` if there is no scan.
        series: the chosen one, or None if there is no scan.
        reused: the scan was there already.
    """

    item: dict[str, Any]
    series: Series | None
    reused: bool = False


def convert_exam(
    exam: DicomExam, output_dir: Path, *, wanted: str | None = None, overwrite: bool = False
) -> ConvertedExam:
    """Write `scans/<case>.nii.gz` of the series to segment, whole or not at all.

    `scans/<case>.json` tells later calls which exam and series it is of, in hashes: no identifier is copied. A scan
    that is there, unchanged, and made from the same files is kept as it is.

    Args:
        exam: see `find_exams`.
        output_dir: the folder of the segmentations.
        wanted: key or UID of a series.
        overwrite: replace the scan of another exam or series that has the same name.

    Returns:
        The item to segment. Whatever is wrong with the exam becomes its `failure`, one line.

    Raises:
        OSError: the output folder cannot be written to.
    """
    path = output_dir / SCANS / f"{exam.name}.nii.gz"
    item: dict[str, Any] = {"image": path, "name": exam.name, "shown": exam.name}
    try:
        series = choose_series(exam, wanted)
        reused = _write(path, series, overwrite=overwrite)
    except InputError as error:
        return ConvertedExam(item | {"failure": explain(error)}, None)
    return ConvertedExam(item, series, reused)


def _write(path: Path, series: Series, *, overwrite: bool) -> bool:
    """Write a scan and its record, unless they are there; returns whether they were."""
    record, known = _record(series), read_record(path)
    if path.is_file() and not overwrite:
        if known.get("series_id") != record["series_id"]:
            raise InputError(
                f"scan {path.name} must be of the same exam and series, got one of another; choose another output "
                "folder, or give --overwrite"
            )
        if known.items() >= record.items() and known.get("scan_sha256") == file_digest(path):
            return True
    content = nifti_bytes(*read_series(series))
    if path.is_file():
        path.unlink()  # a scan must never have the record of another series
    write_record(path, record | {"scan_sha256": hashlib.sha256(content).hexdigest()})
    write_atomically(path, content)
    return False


def _record(series: Series) -> dict[str, Any]:
    # The archive knows the patient by the UID, so only its hash is written.
    places = "".join(f"{each.uid}:{each.stamp}" for each in series.files)
    return {
        "made_from": "DICOM",
        "series_id": hashlib.sha256(f"{series.uid} {series.key}".encode()).hexdigest(),
        "files_id": hashlib.sha256(places.encode()).hexdigest(),
        "num_slices": len(series.stack.slices),
        "version": custom_components.__version__,
    }
