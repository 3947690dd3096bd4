"""DICOM exams as scans to segment, and label maps written back as DICOM SEG."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from custom_components.io.records import is_finished, label_map_path

__all__ = ["dicom_scans"]


_NIFTI = (".nii", ".nii.gz")

_LOG = logging.getLogger(__name__)


@contextlib.contextmanager
def dicom_scans(options: argparse.Namespace, checkpoint: Path) -> Iterator[Sequence[Any]]:
    """What to segment: DICOM exams among the images given are written to `OUT/scans` first.

    When the label maps are there, and `--dicom-seg` is given, the DICOM SEGs are written.

    Args:
        options: of `segment`.
        checkpoint: looked at before hours of conversion: a misspelt domain should be found first.

    Yields:
        The images as given if none is DICOM; else items, see `scans.list_scans`.

    Raises:
        InputError: a folder holds nothing to segment, an option needs DICOM and there is none, or a SEG could not be
            written; then all others have been.
    """
    others = [path for path in options.images if not _is_nifti(path)]
    exams = _find_exams(others, [path for path in options.images if path not in others]) if others else None
    if exams is None or not exams[1]:
        _refuse_options(options)
        yield options.images
        return
    from custom_components.models.checkpoints import load_model

    from multijoint.clinic import RULE, check_highdicom, convert_exam, format_exam

    if options.dicom_seg:
        check_highdicom()
    load_model(checkpoint).domain(options.domain)
    items, found = exams
    converted = []
    for exam in found:
        done = convert_exam(exam, options.output, wanted=options.series, overwrite=options.overwrite)
        print(format_exam(exam, done.series), flush=True)
        converted.append(done)
    print(RULE)
    from custom_components.errors import InputError, list_first

    failures = []
    try:
        yield [*items, *(done.item for done in converted)]
    except InputError as error:  # of some scans; the others have label maps
        failures.append(str(error))
    if options.dicom_seg:
        if items:
            _LOG.warning("no DICOM SEG for %d of the scans: they did not come from DICOM", len(items))
        if problems := _write_segs(options.output, converted):
            count = f"{len(problems)} of {len(converted)} DICOM SEGs"
            failures.append(f"{count} could not be written: {list_first(problems)}")
    if failures:
        raise InputError("; ".join(failures))


def _is_nifti(path: Path) -> bool:
    """Whether a path is for the NIfTI reader: a file named so, or a folder with such files directly in it."""
    if path.name.lower().endswith(_NIFTI):
        return True
    return path.is_dir() and any(each.name.lower().endswith(_NIFTI) for each in path.iterdir())


def _find_exams(paths: Sequence[Path], nifti: Sequence[Path]) -> tuple[list[dict[str, Any]], list[Any]]:
    """Items of what is no DICOM, and the exams in the paths."""
    from custom_components.data.scans import list_scans
    from custom_components.errors import InputError, show_path

    from multijoint.clinic import find_exams

    rest = list(nifti)
    exams: list[Any] = []
    unique = {os.path.realpath(path): path for path in paths}
    taken = {item["name"].casefold() for item in list_scans(rest)} if rest else set()
    for path in unique.values():
        found = find_exams(path, taken=taken)
        if not found and path.is_dir():
            raise InputError(f"folder {show_path(path)} must hold NIfTI or DICOM files, got none; give another folder")
        rest += [] if found else [path]
        exams += found
        taken |= {exam.name.casefold() for exam in found}
    return list_scans(rest) if rest else [], exams


def _refuse_options(options: argparse.Namespace) -> None:
    from custom_components.errors import InputError

    for name, given in (("--dicom-seg", options.dicom_seg), ("--series", options.series is not None)):
        if given:
            raise InputError(f"scans must be DICOM for {name}, got NIfTI only; leave it out or give the DICOM folder")


def _write_segs(output_dir: Path, converted: Sequence[Any]) -> list[str]:
    """Write a SEG for each exam whose label map is finished; returns what went wrong."""
    from custom_components.errors import InputError

    from multijoint.clinic import write_dicom_seg

    problems = []
    for done in converted:
        label_map = label_map_path(output_dir, done.item["name"])
        if done.series is None or not is_finished(label_map, image=done.item["image"]):
            continue
        try:
            notes = write_dicom_seg(output_dir / f"{done.item['name']}_seg.dcm", label_map, done.series)
        except InputError as error:
            problems.append(str(error))
            continue
        for line in (f"{done.item['name']} -> {done.item['name']}_seg.dcm", *notes):
            _LOG.info(line)
    return problems
