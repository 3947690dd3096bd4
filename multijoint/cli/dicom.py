"""`multijoint dicom`."""

from pathlib import Path

from multijoint.cli.commands import command, log_paths, path, text


@command(
    path("folders", "FOLDER", "an exam, a folder of exams, or a zip file of either", nargs="+"),
    text("--series", "ID", "as for segment"),
    log_paths("files"),
    example="multijoint dicom exam/",
    extra="clinic",
)
def dicom(folders: list[Path], series: str | None) -> None:
    """List the series in DICOM folders, which of them segment would take, and why not the others."""
    from custom_components.errors import InputError, list_first

    from multijoint.api.dicom_scans import list_series
    from multijoint.api.zipped_scans import unpacked
    from multijoint.clinic.dicom.series import RULE, format_exam

    failures = []
    with unpacked(folders) as opened:
        for exam, chosen, failure in list_series(opened, wanted=series):
            print(format_exam(exam, chosen))
            failures += [failure] if failure else []
    print(RULE)
    if failures:
        raise InputError(list_first(failures))
