"""Meshes through the command line, and the table that collects sizes."""

import csv
from pathlib import Path

import nibabel
import numpy as np
import pytest
import trimesh
from support.commands import error_line

from multijoint.cli import main
from multijoint.clinic.meshes.shapes import BONES_COLUMNS


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "bones.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def box(tmp_path: Path) -> Path:
    """A whole box of 8 x 12 x 20 mm, and one that the field of view cuts; oblique by nothing."""
    labels = np.zeros((20, 20, 20), np.uint8)
    labels[4:8, 5:11, 3:13] = 1
    labels[12:16, 5:9, 14:] = 3
    path = tmp_path / "box_seg.nii.gz"
    nibabel.save(nibabel.Nifti1Image(labels, np.diag([2, 2, 2, 1])), path)
    return path


def test_sizes_by_hand(box: Path, tmp_path: Path) -> None:
    assert main(["mesh", str(box), "--format", "ply", "--out", str(tmp_path)]) == 0
    first, second = rows_of(tmp_path)
    assert tuple(first) == BONES_COLUMNS
    assert float(first["volume_ml"]) == pytest.approx(4 * 6 * 10 * 8 / 1000)
    assert [float(first[f"centroid_{axis}_mm"]) for axis in "lps"] == pytest.approx([-11, -15, 15])
    assert [abs(float(first[f"axis1_{axis}"])) for axis in "lps"] == pytest.approx([0, 0, 1], abs=1e-6)
    for number, size in ((1, 20), (2, 12), (3, 8)):
        assert float(first[f"extent{number}_mm"]) == pytest.approx(size, abs=1.0)
    assert (first["cut"], first["cut_sides"]) == ("no", "")
    assert (second["label"], second["cut"], second["cut_sides"]) == ("3", "yes", "superior")
    assert float(second["cut_area_mm2"]) == pytest.approx(64, rel=0.1)


@pytest.mark.parametrize("format", ["stl", "ply", "glb"])
def test_files_hold_the_bone_in_lps_mm(format: str, box: Path, tmp_path: Path) -> None:
    assert main(["mesh", str(box), "--format", format, "--out", str(tmp_path)]) == 0
    path = tmp_path / rows_of(tmp_path)[0]["mesh"]
    data = path.read_bytes()
    mesh = trimesh.load(path, process=True) if format != "glb" else trimesh.load(path).to_geometry()
    if format == "glb":
        mesh.merge_vertices()
        mesh.apply_scale(1000)
        assert mesh.bounds.mean(axis=0) == pytest.approx([-11, 15, 15], abs=0.2)  # glTF: y upwards
    else:
        assert b"SPACE=LPS" in data[:500]
        assert mesh.bounds.mean(axis=0) == pytest.approx([-11, -15, 15], abs=0.2)
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(4 * 6 * 10 * 8, rel=0.01)


def test_segment_meshes_what_it_finds(trained: Path, manifests: dict[str, str], tmp_path: Path) -> None:
    scan = Path(manifests["ankle"]).parent / "images" / "ankle_000.nii.gz"
    how = ["--checkpoint", str(trained / "model.pt"), "--domain", "ankle", "--device", "cpu"]
    assert main(["segment", str(scan), *how, "--out", str(tmp_path), "--mesh", "stl"]) == 0
    rows = rows_of(tmp_path)
    labels = np.asarray(nibabel.load(tmp_path / "ankle_000_seg.nii.gz").dataobj)
    assert [row["bone"] for row in rows] == ["calcaneus", "talus", "tibia"]
    for row in rows:  # a bone that was not found has no number, not even 0
        there = bool((labels == int(row["label"])).any())
        assert (row["status"] == "found") == there == bool(row["volume_ml"]) == bool(row["mesh"])
        assert not there or (tmp_path / row["mesh"]).is_file()
        voxels = np.asarray(nibabel.load(scan).dataobj)[labels == int(row["label"])]
        assert not there or float(row["intensity_mean"]) == pytest.approx(voxels.mean(), rel=1e-5)
        assert (row["intensity_sd"] != "") == there
    assert not list(tmp_path.glob("meshes/*/.*"))


def test_a_case_is_replaced_and_others_stay(box: Path, tmp_path: Path) -> None:
    other = tmp_path / "other_seg.nii.gz"
    other.write_bytes(box.read_bytes())
    for path in (box, other, box):
        assert main(["mesh", str(path), "--out", str(tmp_path)]) == 0
    assert [(row["case"], row["label"]) for row in rows_of(tmp_path)] == [
        (case, label) for case in ("box", "other") for label in "13"
    ]


def test_a_table_of_somebody_else_is_not_replaced(
    box: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bones.csv").write_text("mine\n1\n")
    assert main(["mesh", str(box), "--out", str(tmp_path)]) == 1
    assert "table bones.csv must have the columns of this version, got others; move it away" in error_line(capsys)
    assert (tmp_path / "bones.csv").read_text() == "mine\n1\n"
