"""Names of labels as other programs write them, and files that are none, damaged or hostile."""

import gzip
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import slicerio
from custom_components.errors import InputError
from custom_components.io.label_name_files import MAX_BYTES, labels_beside, parse_extension, parse_snap, read_labels
from custom_components.io.label_names import MAX_NAME
from hypothesis import given
from hypothesis import strategies as st

ENDINGS = (".nii", ".nii.gz", ".seg.nrrd", ".tsv", ".label", ".txt", ".ctbl")
SNAP = """\
################################################
# ITK-SnAP Label Description File
# File format:
# IDX   -R-  -G-  -B-  -A--  VIS MSH  LABEL
################################################
    0     0    0    0        0  0  0    "Clear Label"
    1   255    0    0        1  1  1    "calcaneus"
   12     0  255  128      0.5  1  0    "talus, left (2)"
"""
# As `nifti_ext_header.py` of TotalSegmentator 2 writes it.
TOTAL = (
    b'<?xml version="1.0" encoding="UTF-8"?> <CaretExtension>  <Date><![CDATA[2013-07-14T05:45:09]]></Date>   '
    b'<VolumeInformation Index="0">   <LabelTable>\n<Label Key="1" Red="0.0" Green="1.0" Blue="0.5019607843137255" '
    b'Alpha="1"><![CDATA[femur_left]]></Label>\n<Label Key="2" Red="0.0" Green="0.0" Blue="1.0" Alpha="1"><![CDATA[hip '
    b"& <sacrum>]]></Label>\n\n  </LabelTable>  <StudyMetaDataLinkSet>  </StudyMetaDataLinkSet>  <VolumeType><![CDATA["
    b"Label]]></VolumeType>   </VolumeInformation></CaretExtension>\n              \0\0\0"
)


def put_map(path: Path, *extensions: bytes) -> Path:
    image = nib.Nifti1Image(np.ones((3, 4, 5), np.uint8), np.eye(4))
    image.header.extensions.extend(nib.nifti1.Nifti1Extension(0, content) for content in extensions)
    nib.save(image, path)
    return path


@pytest.mark.parametrize("name", ["Segmentation.seg.nrrd", "SegmentationOverlapping.seg.nrrd"])
def test_segmentations_of_slicer_have_the_names_that_slicerio_finds(name: str) -> None:
    path = Path(slicerio.__file__).parent / "data" / name
    segments = slicerio.read_segmentation(str(path))["segments"]
    expected = {
        segment["labelValue"]: (segment["name"], bytes(round(255 * each) for each in segment["color"]).hex())
        for segment in segments
    }
    layers = {segment["layer"] for segment in segments}
    read = {value: (label.name, label.color[1:]) for value, label in read_labels(path).items()}
    assert read == (expected if len(layers) == 1 else {})
    assert len(segments) > 1


def test_names_of_totalsegmentator(tmp_path: Path) -> None:
    other = b"<CaretExtension><VolumeInformation/></CaretExtension>"
    for extensions in ((TOTAL,), (b"a comment", other, TOTAL)):
        read = read_labels(put_map(tmp_path / "a.nii.gz", *extensions))
        assert {value: tuple(label) for value, label in read.items()} == {
            1: ("femur_left", "#00ff80"),
            2: ("hip & <sacrum>", "#0000ff"),
        }
    assert read_labels(put_map(tmp_path / "b.nii", b"SECRET")) == {}


def test_names_and_colours_of_itk_snap(tmp_path: Path) -> None:
    for name in ("a.label", "a.txt"):
        (tmp_path / name).write_text(SNAP)
        assert {value: tuple(label) for value, label in read_labels(tmp_path / name).items()} == {
            0: ("Clear Label", "#000000"),
            1: ("calcaneus", "#ff0000"),
            12: ("talus, left (2)", "#00ff80"),
        }


