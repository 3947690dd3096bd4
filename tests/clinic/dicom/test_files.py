"""What is taken for DICOM, and what its header says."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from custom_components.errors import InputError
from pydicom.data import get_testdata_file
from support.dicom_exams import beside, numbered, oblique, only_exam, only_series, save, save_bare, series

from multijoint.clinic.dicom.export import read_series
from multijoint.clinic.dicom.files import find_dicom_files, is_dicom, read_header
from multijoint.clinic.dicom.series import choose_series
from multijoint.phantoms.dicom_exams import classic_series


@pytest.mark.parametrize("implicit", [True, False])
def test_files_without_preamble_are_read(implicit: bool, tmp_path: Path) -> None:
    """Also next to others, of which they may be the last slices."""
    images = series()
    voxels, affine = read_series(only_series(save(tmp_path / "usual", images)))
    for name, usual in (("all", 0), ("some", 3)):
        folder = tmp_path / name
        save(folder, images[:usual])
        save_bare(folder, images[usual:], implicit=implicit, first=usual)
        found = read_series(only_series(folder))
        np.testing.assert_array_equal(found[0], voxels)
        np.testing.assert_array_equal(found[1], affine)


def test_other_bytes_are_no_dicom(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number, begin in enumerate(
        (b"", b"\x08\0", b"\x08\0\x16\0", b"\x08\0\x05\0CS\x0a\0", b"\2\0\0\0UL", b"\0\x08")
    ):
        path = tmp_path / f"file{number}"
        path.write_bytes(begin + rng.bytes(3000))
        assert not is_dicom(path), begin
    (tmp_path / "text").write_text("DICOM" * 50)
    (tmp_path / "scan.nii.gz").write_bytes(gzip.compress(bytes(128) + b"DICM"))
    (tmp_path / "._IM0001.dcm").write_bytes(b"of a Macintosh")
    found, others = find_dicom_files(tmp_path)
    assert (found, len(others)) == ([], 9)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "IM.dcm.gz",
            gzip.compress(bytes(128) + b"DICM" + bytes(900)),
            "must not be packed, got a gzip file; unpack it",
        ),
        ("IM", gzip.compress(bytes(128) + b"DICM" + bytes(900)), "must not be packed, got a gzip file; unpack it"),
        ("IM.dcm", b"", "must hold DICOM, got 0 other bytes; copy it again"),
        ("IM", bytes(500), "must hold DICOM, got 500 other bytes; copy it again"),
        ("IM.IMA", b"<html>", "must hold DICOM, got 6 other bytes; copy it again"),
    ],
    ids=["dcm.gz", "gzip", "empty", "zeros", "html"],
)
def test_what_should_be_dicom_is_not_passed_over(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    folder = save(tmp_path / "test", [*series(), *classic_series(numbered(), oblique(), name="test", number=5)])
    (folder / name).write_bytes(content)
    exam = only_exam(folder)
    with pytest.raises(InputError, match=f"exam test must be readable as a whole, got: DICOM file {name} {message}"):
        choose_series(exam)
    assert choose_series(exam, "2").key == "2"
    for path in folder.glob("*"):
        if path.name != name:
            path.unlink()
    with pytest.raises(InputError, match=f"series 2 of exam test must be readable as a whole, got: DICOM file {name}"):
        choose_series(only_exam(save(folder, series())), "2")  # of which else?


def test_subsampled_colour_is_counted_right() -> None:
    header = read_header(Path(get_testdata_file("SC_ybr_full_422_uncompressed.dcm")), [])
    assert header is not None
    assert (header.has_pixels, header.damage) == (True, "")


@pytest.mark.parametrize("cut", [1, 100, 130, 200, 300, 800, 1100, 1380])
def test_an_image_that_ends_anywhere_is_noticed(cut: int, tmp_path: Path) -> None:
    folder = save(tmp_path / "test", series())
    path = folder / "IM0002"
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(InputError, match="DICOM file IM0002 must") as raised:
        choose_series(only_exam(folder), "2")
    assert (f"got {cut} bytes less than its pixels" in str(raised.value)) == (cut < 126)


def test_a_damaged_object_of_another_class_is_not_parsed(tmp_path: Path) -> None:
    folder = save(tmp_path / "test", [*series(), beside(series(), "1.2.840.10008.5.1.4.1.1.88.11", Modality="SR")])
    path = folder / "IM0006"
    path.write_bytes(path.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99"[:20]))
    assert choose_series(only_exam(folder)).key == "2"
