"""`multijoint dicom`."""

from __future__ import annotations

import argparse
from pathlib import Path

from multijoint.cli.commands import Commands, add_log_paths

__all__ = ["add_command"]


def add_command(commands: Commands) -> None:
    """Add the command and its arguments."""
    parser = commands.add(
        "dicom",
        _dicom,
        help="list the series in DICOM folders, which of them segment would take, and why not the others",
        example="multijoint dicom exam/",
        extra="clinic",
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="an exam, or a folder of exams")
    parser.add_argument("--series", metavar="ID", help="as for segment")
    add_log_paths(parser, "files")


def _dicom(options: argparse.Namespace) -> None:
    from custom_components.errors import InputError, list_first

    from multijoint.api.dicom_scans import list_series
    from multijoint.clinic.dicom.series import RULE, format_exam

    failures = []
    for exam, chosen, failure in list_series(options.folders, wanted=options.series):
        print(format_exam(exam, chosen))
        failures += [failure] if failure else []
    print(RULE)
    if failures:
        raise InputError(list_first(failures))
