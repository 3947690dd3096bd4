"""Which series of an exam is taken, and the reason for every other."""

import re
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from custom_components.errors import InputError
from custom_components.io.geometry import to_canonical
from pydicom.dataset import Dataset
from support.dicom_exams import changed, numbered, oblique, only_exam, save, series

from multijoint.clinic.dicom.export import read_series
from multijoint.clinic.dicom.series import choose_series, format_exam
from multijoint.phantoms.dicom_exams import classic_series, enhanced_file, write_exam


def reason_of(folder: Path, images: list[Any]) -> str:
    """Why a series is not taken."""
    exam = only_exam(save(folder, images))
    with pytest.raises(InputError) as raised:
        choose_series(exam)
    assert str(raised.value).startswith("exam test must have a usable MR series, got none (series 2 must")
    return exam.series[0].reason


def without(index: int) -> Callable[[list[Any]], Any]:
    return lambda images: images[:index] + images[index + 1 :]


def twice(images: list[Any]) -> None:
    images[3].ImagePositionPatient = images[2].ImagePositionPatient


def uneven(images: list[Any]) -> None:
    here, there = (np.array(images[k].ImagePositionPatient, float) for k in (3, 4))
    images[3].ImagePositionPatient = list(here + 0.1 * (there - here))


def shifted(images: list[Any]) -> None:
    place, along = (
        np.array(images[3][name].value, float) for name in ("ImagePositionPatient", "ImageOrientationPatient")
    )
    images[3].ImagePositionPatient = list(place + 0.2 * along[:3])


def turned(images: list[Any]) -> None:
    sides = images[3].ImageOrientationPatient
    images[3].ImageOrientationPatient = [*sides[3:], *sides[:3]]


def in_another_frame(images: list[Any]) -> None:
    for image in images[3:]:
        image.FrameOfReferenceUID = "1.2.3"


def repeated(images: list[Any], times: int) -> list[Any]:
    """Each image several times, as a time series that does not say when."""
    copies = [deepcopy(image) for _ in range(times) for image in images]
    for number, image in enumerate(copies, 1):
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number}"
        image.InstanceNumber = number
    return copies


def mixed_spacing(images: list[Any]) -> None:
    images[3].PixelSpacing = [2.0, 2.0]


def other(keyword: str, value: Any) -> Callable[[list[Any]], None]:
    def change(images: list[Any]) -> None:
        for image in images:
            setattr(image, keyword, value)

    return change


def lacking(keyword: str) -> Callable[[list[Any]], None]:
    return lambda images: delattr(images[3], keyword)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (without(3), "must be complete, got 1 missing, first between slices 3 and 4"),
        (twice, "must have one slice at a place, got two at slice"),
        (uneven, "must have equally spaced slices, got gaps from"),
        (shifted, r"must have slices behind one another, got some shifted by up to 0\.2 mm"),
        (turned, "must"),
        (mixed_spacing, "must have one pixel spacing, got several"),
        (lambda images: images[:4], "must have at least 5 slices, got 4"),
        (other("Modality", "CT"), "must have modality MR, got CT"),
        (other("ImageType", ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]), "must have one slice an image, got mosaics"),
        (in_another_frame, "must have one frame of reference, got 2, whose positions cannot be compared"),
        (
            lambda images: repeated(images, 3),
            r"must have one slice at a place, got up to 3 at each of 6 places .a time",
        ),
        (lambda images: repeated(images, 3)[:-2], "must have one slice at a place, got up to 3 at each of 6 places"),
        (other("ImageType", ["ORIGINAL", "PRIMARY", "LOCALIZER"]), "must be a volume, got a localiser"),
        (other("PhotometricInterpretation", "MONOCHROME1"), "must hold grey values"),
        (lacking("ImagePositionPatient"), "must have 3 numbers as ImagePositionPatient, got none in IM0003"),
        (lacking("PixelSpacing"), "must have 2 numbers as PixelSpacing, got none"),
        (other("ImageOrientationPatient", [1, 0, 0, 1, 0, 0]), "must have two directions at right angles"),
    ],
)
def test_refused_with_the_reason(change: Callable[[list[Any]], Any], reason: str, tmp_path: Path) -> None:
    assert re.match(reason, reason_of(tmp_path / "test", changed(change)))


