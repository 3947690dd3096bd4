from pathlib import Path

import pytest
from custom_components.errors import InputError
from custom_components.io.formats import ENDINGS, KINDS, case_id, format_of, is_volume, label_ending


def test_formats_by_names() -> None:
    for ending in ENDINGS:
        for name in (f"a.b{ending}", f"A.B{ending.upper()}"):
            assert format_of(Path("folder", name))
            assert is_volume(name)
            assert case_id(name).lower() == "a.b"
    for name in ("a.gz", "nii", "a.nii.bz2", "a.dcm", "a.raw", "mha"):
        assert not is_volume(name)
        assert case_id(name) == name
        with pytest.raises(InputError, match=rf"volume must be a .* file, got {name}; convert"):
            format_of(Path("folder", name))
    with pytest.raises(InputError, match=r"got a\.img; name the \.hdr"):
        format_of("a.img")


def test_every_ending_is_named_in_words() -> None:
    assert {f".{word.strip(' ,.')}" for word in KINDS.replace(" or ", " ").split()} == set(ENDINGS) - {
        ".seg.nrrd",
        ".gipl.gz",
    }


def test_the_format_of_label_maps() -> None:
    for asked, scan, ending in (
        ("nifti", "a.mha", ".nii.gz"),
        ("mha", "a.nii", ".mha"),
        ("seg.nrrd", "a.nii", ".seg.nrrd"),
        ("same", "a.nhdr", ".nrrd"),
        ("same", "a.nii", ".nii.gz"),
    ):
        assert label_ending(asked, scan=scan) == (ending, "")
    for scan, kind in (("a.hdr", "Analyze"), ("a.mnc", "MINC"), ("a.gipl.gz", "GIPL"), ("a.mgz", "MGH")):
        assert label_ending("same", scan=scan) == (".nii.gz", f"label maps are not written as {kind}")
    with pytest.raises(InputError, match=r"format of label maps must be one of nifti, .*, got 'dicom'"):
        label_ending("dicom", scan="a.nii")
