"""Which series of an exam is taken, and the reason for every other."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from custom_components.errors import InputError
from support.dicom_exams import changed, numbered, oblique, only_exam, save, series

from multijoint.clinic.dicom.series import choose_series, format_exam
from multijoint.phantoms.dicom_exams import classic_series, write_exam


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
    for number, kind in enumerate((["DERIVED", "SECONDARY", "M"], ["ORIGINAL", "PRIMARY", "P"])):
        exam = only_exam(save(tmp_path / str(number), changed(other("ImageType", kind))))
        with pytest.raises(InputError, match="name one with --series"):
            choose_series(exam)
        assert choose_series(exam, "2").verdict == "on request"


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
    assert [line[:4] for line in format_exam(exam, chosen).splitlines()[2:]] == ["  1 ", "* 2 ", "  3 "]


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