def test_what_is_derived_or_no_magnitude_is_taken_when_named(tmp_path: Path) -> None:
    def by_ge(images: list[Any]) -> None:
        for image in images:
            image.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
            image.private_block(0x0043, "GEMS_PARM_01", create=True).add_new(0x2F, "SS", 2)

    changes = {
        "is derived from other images": other("ImageType", ["DERIVED", "SECONDARY", "M"]),
        "is a phase, not a magnitude": other("ImageType", ["ORIGINAL", "PRIMARY", "P"]),
        "is an imaginary part, not a magnitude": other("ComplexImageComponent", "IMAGINARY"),
        "is a real part, not a magnitude": by_ge,
    }
    for number, (reason, change) in enumerate(changes.items()):
        exam = only_exam(save(tmp_path / str(number), changed(change)))
        with pytest.raises(InputError, match=f"{reason}.; name one with --series"):
            choose_series(exam)
        assert choose_series(exam, "2").verdict == "on request"


@pytest.mark.parametrize("where", ["frame", "file"])
def test_parts_of_enhanced_images(where: str, tmp_path: Path) -> None:
    image = enhanced_file(numbered(), oblique(), name="test")
    holder = image.SharedFunctionalGroupsSequence[0].MRImageFrameTypeSequence[0] if where == "frame" else image
    holder.ComplexImageComponent = "PHASE"
    exam = only_exam(save(tmp_path / "test", [image]))
    assert [(each.kind, each.verdict) for each in exam.series] == [("MR enhanced phase", "on request")]


def test_a_mixed_file_is_two_stacks(tmp_path: Path) -> None:
    image = enhanced_file(numbered(), oblique(), name="test")
    magnitudes = list(image.PerFrameFunctionalGroupsSequence)
    del image.SharedFunctionalGroupsSequence[0].MRImageFrameTypeSequence
    frames = []
    for part in ("MAGNITUDE", "PHASE"):
        for frame in deepcopy(magnitudes):
            kind = Dataset()
            kind.FrameType, kind.ComplexImageComponent = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"], part
            frame.MRImageFrameTypeSequence = [kind]
            frames.append(frame)
    image.PerFrameFunctionalGroupsSequence, image.NumberOfFrames = frames, len(frames)
    image.ComplexImageComponent = "MIXED"
    image.PixelData += bytes(len(image.PixelData))
    exam = only_exam(save(tmp_path / "test", [image]))
    assert [(each.key, each.verdict, each.stack.keys) for each in exam.series] == [
        ("2.1", "usable", "magnitude"),
        ("2.2", "on request", "phase"),
    ]
    voxels, affine = read_series(choose_series(exam))
    np.testing.assert_array_equal(to_canonical(voxels, affine), to_canonical(numbered(), oblique()))
    assert not read_series(choose_series(exam, "2.2"))[0].any()


def test_a_remedy_fits_its_reason(tmp_path: Path) -> None:
    remedies = {
        "give an MR exam": other("Modality", "CT"),
        "convert it with dcm2niix and give the NIfTI file": other("ImageType", ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]),
        "export one time point": lambda images: repeated(images, 2),
        "export it again": without(3),
    }
    for number, (remedy, change) in enumerate(remedies.items()):
        exam = only_exam(save(tmp_path / str(number), changed(change)))
        for wanted in (None, "2"):
            with pytest.raises(InputError, match=f"; {remedy}$"):
                choose_series(exam, wanted)


