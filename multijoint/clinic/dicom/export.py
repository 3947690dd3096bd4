"""Exams as scans: the chosen series as NIfTI in the output folder, with a record of its exam."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import custom_components
import numpy as np
from custom_components.errors import InputError, explain, show_path
from custom_components.io.nifti_files import MAX_VOXELS, check_size
from custom_components.io.records import read_record, write_record
from custom_components.io.volumes import nifti_bytes
from custom_components.system.files import file_digest, write_atomically

from multijoint.clinic.dicom.files import read_dataset, reading_dicom
from multijoint.clinic.dicom.series import DicomExam, Series, choose_series
from multijoint.clinic.dicom.slices import ENHANCED, Slice

SCANS = "scans"
"""Folder of the scans, in the output folder."""


@dataclass(frozen=True)
class ConvertedExam:
    """An item of an inference data set (see `scans.list_scans`), with a `failure`, and no `series`, if it has no scan.

    `reused` says that the scan was there already.
    """

    item: dict[str, Any]
    series: Series | None
    reused: bool = False


def convert_exam(
    exam: DicomExam, output_dir: Path, *, wanted: str | None = None, overwrite: bool = False
) -> ConvertedExam:
    """Write `scans/<case>.nii.gz` of the series to segment, whole or not at all.

    `scans/<case>.json` tells later calls which exam and series it is of, in hashes: no identifier is copied. A scan
    that is there, unchanged, and made from the same files is kept as it is; with `overwrite`, that of another exam or
    series under the same name is replaced. `wanted` is the key or UID of a series.

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
    # The archive knows the patient by the UID, so only its hash is written.
    places = "".join(f"{each.uid}:{each.stamp}" for each in series.files)
    record: dict[str, Any] = {
        "made_from": "DICOM",
        "series_id": hashlib.sha256(f"{series.uid} {series.key}".encode()).hexdigest(),
        "files_id": hashlib.sha256(places.encode()).hexdigest(),
        "num_slices": len(series.stack.slices),
        "version": custom_components.__version__,
    }
    known = read_record(path)
    if path.is_file() and not overwrite:
        if known.get("series_id") != record["series_id"]:
            rule = f"scan {path.name} must be of the same exam and series, got one of another; choose another output"
            raise InputError(f"{rule} folder, or give --overwrite")
        if known.items() >= record.items() and known.get("scan_sha256") == file_digest(path):
            return True
    content = nifti_bytes(*read_series(series))
    if path.is_file():
        path.unlink()  # a scan must never have the record of another series
    write_record(path, record | {"scan_sha256": hashlib.sha256(content).hexdigest()})
    write_atomically(path, content)
    return False


def read_series(series: Series) -> tuple[np.ndarray, np.ndarray]:
    """Voxels of a series with their rescale slope and intercept applied, and its affine.

    Returns:
        Voxels (columns, rows, slices), integers as stored where no slice is rescaled, else float32; and the affine,
        index -> RAS+ position in mm.

    Raises:
        InputError: too large, a file cannot be decoded, or was changed meanwhile.
    """
    slices, affine = series.stack.slices, series.stack.affine
    if affine is None:
        raise InputError(f"series {series.key} {series.reason}; choose another one")
    rows, columns = slices[0].shape
    check_size(rows * columns * len(slices), limit=MAX_VOXELS, path=slices[0].path)
    planes: dict[int, np.ndarray] = {}
    padded: dict[int, np.ndarray] = {}
    is_scaled = False
    for index, plane, padding, slope, intercept in _planes(slices, series.files[0].sop_class in ENHANCED):
        if plane.shape != (rows, columns):
            raise InputError(f"pixels of {show_path(slices[index].path)} must be {rows} x {columns}, got {plane.shape}")
        if padding.any():
            padded[index] = padding.T
        if (slope, intercept) != (1, 0):
            is_scaled, plane = True, (plane * np.float64(slope) + intercept).astype(np.float32)
        planes[index] = plane
    kind = np.float32 if is_scaled else np.result_type(*planes.values())
    voxels = np.empty((columns, rows, len(slices)), kind, order="F")
    for index in range(len(slices)):
        voxels[:, :, index] = planes.pop(index).T
    if padded:
        _fill(voxels, padded)
    return voxels, affine


def _padding(plane: np.ndarray, header: Any) -> np.ndarray:
    """Which pixels are none, by PixelPaddingValue, and PixelPaddingRangeLimit if there is one."""
    ends = [header.get(tag) for tag in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
    known = [end for end in ends if isinstance(end, int)]
    if ends[0] is None or not known:
        return np.zeros(plane.shape, bool)
    # A value may be stated with the wrong sign: 63536 means -2000 among signed pixels.
    low, *_, high = sorted(np.array([known[0], known[-1]], np.int64).astype(plane.dtype))
    return (plane >= low) & (plane <= high)


def _fill(voxels: np.ndarray, padded: Mapping[int, np.ndarray]) -> None:
    """Give padding the value of no signal: 0, or the lowest of the others if some are below 0."""
    lowest = 0
    for index in range(voxels.shape[2]):
        others = voxels[:, :, index][~padded[index]] if index in padded else voxels[:, :, index]
        lowest = min(lowest, others.min(initial=0))
    for index, padding in padded.items():
        voxels[:, :, index][padding] = lowest


def _planes(slices: tuple[Slice, ...], is_enhanced: bool) -> Iterator[tuple[int, np.ndarray, np.ndarray, float, float]]:
    """Index in the stack, pixels (rows, columns), which are none, slope, intercept; each file is opened once."""
    by_path: dict[Any, list[int]] = {}
    for index, each in enumerate(slices):
        by_path.setdefault(each.path, []).append(index)
    for path, indices in by_path.items():
        name = show_path(path)
        with reading_dicom(name) as pydicom:
            from pydicom.pixels import iter_pixels

            header = read_dataset(pydicom, path, stop_before_pixels=True)
            frames = [slices[index].frame for index in indices]
            pixels = iter_pixels(
                path,
                indices=frames if is_enhanced else None,
                raw=True,
                transfer_syntax_uid=header.file_meta.TransferSyntaxUID,  # which a file without preamble does not state
            )
            for index, frame, plane in zip(indices, frames, pixels, strict=True):
                scale = _rescaling(header, frame if is_enhanced else None, name)
                yield index, plane, _padding(plane, header), *scale


def _rescaling(header: Any, frame: int | None, name: str) -> tuple[float, float]:
    """Slope and intercept of a frame; 1 and 0 where none are stated."""
    holders = [header]
    if frame is not None:
        groups = [header.PerFrameFunctionalGroupsSequence[frame], *(header.get("SharedFunctionalGroupsSequence") or [])]
        sequences = (group.get("PixelValueTransformationSequence") or [] for group in groups)
        holders = [item for sequence in sequences for item in sequence]
    for holder in holders:
        if holder.get("RescaleSlope") is not None:
            slope, intercept = float(holder.RescaleSlope), float(holder.get("RescaleIntercept") or 0)
            if not (np.isfinite(slope) and np.isfinite(intercept) and slope):
                raise InputError(f"rescale slope of {name} must be finite and not 0, got another; export it again")
            return slope, intercept
    return 1.0, 0.0
