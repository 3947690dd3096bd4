"""Headers of DICOM files: exam, series, and the position of each slice."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from custom_components.errors import InputError, show_path

from multijoint.clinic.dicom.files import Header, read_header, reading_dicom
from multijoint.clinic.dicom.parts import PART_TAGS, part_of

KEYS = ("echo", "time", "part", "type", "b-value", "stack", "acquisition")
"""Properties that tell apart two slices of a series at one place, in the order in which they are tried."""

ENHANCED = ("1.2.840.10008.5.1.4.1.1.4.1", "1.2.840.10008.5.1.4.1.1.4.4")
"""SOP classes of multi-frame MR: enhanced, and legacy converted."""

CLASSIC = "1.2.840.10008.5.1.4.1.1.4"

_SERIES_TAGS = (
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "SeriesNumber", "SeriesDescription"),
    *("ProtocolName", "Modality", "ImageType", "PatientName", "PatientID", "OtherPatientIDs", "OtherPatientNames"),
    *("PatientBirthName", "PatientBirthDate", "AccessionNumber", "PatientIdentityRemoved", "PhotometricInterpretation"),
)
_SLICE_TAGS = (
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "EchoTime", "TemporalPositionIdentifier"),
    *("DiffusionBValue", "AcquisitionNumber", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
    *("FrameOfReferenceUID", "ImagesInAcquisition", "ConcatenationUID", "InConcatenationTotalNumber"),
)
_IDENTITY = (
    *("PatientName", "PatientID", "OtherPatientIDs", "OtherPatientNames", "PatientBirthName", "PatientBirthDate"),
    "AccessionNumber",
)
_MAX_UNIT_ERROR = 1e-3  # of the length of a direction, and of the cosine between the two


@dataclass(frozen=True)
class Slice:
    """One plane of pixels; positions and directions in DICOM's LPS+ frame, in mm.

    Args:
        frame: its number in the file, from 0.
        position: centre of the first pixel.
        orientation: direction along a row, then along a column; unit vectors.
        spacing_mm: between rows, between columns.
        shape: rows, columns.
        keys: values of `KEYS`; empty where not stated.
        frame_of_reference: UID of the coordinates that the position is in.
    """

    path: Path
    frame: int
    position: tuple[float, ...]
    orientation: tuple[float, ...]
    spacing_mm: tuple[float, ...]
    shape: tuple[int, int]
    keys: tuple[str, ...]
    frame_of_reference: str

    def key(self, name: str) -> str:
        """Value of one of `KEYS`."""
        return self.keys[KEYS.index(name)]


@dataclass(frozen=True)
class DicomFile:
    """One instance.

    Args:
        uid, study, series: SOP, study and series instance UIDs.
        number, description, modality: of the series.
        image_type: its values, in upper case, those of the frames included.
        identity: words by which the patient could be recognised, in lower case; none if the file says that it has been
            de-identified.
        has_pixels: whether the object has an image at all.
        slices: empty if there is a `problem`.
        problem: why it has no usable slices, as the end of a sentence that begins with the series.
        damage: one line on how the file ends too early, or "".
        acquisition: its number.
        num_in_acquisition: how many images it says that its acquisition has; 0 if it does not.
        concatenation: UID of a multi-frame image of which this file is a part, and of how many; or "" and 0.
        stamp: changes when the file does.
    """

    path: Path
    uid: str
    study: str
    series: str
    number: str
    description: str
    modality: str
    sop_class: str
    image_type: tuple[str, ...]
    identity: frozenset[str]
    has_pixels: bool
    slices: tuple[Slice, ...]
    problem: str
    damage: str
    acquisition: str
    num_in_acquisition: int
    concatenation: tuple[str, int]
    stamp: tuple[int, int]

    @property
    def is_mr(self) -> bool:
        """Whether it is of a class of MR images."""
        return self.sop_class in (CLASSIC, *ENHANCED)


def read_file(path: Path) -> DicomFile | None:
    """Describe a DICOM file; None for a DICOMDIR.

    Raises:
        InputError: it cannot be parsed; a missing element becomes a `problem`, missing pixels `damage`.
    """
    found = read_header(path, [*_SERIES_TAGS, *_SLICE_TAGS, *PART_TAGS])
    return None if found is None else _describe(path, found)


def _describe(path: Path, found: Header) -> DicomFile:
    header = found.elements
    with reading_dicom(show_path(path)):
        problem = ""
        try:
            slices = _slices(found, path)
        except InputError as error:
            slices, problem = [], str(error)
        identity: frozenset[str] = frozenset()
        if _text(header, "PatientIdentityRemoved").upper() != "YES":
            words = (word for tag in _IDENTITY for word in re.split(r"[\W_]+", _text(header, tag).casefold()))
            identity = frozenset(word for word in words if len(word) > 1)
        types = [*_texts(header, "ImageType"), *(kind for each in slices for kind in each.key("type").split("\\"))]
        status = path.stat()
        return DicomFile(
            path=path,
            uid=_text(header, "SOPInstanceUID"),
            study=_text(header, "StudyInstanceUID"),
            series=_text(header, "SeriesInstanceUID"),
            number=_text(header, "SeriesNumber"),
            description=_text(header, "SeriesDescription") or _text(header, "ProtocolName"),
            modality=_text(header, "Modality"),
            sop_class=_text(header, "SOPClassUID") or _text(header.file_meta, "MediaStorageSOPClassUID"),
            image_type=tuple(dict.fromkeys(kind.upper() for kind in types if kind)),
            identity=identity,
            has_pixels=found.has_pixels,
            slices=tuple(slices),
            problem=problem,
            damage=found.damage,
            acquisition=_text(header, "AcquisitionNumber"),
            num_in_acquisition=_whole(header, "ImagesInAcquisition"),
            concatenation=(_text(header, "ConcatenationUID"), _whole(header, "InConcatenationTotalNumber")),
            stamp=(status.st_size, status.st_mtime_ns),
        )


def _slices(read: Header, path: Path) -> list[Slice]:
    header = read.elements
    if _text(header, "SOPClassUID") not in (CLASSIC, *ENHANCED):
        return []  # the series is refused because of its SOP class
    shape = (0, 0)
    if read.has_pixels:
        if header.get("SamplesPerPixel") != 1 or _text(header, "PhotometricInterpretation") != "MONOCHROME2":
            raise InputError("must hold grey values (MONOCHROME2), got others")
        shape = (_count(header, "Rows", path), _count(header, "Columns", path))
    if _text(header, "SOPClassUID") == CLASSIC:
        return [_slice(header, (), path, 0, shape)]
    shared = _items(header, "SharedFunctionalGroupsSequence")
    frames = _items(header, "PerFrameFunctionalGroupsSequence")
    if len(frames) != _count(header, "NumberOfFrames", path):
        found = f"{len(frames)} descriptions for {header.NumberOfFrames} in {show_path(path)}"
        raise InputError(f"must describe each of its frames, got {found}")
    return [_slice(header, (frame, *shared[:1]), path, k, shape) for k, frame in enumerate(frames)]


def _find(header: Any, groups: Sequence[Any], tag: str, *sequences: str) -> tuple[Any, str]:
    """The dataset that holds an element, and its keyword; sequences are tried in the groups.

    The groups of a frame are its own functional groups, then the shared ones; a classic image has none.
    """
    items = (_items(group, sequence)[:1] for group in groups for sequence in sequences)
    holders = [item for first in items for item in first if tag in item]
    return (holders[0] if holders else {} if groups else header), tag


def _slice(header: Any, groups: Sequence[Any], path: Path, frame: int, shape: tuple[int, int]) -> Slice:
    find = partial(_find, header, groups)
    place = _numbers(*find("ImagePositionPatient", "PlanePositionSequence"), count=3, path=path)
    sides = _numbers(*find("ImageOrientationPatient", "PlaneOrientationSequence"), count=6, path=path)
    spacing = _numbers(*find("PixelSpacing", "PixelMeasuresSequence"), count=2, path=path)
    lengths = math.hypot(*sides[:3]), math.hypot(*sides[3:])
    cosine = sum(a * b for a, b in zip(sides[:3], sides[3:], strict=True))
    if max(abs(lengths[0] - 1), abs(lengths[1] - 1), abs(cosine)) > _MAX_UNIT_ERROR:
        rule = "must have two directions at right angles in ImageOrientationPatient"
        raise InputError(f"{rule}, got others in {show_path(path)}")
    if min(spacing) <= 0:
        raise InputError(f"must have a positive PixelSpacing, got another in {show_path(path)}")
    echo = "EffectiveEchoTime" if groups else "EchoTime"
    time = "TemporalPositionIndex" if groups else "TemporalPositionIdentifier"
    image_type = _texts(*find("FrameType" if groups else "ImageType", "MRImageFrameTypeSequence"))
    component = _text(*find("ComplexImageComponent", "MRImageFrameTypeSequence"))
    number = "FrameAcquisitionNumber" if groups else "AcquisitionNumber"
    return Slice(
        path=path,
        frame=frame,
        position=place,
        orientation=tuple(value / lengths[k // 3] for k, value in enumerate(sides)),
        spacing_mm=spacing,
        shape=shape,
        keys=(
            _text(*find(echo, "MREchoSequence")),
            _text(*find(time, "FrameContentSequence")),
            part_of(header, image_type, component),
            "\\".join(image_type),
            _text(*find("DiffusionBValue", "MRDiffusionSequence")),
            _text(*find("StackID", "FrameContentSequence")),
            _text(*find(number, "FrameContentSequence")),
        ),
        frame_of_reference=_text(header, "FrameOfReferenceUID"),
    )


def _items(group: Any, keyword: str) -> Sequence[Any]:
    return group.get(keyword) or []


def _text(group: Any, keyword: str) -> str:
    return " ".join(_texts(group, keyword))


def _texts(group: Any, keyword: str) -> list[str]:
    value = group.get(keyword)
    values = value if isinstance(value, list) or type(value).__name__ == "MultiValue" else [value]
    return [" ".join(str(each).split()) for each in values if each is not None and str(each).strip()]


def _numbers(group: Any, keyword: str, *, count: int, path: Path) -> tuple[float, ...]:
    value = group.get(keyword)
    try:
        numbers = tuple(float(each) for each in value or ())
    except (TypeError, ValueError):
        numbers = (math.nan,)
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        found = "another value" if numbers else "none"
        raise InputError(f"must have {count} numbers as {keyword}, got {found} in {show_path(path)}")
    return numbers


def _count(header: Any, keyword: str, path: Path) -> int:
    if (number := _whole(header, keyword)) < 1:
        raise InputError(f"must have a positive {keyword}, got none in {show_path(path)}")
    return number


def _whole(header: Any, keyword: str) -> int:
    """A whole number; 0 if there is none."""
    try:
        return int(header.get(keyword) or 0)
    except (TypeError, ValueError):
        return 0
