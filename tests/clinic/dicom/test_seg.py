"""DICOM SEG, read back by dcmqi: the same voxels, with codes and references."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
from custom_components.models.checkpoints import load_model, save_checkpoint
from nibabel.orientations import apply_orientation, axcodes2ornt, io_orientation, ornt_transform
from pydicom.sr import _concepts_dict as concepts_dict
from support.commands import error_line, read_report
from support.dicom_exams import axis_orders, numbered, oblique, save, save_bare, stored
from support.models import make_model
from support.processes import run

from multijoint.cli import main
from multijoint.clinic.dicom import bone_codes
from multijoint.clinic.dicom.bone_codes import find_code
from multijoint.phantoms.dicom_exams import classic_series, enhanced_file

DCMQI = Path(sys.executable).with_name("segimage2itkimage")


def labels_of(shape: tuple[int, ...]) -> np.ndarray:
    """The tibia (1) and the talus (3) of `make_model`, neither symmetric."""
    labels = np.zeros(shape, np.uint8)
    labels[1:4, 2:5, 1:3], labels[5:, 1:3, 3:5], labels[2, 6, 5] = 1, 3, 1
    return labels


def write(folder: Path, images: list[Any], *, store: Callable = save) -> tuple[Path, nibabel.Nifti1Image]:
    """The SEG of an exam, and the label map that it was made from, put as the scan is stored."""
    from custom_components.inference.results import ResultFolder
    from custom_components.inference.transforms import ReadVolumed

    from multijoint.clinic import convert_exam, find_exams, write_dicom_seg

    [exam] = find_exams(store(folder / "exam", images))
    done = convert_exam(exam, folder / "out")
    item: dict[str, Any] = ReadVolumed("image")({"image": done.item["image"], "name": "exam"})
    scan = nibabel.load(done.item["image"])
    canonical = nibabel.Nifti1Image(labels_of(numbered().shape), oblique())
    change = ornt_transform(io_orientation(canonical.affine), io_orientation(scan.affine))
    labels = apply_orientation(np.asarray(canonical.dataobj), change)
    ResultFolder(folder / "out", model=make_model(), domain="ankle").save(item, labels)
    path = folder / "out" / "exam_seg.dcm"
    write_dicom_seg(path, folder / "out" / "exam_seg.nii.gz", done.series)
    return path, nibabel.load(folder / "out" / "exam_seg.nii.gz")


def read_back(path: Path, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Segment numbers of the voxels, and affine, in RAS+ order."""
    folder.mkdir()
    command = [str(DCMQI), "--inputDICOM", str(path), "--outputDirectory", str(folder), "--outputType", "nii"]
    run([*command, "--mergeSegments"], check=True)
    [found] = [each for each in folder.iterdir() if each.suffix != ".json"]
    image = nibabel.as_closest_canonical(nibabel.load(found))
    return np.asarray(image.dataobj), image.affine


@pytest.mark.parametrize("order", [0, 7, 18, 29, 47])
@pytest.mark.parametrize("kind", ["classic", "enhanced"])
def test_dcmqi_finds_the_same_voxels(kind: str, order: int, tmp_path: Path) -> None:
    turned = stored(numbered(), oblique(), *list(axis_orders())[order])
    images = [enhanced_file(*turned, name="x")] if kind == "enhanced" else classic_series(*turned, name="x")
    path, label_map = write(tmp_path, images)
    voxels, affine = read_back(path, tmp_path / "dcmqi")
    expected = nibabel.as_closest_canonical(label_map)
    values = np.array([0, 1, 3])  # of segments 0 (none), 1 and 2
    np.testing.assert_array_equal(values[voxels], expected.dataobj)
    np.testing.assert_allclose(affine, expected.affine, atol=1e-3)
    original = nibabel.as_closest_canonical(nibabel.Nifti1Image(labels_of(numbered().shape), oblique()))
    np.testing.assert_array_equal(values[voxels], original.dataobj)


def test_codes_references_and_algorithm(tmp_path: Path) -> None:
    images = classic_series(numbered(), oblique(), name="x")
    path, _ = write(tmp_path, images)
    seg = pydicom.dcmread(path)
    assert seg.Modality == "SEG"
    assert seg.FrameOfReferenceUID == images[0].FrameOfReferenceUID
    assert seg.StudyInstanceUID == images[0].StudyInstanceUID
    [referenced] = seg.ReferencedSeriesSequence
    assert referenced.SeriesInstanceUID == images[0].SeriesInstanceUID
    named = {each.ReferencedSOPInstanceUID for each in referenced.ReferencedInstanceSequence}
    assert named == {image.SOPInstanceUID for image in images}
    names = [name for _, name in sorted(make_model().domain("ankle").labels.items())]
    for segment, name in zip(seg.SegmentSequence, names, strict=True):
        [code], known = segment.SegmentedPropertyTypeCodeSequence, find_code(name)
        assert segment.SegmentLabel == name
        assert (code.CodeValue, code.CodingSchemeDesignator) == (known.value, "SCT")
        [algorithm] = segment.SegmentationAlgorithmIdentificationSequence
        assert algorithm.AlgorithmName == "multijoint"
    path.unlink()
    again = pydicom.dcmread(write(tmp_path, images)[0])
    assert again.SOPInstanceUID == seg.SOPInstanceUID
    bare = pydicom.dcmread(write(tmp_path / "without preambles", images, store=save_bare)[0])
    for other in (again, bare):
        assert other.PixelData == seg.PixelData
        assert other.SegmentSequence == seg.SegmentSequence


