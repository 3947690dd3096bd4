"""`multijoint dicom`, and DICOM in `multijoint segment`: exams become scans, label maps become DICOM SEGs."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path

__all__ = ["add_dicom", "add_dicom_options"]


def add_dicom(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Add `multijoint dicom`.

    Args:
        add: makes the parser of a command from its name, the function that runs it, `help` and `example`.
    """
    dicom = add(
        "dicom",
        _list_series,
        help="list the series in DICOM folders, which of them segment would take, and why not the others",
        example="multijoint dicom exam/",
    )
    dicom.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="an exam, or a folder of exams")
    dicom.add_argument("--series", metavar="ID", help="as for segment")
    dicom.add_argument("--log-paths", action="store_true", help="show whole paths of files, not their names alone")


def add_dicom_options(segment: argparse.ArgumentParser) -> None:
    """Add the options of `multijoint segment` that are about DICOM."""
    segment.add_argument(
        "--series", metavar="ID", help="the DICOM series to segment, as `multijoint dicom` calls it, or its UID"
    )
    segment.add_argument(
        "--dicom-seg", action="store_true", help="also write <case>_seg.dcm, a DICOM SEG, for scans that came as DICOM"
    )


def _list_series(options: argparse.Namespace) -> None:
    from custom_components.errors import LOG_PATHS, InputError, list_first, show_path

    from multijoint.clinic import RULE, choose_series, find_exams, format_exam

    if options.log_paths:
        os.environ[LOG_PATHS] = "1"
    failures, names = [], set[str]()
    for folder in options.folders:
        exams = find_exams(folder, taken=names)
        if not exams:
            raise InputError(f"folder {show_path(folder)} must hold DICOM files, got none; give another folder")
        for exam in exams:
            names.add(exam.name.casefold())
            chosen = None
            try:
                chosen = choose_series(exam, options.series)
            except InputError as error:
                failures.append(str(error))
            print(format_exam(exam, chosen))
    print(RULE)
    if failures:
        raise InputError(list_first(failures))
