"""Names and colours as other programs read them: slicerio, pynrrd, nibabel, pandas, and the readers of this package."""

import warnings
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import itk
import nibabel as nib
import nrrd
import numpy as np
import pandas as pd
import pytest
import slicerio
from custom_components.domains import COLORS
from custom_components.io.label_name_files import read_labels
from custom_components.io.label_names import MAX_NAME, clean_name, label_extension, segment_fields, write_label_names
from custom_components.io.records import label_name_files
from custom_components.io.volumes import read_label, read_volume, write_label_map

NAMES = {0: "background", 7: "talus", 2: "tibia, left", 30: "Sprungbein (groß)", 4: "missing here"}
LABELS = np.zeros((5, 6, 7), np.uint8)
LABELS[1:3, 2, 3:7] = 7
LABELS[0, 0, 0] = 2
LABELS[4, 5, 1:5] = 30
AFFINE = np.diag([0.5, 0.75, 3.0, 1.0])
HOSTILE = {
    "escapes": "\x1b[2Jtalus\x07",
    "lines": "talus\nSegment9_Name:=femur\r\n\r\nNRRD",
    "tabs": "talus\t2\tfemur",
    "quotes": 'the "real" talus',
    "xml": "]]></Label><Label Key='9'>femur",
    "formula": "=cmd|'/c calc'!A1",
    "direction": "talus\u202etfel",
    "surrogate": "talus\udcff",
    "backslash": "talus\\nleft\\",
    "long": "talus " * 200,
    "script": "距骨, عظم الكاحل",
    "empty": "  ",
}


def color_of(place: int) -> str:
    return COLORS[place % len(COLORS)].lower()


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    path = tmp_path / "scan.nii.gz"
    voxels = np.random.default_rng(0).normal(size=LABELS.shape).astype(np.float32)
    nib.save(nib.Nifti1Image(voxels, AFFINE), path)
    return path


def write_by_itk(path: Path, names: dict[int, str]) -> None:
    with warnings.catch_warnings():  # of its SWIG wrappers
        warnings.simplefilter("ignore", DeprecationWarning)
        image = itk.image_from_array(np.ascontiguousarray(LABELS.T))
        for key, text in segment_fields(names, LABELS).items():
            image[key] = text
        itk.imwrite(image, str(path), compression=True)


def write_by_pynrrd(path: Path, names: dict[int, str]) -> None:
    """Of ASCII names only: pynrrd knows no others, and leaves other characters out when it reads."""
    header = {
        "space": "left-posterior-superior",
        "kinds": ["domain"] * 3,
        "space directions": np.diag([-0.5, -0.75, 3.0]),
        "space origin": [0, 0, 0],
    }
    nrrd.write(str(path), LABELS, {**header, **segment_fields(names, LABELS)})


@pytest.mark.parametrize("write", [write_by_itk, write_by_pynrrd])
def test_slicers_own_reader_finds_names_colours_and_voxels(
    write: Callable[[Path, dict[int, str]], None], tmp_path: Path
) -> None:
    path = tmp_path / "a.seg.nrrd"
    names = {value: name.replace("ß", "ss") for value, name in NAMES.items()}
    write(path, names)
    read = slicerio.read_segmentation(str(path))
    assert read["masterRepresentation"] == "Binary labelmap"
    assert read["containedRepresentationNames"] == ["Binary labelmap"]
    assert slicerio.segment_names(read) == list(names.values())[1:]
    for place, (value, name) in enumerate(list(names.items())[1:]):
        segment = slicerio.segment_from_name(read, name)
        assert (segment["labelValue"], segment["layer"], segment["status"]) == (value, 0, "inprogress")
        assert [round(255 * channel) for channel in segment["color"]] == list(bytes.fromhex(color_of(place)[1:]))
        assert np.array_equal(slicerio.segment_mask(read, segment["id"]), value == LABELS)
        low, high = segment["extent"][::2], segment["extent"][1::2]
        where = np.argwhere(value == LABELS)
        expected = (where.min(axis=0), where.max(axis=0)) if len(where) else ([0, 0, 0], [-1, -1, -1])
        assert (low, high) == tuple(map(list, expected))
    chosen = slicerio.extract_segments(read, [("talus", 1)])  # what Slicer's users do with such a file
    assert np.array_equal(chosen["voxels"], LABELS == 7)


