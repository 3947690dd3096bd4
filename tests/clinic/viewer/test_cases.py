import json
from pathlib import Path

import pytest
from custom_components.errors import InputError

from multijoint.clinic import find_cases, pair_case


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_scans_are_found_by_case_beside_the_results_and_by_record(tmp_path: Path) -> None:
    scans, out = tmp_path / "scans", tmp_path / "out"
    touch(scans / "a.nii.gz", scans / "b.nii", out / "scans" / "c.nii.gz", scans / "left knee.nii.gz")
    touch(*(out / f"{case}_seg.nii.gz" for case in "abcde"))
    (out / "d_seg.json").write_text(json.dumps({"image": "left knee.nii.gz"}))
    (out / "e_seg.json").write_text(json.dumps({"image": 5}))
    found = {case.name: case.scan for case in find_cases(scans, out)}
    assert found == {
        "a": scans / "a.nii.gz",
        "b": scans / "b.nii",
        "c": out / "scans" / "c.nii.gz",
        "d": scans / "left knee.nii.gz",
        "e": None,
    }


def test_a_record_cannot_name_a_file_elsewhere(tmp_path: Path) -> None:
    scans, out = tmp_path / "scans", tmp_path / "out"
    touch(tmp_path / "secret.nii.gz", scans / "a.nii.gz", out / "a_seg.nii.gz", out / "b_seg.nii.gz")
    (out / "b_seg.json").write_text(json.dumps({"image": "../secret.nii.gz"}))
    assert find_cases(scans, out)[1].scan is None


def test_one_mesh_a_bone_is_taken_of_several_kinds(tmp_path: Path) -> None:
    folder = tmp_path / "meshes" / "a"
    touch(tmp_path / "a.nii.gz", tmp_path / "a_seg.nii.gz")
    touch(folder / "talus.stl", folder / "talus.ply", folder / "tibia.glb", folder / "notes.txt", folder / ".x.stl")
    assert [mesh.name for mesh in find_cases(tmp_path, tmp_path)[0].meshes] == ["talus.ply", "tibia.glb"]


def test_folders_without_cases_are_refused(tmp_path: Path) -> None:
    scans, out = tmp_path / "scans", tmp_path / "out"
    with pytest.raises(InputError, match="scans must be a folder"):
        find_cases(scans, out)
    touch(scans / "a.nii.gz", out / "readme.txt")
    with pytest.raises(InputError, match=r"folder out must hold <case>_seg.nii.gz or another format, got none"):
        find_cases(scans, out)
    touch(out / "b_seg.nii.gz")
    with pytest.raises(InputError, match=r"folder scans must hold the scan of a case in out, such as b.nii.gz"):
        find_cases(scans, out)


def test_files_of_one_case_must_exist_and_meshes_be_of_a_known_kind(tmp_path: Path) -> None:
    scan, label, mesh = (tmp_path / name for name in ("a.nii.gz", "a_seg.nii.gz", "talus.obj"))
    touch(scan)
    with pytest.raises(InputError, match=r"segmentation a_seg.nii.gz must be a file, got none"):
        pair_case(scan, label)
    touch(label, mesh)
    with pytest.raises(InputError, match=r"mesh talus.obj must be one of .ply, .stl, .glb, got '.obj'"):
        pair_case(scan, label, meshes=[mesh])
    assert pair_case(scan, label).name == "a"