@pytest.mark.parametrize(
    "line",
    [
        '1 255 0 0 1 1 1 calcaneus',
        '1 256 0 0 1 1 1 "calcaneus"',
        '1 255 0 0 1.5 1 1 "calcaneus"',
        '1 255 0 0 1 2 1 "calcaneus"',
        '1 255 0 0 1 1 "calcaneus"',
        '1 255 0 0 1 1 1 ""',
        '1 255 0 0 1 1 1 "calcaneus" "heel"',
        '-1 255 0 0 1 1 1 "calcaneus"',
        '12 255 0 0 1 1 1 "again"',
        '123456 255 0 0 1 1 1 "calcaneus"',
        "calcaneus",
    ],
)  # fmt: skip
def test_a_line_that_itk_snap_does_not_write_is_named(line: str) -> None:
    with pytest.raises(InputError, match=r'line 9 of a\.label must be IDX R G B A VIS MSH "LABEL" with a new IDX'):
        parse_snap(f"{SNAP}{line}\n", shown="a.label")


@pytest.mark.parametrize(
    "content",
    [
        b'<!DOCTYPE a [<!ENTITY a "aaaa">]><CaretExtension>&a;</CaretExtension>',
        TOTAL[:200],
        TOTAL.replace(b"UTF-8", b"no-such-encoding"),
        b"<a>" * 100_000,
        TOTAL.replace(b"CaretExtension", b"Other"),
        TOTAL.replace(b"Key=", b"Keys="),
        TOTAL + b" " + b"x",
        b"<" * (MAX_BYTES + 1),
        b"\xff\xfe<\0",
        b"",
    ],
)
def test_an_extension_that_is_none_or_hostile_names_nothing(content: bytes) -> None:
    assert parse_extension(content) == {}


def test_names_are_short_and_printable_and_values_small(tmp_path: Path) -> None:
    long, odd = "x" * 5000, "tal\x1b[2Jus\u202e"
    (tmp_path / "a.ctbl").write_text(f"1 {long} 1 2 3 255\n99999999999 talus 1 2 3 255\n2 {odd} 300 2 3.4 255\n")
    read = read_labels(tmp_path / "a.ctbl")
    assert read[1].name == "x" * MAX_NAME
    assert tuple(read[2]) == (r"tal\x1b[2Jus\u202e", "#ff0203")
    assert len(read) == 2
    (tmp_path / "a_dseg.tsv").write_text("index\tname\n1\n2\tn/a\n3.0\ta\n4\tfemur\tmore\nx\tb\n")
    assert {value: label.name for value, label in read_labels(tmp_path / "a_dseg.tsv").items()} == {4: "femur"}


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    for ending in ENDINGS:
        os.mkfifo(tmp_path / f"pipe{ending}")
        with pytest.raises(InputError, match=f"pipe{ending} must be a regular file"):
            read_labels(tmp_path / f"pipe{ending}")
    (tmp_path / "a.ctbl").write_bytes(b"1 talus 1 2 3 255\n" + b"#" * MAX_BYTES)
    with pytest.raises(InputError, match=r"a\.ctbl must have at most 1048576 bytes"):
        read_labels(tmp_path / "a.ctbl")
    (tmp_path / "b.label").write_bytes(b"\x81\x8d")
    with pytest.raises(InputError, match=r"b\.label must be text"):
        read_labels(tmp_path / "b.label")


@given(content=st.binary(max_size=300), start=st.sampled_from([b"", b"NRRD0004\nSegment", SNAP.encode(), TOTAL]))
def test_any_bytes_are_read_or_refused(content: bytes, start: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("any")
    for ending in ENDINGS:
        path = folder / f"a{ending}"
        path.write_bytes(gzip.compress(start + content) if ending == ".nii.gz" else start + content)
        try:
            labels = read_labels(path)
        except InputError:
            continue
        assert all(label.name.isprintable() and len(label.name) <= MAX_NAME for label in labels.values())


def test_files_beside_are_those_of_the_label_maps_or_of_all(tmp_path: Path) -> None:
    a, b = put_map(tmp_path / "a_seg.nii.gz", TOTAL), put_map(tmp_path / "b_seg.nii.gz")
    for name in ("a_seg.ctbl", "b_seg.ctbl", "bones.ctbl", "._a_seg.ctbl"):
        (tmp_path / name).write_text("1 talus 1 2 3 255\n")
    (tmp_path / "b_dseg.tsv").write_text("index\tname\n1\ttalus\n")
    (tmp_path / "a_seg.label").write_text("broken")
    assert [path.name for path, _ in labels_beside([a])] == ["a_seg.ctbl", "bones.ctbl", "a_seg.nii.gz"]
    assert [path.name for path, _ in labels_beside([b])] == ["b_dseg.tsv", "b_seg.ctbl", "bones.ctbl"]
