"""Scans of every format through the whole of `segment`, and label maps of every format through what reads them."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
from custom_components.errors import InputError
from custom_components.inference.report import read_report as read_whole_report
from custom_components.io.geometry import to_canonical
from custom_components.io.records import label_map_path, read_record
from custom_components.io.volumes import read_label, read_volume
from custom_components.models.checkpoints import save_checkpoint
from support.commands import error_line, read_report, scan_of, segment
from support.hostile_nrrd_mha import write_corpus
from support.models import make_model
from support.volume_formats import AXIS_ORDERS, ORIENTED, UNORIENTED, oblique, reordered, write

import multijoint
from multijoint.api.zipped_scans import unpacked
from multijoint.cli import main
from multijoint.clinic.report.results import find_scans, read_results
from multijoint.clinic.viewer.cases import find_cases
from multijoint.clinic.viewer.volumes import check_grids, show_case
from multijoint.phantoms.dicom_exams import write_exam


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a network with random weights, which sees bones everywhere."""
    folder = tmp_path_factory.mktemp("model")
    made = make_model()
    made.weights["heads.0.bias"].zero_()
    save_checkpoint(folder / "model.pt", made)
    return folder


@pytest.fixture(scope="module")
def scan(manifests: dict[str, str]) -> tuple[np.ndarray, np.ndarray]:
    """Voxels of a phantom, small whole numbers, and an oblique affine of its voxel sizes."""
    volume = read_volume(scan_of(manifests, "ankle"))
    affine = oblique()
    affine[:3, :3] *= np.array(volume.spacing_mm) / (0.5, 0.75, 2.5)
    return np.rint(volume.array).astype(np.int16), affine