def test_nibabel_finds_the_extension_and_the_voxels_stay(scan: Path, tmp_path: Path) -> None:
    volume = read_volume(scan)
    plain, named = tmp_path / "plain.nii.gz", tmp_path / "named.nii.gz"
    write_label_map(plain, LABELS, like=volume)
    for _ in range(2):
        write_label_map(named, LABELS, like=volume, extension=label_extension(NAMES))
        first = named.read_bytes()
    assert named.read_bytes() == first
    found = nib.load(named)
    assert np.array_equal(np.asarray(found.dataobj), LABELS)
    assert np.array_equal(found.affine, nib.load(plain).affine)
    assert np.array_equal(read_label(named).array, LABELS)
    assert not nib.load(plain).header.extensions
    (extension,) = found.header.extensions
    assert extension.get_code() == 0
    root = ElementTree.fromstring(extension.get_content())  # by the path that TotalSegmentator reads
    labels = root.findall("./VolumeInformation/LabelTable/Label")
    assert {int(label.get("Key", "")): label.text for label in labels} == {
        value: name for value, name in NAMES.items() if value
    }
    assert [round(255 * float(labels[0].get(key, ""))) for key in ("Red", "Green", "Blue")] == [0xE6, 0x9F, 0x00]


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_the_extension_is_in_either_version(kind: type, ending: str, tmp_path: Path) -> None:
    nib.save(kind(np.arange(210, dtype=np.float32).reshape(LABELS.shape), AFFINE), tmp_path / "scan.nii")
    path = tmp_path / f"a{ending}"
    write_label_map(path, LABELS, like=read_volume(tmp_path / "scan.nii"), extension=label_extension(NAMES))
    assert type(nib.load(path)) is kind
    assert np.array_equal(read_label(path).array, LABELS)
    assert [label.name for label in read_labels(path).values()] == list(NAMES.values())[1:]


def test_the_files_beside_are_as_other_programs_write_them(tmp_path: Path) -> None:
    ctbl, snap, tsv = write_label_names(tmp_path / "a_seg.nii.gz", NAMES)
    assert [ctbl, snap, tsv] == label_name_files(tmp_path / "a_seg.nii.gz")
    assert ctbl.read_text() == (
        "# Color table file\n# 5 values\n0 background 0 0 0 0\n7 talus 230 159 0 255\n2 tibia,_left 86 180 233 255\n"
        "30 Sprungbein_(groß) 0 158 115 255\n4 missing_here 204 121 167 255\n"
    )
    lines = [line for line in snap.read_text().splitlines() if not line.startswith("#")]
    assert lines[:3] == [
        '    0     0    0    0        0  0  0    "Clear Label"',
        '    7   230  159    0        1  1  1    "talus"',
        '    2    86  180  233        1  1  1    "tibia, left"',
    ]
    table = pd.read_csv(tsv, sep="\t")
    assert list(table.columns) == ["index", "name", "color"]
    assert dict(zip(table["index"], table["name"], strict=True)) == {
        value: name for value, name in NAMES.items() if value
    }
    assert table["color"].tolist() == [color.upper() for color in map(color_of, range(4))]


@pytest.mark.parametrize("name", HOSTILE)
def test_any_name_is_one_printable_line_in_every_format(name: str, scan: Path, tmp_path: Path) -> None:
    names = {1: HOSTILE[name], 2: "talus"}
    expected = clean_name(HOSTILE[name]) or "label 1"
    assert expected.isprintable()
    assert len(expected) <= MAX_NAME
    label_map = tmp_path / "a_seg.nii.gz"
    write_label_map(label_map, LABELS, like=read_volume(scan), extension=label_extension(names))
    write_by_itk(tmp_path / "a.seg.nrrd", names)
    ctbl, snap, tsv = write_label_names(label_map, names)
    for path in (label_map, tmp_path / "a.seg.nrrd", snap, tsv, ctbl):
        read = {value: label.name for value, label in read_labels(path).items() if value}
        own = {".label": expected.replace('"', "'"), ".ctbl": expected.replace(" ", "_")}.get(path.suffix, expected)
        assert read == {1: own, 2: "talus"}, path.name
        colors = [label.color for value, label in read_labels(path).items() if value]
        assert colors == [color_of(0), color_of(1)], path.name
    assert slicerio.read_segmentation(str(tmp_path / "a.seg.nrrd"))["segments"][1]["name"] == "talus"
