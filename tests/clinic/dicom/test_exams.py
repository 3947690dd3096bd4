"""Exams in a folder: their objects without pixels, and whose problem a problem is."""

import gzip
from pathlib import Path

import pytest
from custom_components.errors import InputError
from support.dicom_exams import beside, in_place, numbered, oblique, only_exam, save, series

from multijoint.clinic.dicom.exams import find_exams
from multijoint.clinic.dicom.series import choose_series, format_exam
from multijoint.phantoms.dicom_exams import classic_series

CLASSES = {
    "Raw Data": "1.2.840.10008.5.1.4.1.1.66",
    "MR Spectroscopy": "1.2.840.10008.5.1.4.1.1.4.2",
    "Grayscale Softcopy Presentation State": "1.2.840.10008.5.1.4.1.1.11.1",
    "Key Object Selection Document": "1.2.840.10008.5.1.4.1.1.88.59",
    "Basic Text SR": "1.2.840.10008.5.1.4.1.1.88.11",
    "Encapsulated PDF": "1.2.840.10008.5.1.4.1.1.104.1",
    "12-lead ECG Waveform": "1.2.840.10008.5.1.4.1.1.9.1.1",
    "MR Image": "1.2.840.10008.5.1.4.1.1.4",
    "Enhanced MR Image": "1.2.840.10008.5.1.4.1.1.4.1",
    "unknown object": "1.3.46.670589.11.0.0.12.1",
}


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("same_series", [False, True])
def test_an_object_without_pixels_costs_nothing(kind: str, same_series: bool, tmp_path: Path) -> None:
    images = series()
    own = {"SeriesInstanceUID": images[0].SeriesInstanceUID, "SeriesNumber": 2} if same_series else {}
    sizes = {"Rows": 1, "Columns": 1, "NumberOfFrames": 1, "BitsAllocated": 16, "SamplesPerPixel": 1}
    exam = only_exam(save(tmp_path / "test", [*images, beside(images, CLASSES[kind], **own, **sizes)]))
    assert [(each.key, each.verdict, len(each.files)) for each in exam.series] == [("2", "usable", 6)]
    assert choose_series(exam) is choose_series(exam, "2")
    assert f"left aside: 1 {kind}; without pixels" in format_exam(exam)


def test_they_are_counted_in_one_line_also_from_a_study_of_their_own(tmp_path: Path) -> None:
    images = series()
    more = [beside(images, CLASSES[kind]) for kind in ("Raw Data", "Raw Data", "Basic Text SR")]
    more[2].StudyInstanceUID = "1.2.3"
    exam = only_exam(save(tmp_path / "test", [*more, *images]))
    assert format_exam(exam).splitlines()[-1] == "  left aside: 1 Basic Text SR, 2 Raw Data; without pixels"


def test_an_exam_of_nothing_else_says_so(tmp_path: Path) -> None:
    exam = only_exam(save(tmp_path / "test", [beside(series(), CLASSES["Raw Data"])]))
    with pytest.raises(InputError, match=r"must have a usable MR series, got none \(1 Raw Data; without pixels\)"):
        choose_series(exam)
    assert "1 Raw Data" in format_exam(exam)


def test_the_header_of_a_slice_that_is_nowhere_else_refuses_its_series(tmp_path: Path) -> None:
    images = in_place(series())
    del images[-1].PixelData
    more = classic_series(numbered(), oblique(), name="test", number=5)
    exam = only_exam(save(tmp_path / "test", [*images, *more]))
    with pytest.raises(InputError, match="DICOM file IM0005 must have pixels, got a header alone; copy it again"):
        choose_series(exam)
    with pytest.raises(InputError, match="series 2 of exam test must be readable as a whole, got: DICOM file IM0005"):
        choose_series(exam, "2")
    assert choose_series(exam, "5").key == "5"


def test_a_screenshot_under_the_uid_of_the_images_is_a_series_of_its_own(tmp_path: Path) -> None:
    images = series()
    uid = images[0].SeriesInstanceUID
    pixels = {"Rows": 4, "Columns": 4, "BitsAllocated": 8, "SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}
    capture = beside(images, "1.2.840.10008.5.1.4.1.1.7", **pixels, SeriesInstanceUID=uid, SeriesNumber=2)
    capture.PixelData = bytes(48)
    exam = only_exam(save(tmp_path / "test", [capture, *images]))
    assert [(each.key, each.verdict) for each in exam.series] == [("2", "usable"), ("2-2", "refused")]
    assert choose_series(exam) is choose_series(exam, str(uid))


@pytest.mark.parametrize("cut", [20, 200])
def test_a_file_that_was_cut_short_refuses_its_own_series(cut: int, tmp_path: Path) -> None:
    """The rest of the exam can be taken if it is named: nobody else knows that it was meant."""
    more = classic_series(numbered(), oblique(), name="test", number=5)
    folder = save(tmp_path / "test", [*series(), *more])
    path = folder / "IM0002"
    path.write_bytes(path.read_bytes()[:-cut])
    exam = only_exam(folder)
    assert [(each.key, each.verdict) for each in exam.series] == [("2", "refused"), ("5", "usable")]
    with pytest.raises(InputError, match=r"exam test must be readable as a whole, got: DICOM file IM0002 .*--series$"):
        choose_series(exam)
    with pytest.raises(InputError, match="series 2 of exam test must be readable as a whole, got: DICOM file IM0002"):
        choose_series(exam, "2")
    assert choose_series(exam, "5").key == "5"
    assert "unreadable: DICOM file IM0002 must be whole" in format_exam(exam)


def test_studies_of_several_exams_keep_their_problems_apart(tmp_path: Path) -> None:
    for name in ("a", "b"):
        folder = save(tmp_path / name, classic_series(numbered(), oblique(), name=name))
    path = folder / "IM0001"
    path.write_bytes(path.read_bytes()[:300])  # not even the header
    exams = {exam.name: exam for exam in find_exams(tmp_path)}
    assert choose_series(exams["a"]).key == "2"
    with pytest.raises(InputError, match="exam b must be readable as a whole"):
        choose_series(exams["b"])


def test_many_unreadable_files_are_counted(tmp_path: Path) -> None:
    folder = save(tmp_path / "test", series())
    for path in folder.iterdir():
        path.rename(path.with_suffix(".dcm.gz"))
        path.with_suffix(".dcm.gz").write_bytes(gzip.compress(path.with_suffix(".dcm.gz").read_bytes()))
    exam = only_exam(folder)
    assert format_exam(exam).splitlines()[-1] == "  unreadable: 1 more"
    with pytest.raises(InputError, match=r"IM000.\.dcm\.gz must not be packed, .* and 5 more$"):
        choose_series(exam, "2")