def test_the_same_scan_in_every_format_gives_the_same_labels(
    model: Path, scan: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    files = []
    for number, name in enumerate(ORIENTED):
        (folder := tmp_path / f"scans{number}").mkdir()
        files.append(write(folder / name, *reordered(*scan, *AXIS_ORDERS[number * 6])))
    files += [write(tmp_path / f"un{name}", *scan) for name in UNORIENTED]
    write_exam(tmp_path / "exam", *scan, name="exam")
    with zipfile.ZipFile(tmp_path / "zipped.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted((tmp_path / "exam").rglob("*")):
            archive.write(file, file.relative_to(tmp_path))
    exams = [tmp_path / "exam", tmp_path / "zipped.zip"]
    assert segment(model, tmp_path / "out", *files, *exams) == 0
    rows = read_whole_report(tmp_path / "out" / "segment_report.csv")
    labels = [read_label(tmp_path / "out" / row["output"]) for row in rows]
    canonical = [to_canonical(each.array, each.affine) for each in labels[: len(ORIENTED)]]
    assert canonical[0].any()
    for each, first in zip(canonical[1:], [canonical[0]] * len(canonical), strict=False):
        np.testing.assert_array_equal(each, first)
    for path, each in zip(files, labels, strict=False):
        np.testing.assert_allclose(each.affine, read_volume(path).affine, rtol=1e-6, atol=1e-5)
    for each in labels[len(files) :]:  # the rows of the exams turn another way
        np.testing.assert_array_equal(to_canonical(each.array, each.affine), canonical[0])
    unoriented = [each.array for each in labels[len(ORIENTED) : len(files)]]
    np.testing.assert_array_equal(*unoriented)
    assert segment(model, tmp_path / "out", *files, *exams) == 0
    assert {row["status"] for row in read_whole_report(tmp_path / "out" / "segment_report.csv")} == {"skipped"}


@pytest.mark.parametrize(
    ("asked", "ending"), [("nrrd", ".nrrd"), ("mha", ".mha"), ("seg.nrrd", ".seg.nrrd"), ("same", ".mha")]
)
def test_results_of_every_format_are_read_by_all_that_read_results(
    model: Path, scan: tuple[np.ndarray, np.ndarray], tmp_path: Path, asked: str, ending: str
) -> None:
    path, out = write(tmp_path / "a01.mha", *scan), tmp_path / "out"
    assert segment(model, out, path) == 0
    first = read_label(out / "a01_seg.nii.gz")
    assert first.array.any()
    assert segment(model, out, path, more=["--format", asked]) == 0
    assert read_report(out)["a01.mha"]["output"] == f"a01_seg{ending}"
    label_map = out / f"a01_seg{ending}"
    assert [file.name for file in sorted(out.glob("a01_seg.*")) if file.suffix != ".json"] == [label_map.name]
    assert label_map_path(out, "a01") == label_map
    written = read_label(label_map)
    np.testing.assert_array_equal(written.array, first.array)
    np.testing.assert_array_equal(written.affine, read_volume(path).affine)
    assert segment(model, out, path, more=["--format", asked]) == 0
    assert read_report(out)["a01.mha"]["status"] == "skipped"
    [result] = read_results(out)
    assert (result.case, result.label_map, result.status) == ("a01", label_map, "segmented")
    assert find_scans(out, [tmp_path]) == {"a01": path}
    [case] = find_cases(tmp_path, out)
    assert (case.name, case.scan, case.segmentation) == ("a01", path, label_map)
    assert check_grids(case) == path
    assert show_case(case).labels
    assert main(["mesh", str(out), "--format", "ply", "--out", str(tmp_path / "meshes")]) == 0
    assert main(["overlay", str(path), str(label_map), "--out", str(tmp_path / "a.png")]) == 0
    assert main(["report", str(out), "--scans", str(path)]) == 0
    assert (out / "report.html").stat().st_size > 1000


def test_the_python_interface_takes_and_saves_every_format(
    model: Path, scan: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    path = write(tmp_path / "a01.nrrd", *scan)
    write_exam(tmp_path / "exam", *scan, name="exam")
    with zipfile.ZipFile(tmp_path / "exam.zip", "w") as archive:
        for file in sorted((tmp_path / "exam").rglob("*")):
            archive.write(file, file.relative_to(tmp_path))
    with multijoint.load(model / "model.pt", device="cpu") as loaded:
        result = loaded.segment(path, domain="ankle")
        zipped = loaded.segment(tmp_path / "exam.zip", domain="ankle")
    expected = np.asarray(result.labels.dataobj)
    assert zipped.case == "exam"
    both = [to_canonical(np.asarray(each.labels.dataobj), each.labels.affine) for each in (result, zipped)]
    np.testing.assert_array_equal(*both)
    for name in ("b.nrrd", "b.seg.nrrd", "b.mha", "b.nii", "b.nii.gz"):
        saved = result.save(tmp_path / "saved" / name)
        np.testing.assert_array_equal(read_label(saved, like=read_volume(path)).array, expected)
        assert read_record(saved)["label_map"] == name
        if not name.endswith((".nii", ".nii.gz")):
            np.testing.assert_array_equal(read_label(saved).affine, read_volume(path).affine)
    assert "image/png" in result._repr_html_()


def test_each_hostile_file_is_one_line_and_nothing_partial(
    model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    entries = [entry for entry in write_corpus(tmp_path / "corpus") if entry.kind == "image"]
    refused = [entry for entry in entries if entry.expected == "refuse"]
    assert len([entry for entry in refused if entry.path.suffix in (".nrrd", ".nhdr", ".mha", ".mhd")]) >= 60
    assert segment(model, tmp_path / "out", *(entry.path for entry in refused)) == 1
    printed = capfd.readouterr()
    assert "Traceback" not in printed.out + printed.err
    rows = read_whole_report(tmp_path / "out" / "segment_report.csv")
    assert [row["status"] for row in rows] == ["failed"] * len({entry.path.resolve() for entry in refused})
    assert all("\n" not in row["cause"] for row in rows)
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["quality.csv", "segment_report.csv"]


def test_a_zip_file_that_leaves_its_folder_or_is_damaged_is_refused(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with zipfile.ZipFile(tmp_path / "escape.zip", "w") as archive:
        archive.writestr("../evil.dcm", b"DICM")
    (tmp_path / "cut.zip").write_bytes((tmp_path / "escape.zip").read_bytes()[:-9])
    for name in ("escape.zip", "cut.zip"):
        assert segment(model, tmp_path / "out", tmp_path / name) == 1
        assert f"archive {name} must be safe to unpack" in error_line(capsys)
        with pytest.raises(InputError, match="must be safe to unpack"), unpacked([tmp_path / name]):
            pass
    assert not (tmp_path / "evil.dcm").exists()
    assert not (tmp_path / "out").exists()
