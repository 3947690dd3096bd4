"""The exams in a folder, one a study, under names that say nothing of the patient."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from custom_components.errors import InputError, explain, show_path

from multijoint.clinic.dicom.files import class_in_meta, class_name, find_dicom_files
from multijoint.clinic.dicom.series import DicomExam, series_of, tells
from multijoint.clinic.dicom.slices import CLASSIC, ENHANCED, DicomFile, read_file
from multijoint.clinic.dicom.stacks import SAME_PLACE_MM

_GENERIC = ("dicom", "dcm", "dicoms")  # folders inside an exam's own


def find_exams(path: Path, *, taken: Collection[str] = ()) -> list[DicomExam]:
    """The exams in a folder and below, one a study; none if it holds no DICOM.

    An exam is named after the folder that was given or, among several, after the uppermost folder that holds nothing of
    another one. Where that name has a word of the patient's name, identifiers or birth date in it, or is taken, it is
    `exam_` with eight digits made from the study's UID. Names in `taken`, in lower case, are not free; the path may be
    that of one DICOM file.
    """
    paths, others = find_dicom_files(path)
    found = _read(paths)
    studies: dict[str, list[DicomFile]] = {}
    for file in found.images:
        studies.setdefault(file.study, []).append(file)
    damage = {file.series: file.damage for file in found.images if file.damage and file.is_mr} | found.missing
    problems = {study: [damage[uid] for uid in _series_in(own) if uid in damage] for study, own in studies.items()}
    lost: dict[Path, list[str]] = {}
    for where, line in found.unreadable:
        study = _study_beside(where, path, studies)
        (problems[study] if study is not None else lost.setdefault(_part_of(path, where), [])).append(line)
        beside = _series_in(file for file in found.images if file.path.parent == where.parent)
        damage |= dict.fromkeys(beside, line) if len(beside) == 1 else {}
    aside: dict[str, list[str]] = {}
    for where, study, kind in found.aside:
        known = study if study in studies else _study_beside(where, path, studies) or next(iter(studies), "")
        aside.setdefault(known, []).append(kind)
    exams: list[DicomExam] = []
    used = {name.casefold() for name in taken}
    for study, own in studies.items():
        folder = _own_folder(path, study, studies)
        name = _case_name(folder, study, own, used)
        used.add(name.casefold())
        series = tuple(series_of(own, damage))
        num_others = sum(other.is_relative_to(folder) for other in others)
        exams.append(DicomExam(name, series, tuple(problems[study]), num_others, tuple(aside.get(study, ()))))
    exams += [DicomExam(_coded(str(part)), (), tuple(lines), 0) for part, lines in lost.items()]
    if found.aside and not exams:  # nothing but objects without pixels
        exams.append(DicomExam(_coded(str(path)), (), (), 0, tuple(aside[""])))
    return exams


@dataclass
class _Found:
    """The files of a folder by what they are.

    Args:
        images: files with pixels.
        aside: path, study ("" if unknown) and kind of each object without pixels.
        missing: a line about a slice of which only the header is there, by the UID of its series.
        unreadable: path of a file and a line about it.
    """

    images: list[DicomFile] = field(default_factory=list)
    aside: list[tuple[Path, str, str]] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    unreadable: list[tuple[Path, str]] = field(default_factory=list)


def _read(paths: Iterable[Path]) -> _Found:
    found, headers = _Found(), list[DicomFile]()
    for path in paths:
        try:
            file = read_file(path)
        except (InputError, OSError) as error:
            kind = class_in_meta(path)
            if kind in ("", CLASSIC, *ENHANCED):
                found.unreadable.append((path, explain(error)))
            else:
                found.aside.append((path, "", class_name(kind)))
            continue
        if file is not None:
            (found.images if file.has_pixels else headers).append(file)
    for file in headers:
        may_be_mr = file.is_mr or not file.series
        if file.is_mr and file.damage and file.series in _series_in(found.images):
            found.missing.setdefault(file.series, file.damage)
        elif may_be_mr and (file.damage or not file.series):
            rule = f"DICOM file {show_path(file.path)} must say of which series it is, got nothing"
            found.unreadable.append((file.path, file.damage or f"{rule}; copy it again"))
        elif _is_of_a_missing_slice(file, found.images):
            rule = f"DICOM file {show_path(file.path)} must have pixels, got a header alone"
            found.missing.setdefault(file.series, f"{rule}; copy it again")
        else:
            found.aside.append((file.path, file.study, class_name(file.sop_class)))
    return found


def _is_of_a_missing_slice(header: DicomFile, images: Iterable[DicomFile]) -> bool:
    """Whether an image without pixels has a place in its series that no other image has."""
    own = [image for image in images if image.series == header.series and image.is_mr]
    if not (header.is_mr and own):
        return False
    places = np.array([each.position for image in own for each in image.slices]).reshape(-1, 3)
    gaps = [np.linalg.norm(places - each.position, axis=1).min(initial=np.inf) for each in header.slices]
    return max(gaps, default=0) > SAME_PLACE_MM


def _series_in(files: Iterable[DicomFile]) -> list[str]:
    return list(dict.fromkeys(file.series for file in files))


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