@pytest.fixture
def exams(manifests: dict[str, str], tmp_path: Path) -> Path:
    """An ankle as a good exam and one with a slice missing."""
    folder = tmp_path / "exams"
    scan = nibabel.load(Path(manifests["ankle"]).parent / "images" / "ankle_000.nii.gz")
    voxels, affine = np.rint(scan.get_fdata()).astype(np.int16), scan.affine
    save(folder / "good", classic_series(voxels, affine, name="good"))
    images = sorted(classic_series(voxels, affine, name="bad"), key=lambda image: image.InstanceNumber)
    save(folder / "bad", images[:3] + images[4:])
    return folder


def segment_as(channel: int, trained: Path, exams: Path, out: Path) -> int:
    """Segment ankles with a network that says one and the same of every voxel: background (0), or a bone."""
    model, checkpoint = load_model(trained / "model.pt"), out.with_name("model.pt")
    model.weights["heads.0.bias"][channel] += 100
    save_checkpoint(checkpoint, model)
    how = ["--checkpoint", str(checkpoint), "--domain", "ankle", "--device", "cpu", "--output", str(out)]
    return main(["segment", str(exams), *how, "--dicom-seg"])


def test_a_bad_exam_costs_itself_only(
    trained: Path, exams: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert segment_as(1, trained, exams, out) == 1
    report = read_report(out)
    assert report["good"]["status"] == "written"
    assert "must be complete, got 1 missing" in report["bad"]["cause"]
    assert (out / "scans" / "good.nii.gz").is_file()
    seg = pydicom.dcmread(out / "good_seg.dcm")
    names = list(json.loads((out / "good_seg.json").read_text())["labels"].values())[1:]
    assert [segment.SegmentLabel for segment in seg.SegmentSequence] == names
    assert not (out / "bad_seg.dcm").exists()
    capsys.readouterr()
    assert main(["dicom", str(exams)]) == 1
    printed = capsys.readouterr()
    assert "exam good" in printed.out
    assert "must be complete, got 1 missing" in printed.err


def test_no_bone_is_no_seg_and_beside_a_bad_exam_not_silent(
    trained: Path, exams: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert segment_as(0, trained, exams, out) == 1
    line = error_line(capsys)
    assert "1 of 2 scans could not be segmented" in line
    assert "good_seg.nii.gz must have a bone to make a DICOM SEG of, got none" in line
    assert not (out / "good_seg.dcm").exists()


def test_a_seg_of_nifti_is_refused(
    trained: Path, manifests: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan = Path(manifests["ankle"]).parent / "images" / "ankle_000.nii.gz"
    how = ["--checkpoint", str(trained / "model.pt"), "--domain", "ankle", "--output", str(tmp_path / "out")]
    assert main(["segment", str(scan), *how, "--dicom-seg"]) == 1
    assert "scans must be DICOM for --dicom-seg, got other files" in error_line(capsys)
    assert main(["dicom", str(scan.parent)]) == 1
    assert "must hold DICOM files, got none" in error_line(capsys)


def test_axcodes_of_the_test_itself() -> None:
    """The label map is asymmetric: no turn of it is itself."""
    labels = labels_of(numbered().shape)
    turned = [apply_orientation(labels, axcodes2ornt(codes)) for codes in ("LPS", "LAS", "RPI")]
    assert not any(np.array_equal(labels, each) for each in turned)


@pytest.mark.parametrize("name", sorted({*bone_codes._KEYWORDS, *bone_codes._OWN, *bone_codes._SAME}))
def test_every_known_label_has_a_code_that_pydicom_knows_or_lacks(name: str) -> None:
    known = {code for concepts in concepts_dict.concepts["SCT"].values() for code in concepts}
    code = find_code(name)
    assert code.scheme == "SCT"
    by_hand = bone_codes._SAME.get(name, name) in bone_codes._OWN
    assert code.value in known or by_hand
    assert not by_hand or code.value not in known or name == "spinal canal"
