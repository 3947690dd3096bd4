"""A label map as a DICOM segmentation: coded bones on the slices they were found in."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import custom_components
import numpy as np
from custom_components.domains import bone_color
from custom_components.errors import InputError, needs_extra, show_path
from custom_components.io.geometry import spacing_of
from custom_components.io.records import read_names, read_record
from custom_components.io.volumes import read_label
from custom_components.system.files import write_atomically

from multijoint.clinic.dicom.bone_codes import PRIVATE_SCHEME, find_code
from multijoint.clinic.dicom.files import read_dataset, read_header, reading_dicom
from multijoint.clinic.dicom.series import Series
from multijoint.clinic.dicom.slices import ENHANCED

# Elements that the SEG copies from the images; a scanner's export may lack them.
_EMPTY_IF_MISSING = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime"),
    *("AccessionNumber", "ReferringPhysicianName", "PositionReferenceIndicator"),
)
_MAX_SERIES_NUMBER = 2**31 - 1


def check_highdicom() -> None:
    """Raise an `InputError` if highdicom is not installed."""
    with needs_extra("--dicom-seg", "clinic"):
        import highdicom  # noqa: F401


def write_dicom_seg(path: Path, label_map: Path, series: Series) -> list[str]:
    """Write a DICOM SEG of a label map, one segment a bone, with references to the images it was made from.

    Segments are numbered from 1 in the order of the label values; one of which there is no voxel is empty. All have a
    frame for each slice, so that a reader gets the whole grid back. Their codes are those of `find_code`. The frame of
    reference, study and patient are those of the images. The same label map and images give the same SOP instance UID,
    and a file that has it already stays. The label map is on the grid of the series, its record next to it.

    Returns:
        Notes, each a line: bones without a voxel, labels that have no SNOMED CT code here.

    Raises:
        InputError: no bone at all, or images that lack elements a SEG needs, such as a frame of reference.
    """
    import highdicom
    from pydicom.uid import generate_uid

    record = read_record(label_map)
    labels = read_label(label_map).array
    names = read_names(label_map)
    values = sorted(names)
    present = set(np.unique(labels).tolist()) & set(values)
    case = label_map.name
    if not present:
        raise InputError(f"label map {case} must have a bone to make a DICOM SEG of, got none; no SEG is written")
    sources = _sources(series)
    if not sources[0].get("FrameOfReferenceUID"):
        rule = f"images of {case} must state a FrameOfReferenceUID for a DICOM SEG, got none"
        raise InputError(f"{rule}; no SEG is written")
    number = int(series.files[0].number) if series.files[0].number.isdecimal() else 0
    codes = {value: find_code(names[value], domain=str(record.get("domain", ""))) for value in values}
    number_of = np.zeros(256, np.uint8)
    number_of[values] = range(1, len(values) + 1)
    digest = str(record["label_map_sha256"])
    entropy = [series.uid, series.key, digest, str(record), custom_components.__version__]
    uid = generate_uid(entropy_srcs=[*entropy, "instance"])
    missing = [names[value] for value in values if value not in present]
    notes = [f"{path.name} has an empty segment: no voxel is {name}" for name in missing]
    private = [names[value] for value in values if codes[value].scheme == PRIVATE_SCHEME]
    notes += [f"{path.name} has a private code for {name}: no SNOMED CT code is known for it" for name in private]
    if path.is_file() and _uid_of(path) == uid:
        return notes
    wrong = f"images of {case} must have what a DICOM SEG takes from them, got some that have not; no SEG is written"
    with reading_dicom(case, otherwise=wrong):
        segmentation = highdicom.seg.Segmentation(
            source_images=sources,
            pixel_array=np.ascontiguousarray(number_of[labels].transpose(2, 1, 0)),
            segmentation_type="BINARY",
            segment_descriptions=[
                _description(place, names[value], codes[value], record) for place, value in enumerate(values, 1)
            ],
            series_instance_uid=generate_uid(entropy_srcs=[*entropy, "series"]),
            # far from the scanner's own
            series_number=min(100 * number + 1 if number else 9001, _MAX_SERIES_NUMBER),
            sop_instance_uid=uid,
            instance_number=1,
            manufacturer="multijoint",
            manufacturer_model_name="multijoint",
            software_versions=custom_components.__version__,
            device_serial_number=str(record.get("model_sha256") or "unknown")[:16],
            content_label="BONES",
            content_creator_name="multijoint",
            omit_empty_frames=False,
            content_description="Bones segmented by multijoint; research only",
            series_description="Bone segmentation (research only)",
        )
        for group in segmentation.PerFrameFunctionalGroupsSequence if series.files[0].sop_class in ENHANCED else ():
            for derivation in group.get("DerivationImageSequence") or ():
                for source in derivation.SourceImageSequence:  # a frame of the file, not of the header cut down
                    place = int(source.ReferencedFrameNumber) - 1
                    source.ReferencedFrameNumber = series.stack.slices[place].frame + 1
        buffer = io.BytesIO()
        segmentation.save_as(buffer, enforce_file_format=True)
    write_atomically(path, buffer.getvalue())
    return notes


def _uid_of(path: Path) -> str:
    """SOP instance UID of a file that was written before; nothing if it cannot be read."""
    try:
        header = read_header(path, ["SOPInstanceUID"])
    except (InputError, OSError):
        return ""
    return "" if header is None or header.damage else str(header.elements.get("SOPInstanceUID", ""))


def _sources(series: Series) -> list[Any]:
    """Headers of the images in the order of the stack; or one of the multi-frame file, cut down to the stack's frames.

    highdicom compares directions and spacings as text and wants them shared: here the first slice speaks for all, as in
    the volume.
    """
    slices = series.stack.slices
    paths = list(dict.fromkeys(each.path for each in slices))
    is_enhanced = series.files[0].sop_class in ENHANCED
    if is_enhanced and len(paths) > 1:
        rule = f"series {series.key} must be one multi-frame file for a DICOM SEG, got {len(paths)}"
        raise InputError(f"{rule}; no SEG is written")
    headers: list[Any] = []
    for path in paths:
        with reading_dicom(show_path(path)) as pydicom:
            header = read_dataset(pydicom, path, stop_before_pixels=True)
            for keyword in _EMPTY_IF_MISSING:
                if keyword not in header:
                    setattr(header, keyword, "")
            if is_enhanced:
                _cut_down(header, [each.frame for each in slices])
            else:
                header.ImageOrientationPatient = (headers or [header])[0].ImageOrientationPatient
                header.PixelSpacing = (headers or [header])[0].PixelSpacing
                if not header.get("SliceThickness") and series.stack.affine is not None:
                    header.SliceThickness = spacing_of(series.stack.affine)[2]
        headers.append(header)
    return headers


def _cut_down(header: Any, frames: Sequence[int]) -> None:
    """Leave some frames of a multi-frame header, in this order, with one orientation and one spacing for all."""
    from pydicom.dataset import Dataset

    per_frame = [header.PerFrameFunctionalGroupsSequence[frame] for frame in frames]
    given, shared = header.get("SharedFunctionalGroupsSequence") or [Dataset()], Dataset()
    for keyword in ("PlaneOrientationSequence", "PixelMeasuresSequence"):
        setattr(shared, keyword, getattr(per_frame[0] if keyword in per_frame[0] else given[0], keyword))
    for group in per_frame:
        for keyword in ("PlaneOrientationSequence", "PixelMeasuresSequence"):
            if keyword in group:
                delattr(group, keyword)
    header.SharedFunctionalGroupsSequence, header.PerFrameFunctionalGroupsSequence = [shared], per_frame
    header.NumberOfFrames = len(per_frame)


def _description(number: int, name: str, code: Any, record: Mapping[str, Any]) -> Any:
    import highdicom
    from pydicom.sr.codedict import codes

    description = highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=name[:64],
        segmented_property_category=codes.SCT.AnatomicalStructure,
        segmented_property_type=highdicom.sr.CodedConcept(code.value, code.scheme, code.meaning),
        algorithm_type="AUTOMATIC",
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name="multijoint",
            family=codes.DCM.ArtificialIntelligence,
            version=custom_components.__version__,
            source="multijoint",
            parameters={key: str(record[key]) for key in ("domain", "model_sha256") if record.get(key)},
        ),
        display_color=highdicom.color.CIELabColor.from_string(bone_color(number)),
    )
    if code.side is not None:
        side = highdicom.sr.CodedConcept(code.side[0], "SCT", code.side[1])
        description.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [side]
    return description
