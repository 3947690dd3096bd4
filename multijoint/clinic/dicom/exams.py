"""The exams in a folder, one a study, under names that say nothing of the patient."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from custom_components.errors import InputError, explain

from multijoint.clinic.dicom.files import find_dicom_files
from multijoint.clinic.dicom.series import DicomExam, series_of, tells
from multijoint.clinic.dicom.slices import DicomFile, read_file

_GENERIC = ("dicom", "dcm", "dicoms")  # folders inside an exam's own


def find_exams(path: Path, *, taken: Collection[str] = ()) -> list[DicomExam]:
    """The exams in a folder and below, one a study; none if it holds no DICOM.

    An exam is named after the folder that was given or, among several, after the uppermost folder that holds nothing of
    another one. Where that name has a word of the patient's name, identifiers or birth date in it, or is taken, it is
    `exam_` with eight digits made from the study's UID. Names in `taken`, in lower case, are not free; the path may be
    that of one DICOM file.
    """
    paths, num_others = find_dicom_files(path)
    files: list[DicomFile] = []
    problems: list[tuple[Path, str]] = []
    for each in paths:
        try:
            file = read_file(each)
            files += [] if file is None else [file]
        except (InputError, OSError) as error:
            problems.append((each, explain(error)))
    studies: dict[str, list[DicomFile]] = {}
    for file in files:
        studies.setdefault(file.study, []).append(file)
    own_problems: dict[str, list[str]] = {study: [] for study in studies}
    lost: dict[Path, list[str]] = {}
    for where, line in problems:
        beside = _study_beside(where, path, studies)
        (own_problems[beside] if beside is not None else lost.setdefault(_part_of(path, where), [])).append(line)
    exams: list[DicomExam] = []
    used = {name.casefold() for name in taken}
    for study, own in studies.items():
        name = _case_name(_own_folder(path, study, studies), study, own, used)
        used.add(name.casefold())
        exams.append(DicomExam(name, tuple(series_of(own)), tuple(own_problems[study]), num_others))
    return [*exams, *(DicomExam(_coded(str(part)), (), tuple(lines), num_others) for part, lines in lost.items())]


def _own_folder(given: Path, study: str, studies: dict[str, list[DicomFile]]) -> Path:
    """The uppermost folder, not above the given one, that holds nothing of another study."""
    if len(studies) == 1:
        return given
    folder = Path(os.path.commonpath([file.path.parent for file in studies[study]]))
    others = [file.path for other, files in studies.items() if other != study for file in files]
    if any(path.is_relative_to(folder) for path in others):
        return given
    while folder != given and not any(path.is_relative_to(folder.parent) for path in others):
        folder = folder.parent
    return folder


def _part_of(given: Path, path: Path) -> Path:
    """The folder directly in the given one that a file is in, or the given one."""
    parts = path.relative_to(given).parts if path != given else ()
    return given / parts[0] if len(parts) > 1 else given


def _study_beside(path: Path, given: Path, studies: Mapping[str, Sequence[DicomFile]]) -> str | None:
    """The study that an unreadable file is likely of: one with files in its folder, or in its part of all."""
    for folder in (path.parent, _part_of(given, path)):
        for study, files in studies.items():
            if any(file.path.is_relative_to(folder) for file in files):
                return study
    return None


def _case_name(folder: Path, study: str, files: Iterable[DicomFile], used: Collection[str]) -> str:
    folder = Path(os.path.abspath(folder))
    name = folder.stem if folder.is_file() else folder.name
    name = folder.parent.name if name.casefold() in _GENERIC else name
    words = frozenset().union(*(file.identity for file in files))
    is_free = name and not tells(name, words) and name.casefold() not in used
    return name if is_free else _coded(study)


def _coded(text: str) -> str:
    return f"exam_{hashlib.sha256(os.fsencode(text)).hexdigest()[:8]}"