def test_fewer_images_than_announced_are_warned_of(tmp_path: Path) -> None:
    def text(name: str, change: Callable[[list[Any]], Any]) -> str:
        exam = only_exam(save(tmp_path / name, changed(change)))
        assert choose_series(exam).verdict == "usable"
        return format_exam(exam)

    def announced(images: list[Any]) -> list[Any]:
        other("ImagesInAcquisition", 7)(images)
        return images[:5]

    assert "warning: series 2 has 5 of the 7 images of an acquisition (ImagesInAcquisition)" in text("few", announced)
    assert "warning" not in text("all", other("ImagesInAcquisition", 6))
    assert "warning" not in text("unsaid", lambda images: images[:5])


def test_a_multi_frame_image_in_several_files_must_have_all(tmp_path: Path) -> None:
    voxels, affine = numbered(), oblique()
    parts = []
    for start in (0, 3):
        moved = affine.copy()
        moved[:3, 3] += affine[:3, 2] * start
        part = enhanced_file(voxels[:, :, start : start + 3], moved, name="test")
        part.SOPInstanceUID = part.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{start}"
        part.ConcatenationUID, part.InConcatenationTotalNumber = "1.2.3", 2
        parts.append(part)
    found = read_series(choose_series(only_exam(save(tmp_path / "all", parts))))
    np.testing.assert_array_equal(to_canonical(*found), to_canonical(voxels, affine))
    with pytest.raises(InputError, match="series 2 must be complete, got 1 of 2 files of a multi-frame image"):
        choose_series(only_exam(save(tmp_path / "some", parts[:1])))


def test_an_empty_key_is_said_to_be_none(tmp_path: Path) -> None:
    images = repeated(series(), 2)
    for image in images[:6]:
        image.DiffusionBValue = 800.0
    exam = only_exam(save(tmp_path / "test", images))
    assert sorted(each.stack.keys for each in exam.series) == ["b-value 800.0", "no b-value"]


def test_one_of_several_must_be_named(tmp_path: Path) -> None:
    more = classic_series(numbered(), oblique(), name="test", number=5, description="T2")
    exam = only_exam(save(tmp_path / "test", [*series(), *more]))
    with pytest.raises(InputError, match="exam test must have one usable series, got 2 and 5; name one with --series"):
        choose_series(exam)
    assert choose_series(exam, "5").description == "T2"
    assert choose_series(exam, str(more[0].SeriesInstanceUID)).key == "5"
    with pytest.raises(InputError, match="series of exam test must be one of 2, 5, got '7'"):
        choose_series(exam, "7")


def test_echoes_are_told_apart(tmp_path: Path) -> None:
    both = series() + series()
    for number, image in enumerate(both):
        image.EchoTime = 5 if number < len(both) // 2 else 10
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number}"
    exam = only_exam(save(tmp_path / "test", both))
    assert [each.key for each in exam.series] == ["2.1", "2.2"]
    assert "echo 5" in exam.series[0].description


def test_the_exam_of_a_phantom(tmp_path: Path) -> None:
    write_exam(tmp_path / "ankle_000", numbered(), oblique(), name="x")
    exam = only_exam(tmp_path / "ankle_000")
    assert (exam.name, exam.num_others) == ("ankle_000", 1)
    assert [(each.key, each.verdict) for each in exam.series] == [("1", "refused"), ("2", "usable"), ("3", "refused")]
    chosen = choose_series(exam)
    assert chosen.key == "2"
    *rows, last = format_exam(exam, chosen).splitlines()[2:]
    assert [row[:4] for row in rows] == ["  1 ", "* 2 ", "  3 "]
    assert last == "  passed over: 1 file that is not DICOM"


def test_a_file_that_was_cut_short_refuses_the_exam(tmp_path: Path) -> None:
    folder = save(tmp_path / "test", series())
    path = folder / "IM0002"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match="exam test must be readable as a whole, got: DICOM file IM0002 must be whole"):
        choose_series(only_exam(folder))


def test_an_exam_named_after_its_patient_is_not_called_so(tmp_path: Path) -> None:
    exam = only_exam(save(tmp_path / "nobody_kim", series()))
    assert exam.name.startswith("exam_")
    assert "nobody" not in format_exam(exam).lower()
