"""DICOM exams among the scans to segment, and their label maps written back as DICOM SEG."""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from custom_components.data.scans import is_scan, list_scans
from custom_components.errors import InputError, list_first, show_path
from custom_components.inference.report import REPORT
from custom_components.io.formats import ending_of
from custom_components.io.records import is_finished, label_map_path

from multijoint.clinic.dicom.exams import find_exams
from multijoint.clinic.dicom.export import ConvertedExam
from multijoint.clinic.dicom.files import is_dicom
from multijoint.clinic.dicom.series import DicomExam, Series, choose_series

_ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".7z", ".rar")
_MOST_FILES = 1000  # that are looked at in a folder that was not named
_LOG = logging.getLogger(__name__)


def find_scans(paths: Sequence[Path], *, channels: Sequence[str] = ()) -> tuple[Sequence[Any], list[DicomExam]]:
    """Tell volumes in single files and DICOM exams apart.

    Args:
        paths: volumes, folders of them, and folders of DICOM.
        channels: names of the channels of the volumes, see `scans.list_scans`.

    Returns:
        The paths as given and no exam if none is DICOM; else items of the volumes (see `scans.list_scans`), and
        the exams, whose names differ from those of the items.

    Raises:
        InputError: a folder holds neither.
    """
    _name_passed_over(paths)
    others = [path for path in paths if not _is_volume(path)]
    if not others:
        return paths, []
    rest = [path for path in paths if path not in others]
    exams: list[DicomExam] = []
    taken = {item["name"].casefold() for item in list_scans(rest, channels=channels)} if rest else set()
    for path in {os.path.realpath(path): path for path in others}.values():
        found = find_exams(path, taken=taken)
        if not found and path.is_dir():
            raise _nothing_in(path, "volumes or DICOM")
        rest += [] if found else [path]
        exams += found
        taken |= {exam.name.casefold() for exam in found}
    return (list_scans(rest, channels=channels) if rest else [], exams) if exams else (paths, [])


def list_series(
    folders: Sequence[Path], *, wanted: str | None = None
) -> Iterator[tuple[DicomExam, Series | None, str]]:
    """The exams of DICOM folders and the series of each that would be segmented.

    Args:
        folders: exams, or folders of exams.
        wanted: key or UID of a series; `None` chooses by rule.

    Yields:
        An exam, the chosen series or `None`, and why there is none, or "".

    Raises:
        InputError: a folder holds no DICOM.
    """
    names = set[str]()
    for folder in folders:
        exams = find_exams(folder, taken=names)
        if not exams:
            raise _nothing_in(folder, "DICOM")
        for exam in exams:
            names.add(exam.name.casefold())
            try:
                yield exam, choose_series(exam, wanted), ""
            except InputError as error:
                yield exam, None, str(error)


def write_segs(output_dir: Path, converted: Sequence[ConvertedExam]) -> list[str]:
    """Write a DICOM SEG for each exam whose label map is finished, and return what failed, in one line or none."""
    from multijoint.clinic.dicom.seg import write_dicom_seg

    problems = []
    for done in converted:
        name = done.item["name"]
        label_map = label_map_path(output_dir, name)
        if done.series is None or not is_finished(label_map, image=done.item["image"]):
            continue
        try:
            notes = write_dicom_seg(output_dir / f"{name}_seg.dcm", label_map, done.series)
            for line in (f"{name} -> {name}_seg.dcm", *notes):
                _LOG.info(line)
        except InputError as error:
            problems.append(str(error))
    if not problems:
        return []
    return [f"{len(problems)} of {len(converted)} DICOM SEGs could not be written: {list_first(problems)}"]


def _name_passed_over(paths: Sequence[Path]) -> None:
    """Warn of scans that folders of volumes hold beside these or below, unless they are among the paths."""
    given = [os.path.realpath(path) for path in paths]

    def is_named(path: Path) -> bool:
        real = os.path.realpath(path)
        return any(each == real or each.startswith(real + os.sep) for each in given)

    for folder in (path for path in paths if path.is_dir() and _is_volume(path) and not (path / REPORT).exists()):
        others = (path for path in _own_paths(folder) if path.is_dir() or not ending_of(path))
        beside = [
            path.name for path in itertools.islice(others, _MOST_FILES) if _holds_scan(path) and not is_named(path)
        ]
        if beside:
            _LOG.warning(
                "passed over in %s, of which the volumes directly in it are taken: %s; name them as well",
                show_path(folder),
                list_first(beside),
            )


def _own_paths(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _holds_scan(path: Path) -> bool:
    """Whether a file is a scan, or one of the first thousand of a folder and below; a folder of results has none."""
    files = itertools.islice(_files_below(path), _MOST_FILES) if path.is_dir() else [path]
    return any(is_scan(file) or is_dicom(file) for file in files)


def _files_below(path: Path) -> Iterator[Path]:
    for folder, names, files in os.walk(path):
        if REPORT in files:
            names.clear()
            continue
        names[:] = sorted(name for name in names if not name.startswith("."))
        yield from (Path(folder, name) for name in sorted(files) if not name.startswith("."))


def _nothing_in(path: Path, kinds: str) -> InputError:
    """What to say of a folder without scans, which may wait in an archive."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    packed = next((show_path(each) for each in files if each.name.lower().endswith(_ARCHIVES)), "")
    below = ""
    if path.is_dir() and kinds != "DICOM":  # which was looked for below
        below = next((each.name for each in _own_paths(path) if each.is_dir() and _holds_scan(each)), "")
    remedy = f"unpack {packed} first" if packed else f"name {below} in it" if below else "give another folder"
    return InputError(f"folder {show_path(path)} must hold {kinds} files, got none; {remedy}")


def _is_volume(path: Path) -> bool:
    """Whether a path is for the reader of volumes: a file named so, or a folder with such files directly in it."""
    return bool(ending_of(path)) or (path.is_dir() and any(map(ending_of, path.iterdir())))
