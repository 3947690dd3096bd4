import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import trimesh
from custom_components.errors import InputError

from multijoint.clinic import pair_case
from multijoint.clinic.viewer import volumes as viewed_volumes
from multijoint.clinic.viewer.volumes import read_mesh, show_case

OBLIQUE = np.array([[-2, 0.2, 0, 30], [0.1, 0, 3, -20], [0, 1.5, 0.3, 7], [0, 0, 0, 1]])
OBLIQUE[:3, :3] = np.linalg.qr(OBLIQUE[:3, :3])[0] * [2, 1.5, 3]


def save(folder: Path, voxels: np.ndarray, labels: np.ndarray, affine: np.ndarray = OBLIQUE) -> dict[str, Path]:
    nib.save(nib.Nifti1Image(voxels, affine), folder / "a.nii.gz")
    nib.save(nib.Nifti1Image(labels, affine), folder / "a_seg.nii.gz")
    return {"scan": folder / "a.nii.gz", "segmentation": folder / "a_seg.nii.gz"}


def noise(shape: tuple[int, ...] = (10, 12, 8), dtype: type = np.float32) -> np.ndarray:
    return np.random.default_rng(0).uniform(-3, 700, shape).astype(dtype)


def test_bones_have_the_volume_and_a_voxel_of_their_own_as_centre(tmp_path: Path) -> None:
    labels = np.zeros((10, 12, 8), np.uint8)
    labels[1:8, 1:9, 2] = 4
    labels[2:7, 2:8, 2] = 0  # a ring: its centre of mass is not in it
    labels[8, 9:12, 4:7] = 7
    (tmp_path / "a_seg.json").write_text(json.dumps({"labels": {"0": "background", "2": "tibia", "4": "talus"}}))
    shown = show_case(pair_case(**save(tmp_path, noise(), labels)))
    tibia, talus, other = shown.bones
    assert (tibia["name"], tibia["volume_ml"], tibia["centre_mm"]) == ("tibia", 0, None)
    assert [bone["color"] for bone in shown.bones] == ["#E69F00", "#56B4E9", "#009E73"]
    assert talus["volume_ml"] == pytest.approx((7 * 8 - 5 * 6) * 2 * 1.5 * 3 / 1000)
    voxel = np.linalg.solve(OBLIQUE, [*talus["centre_mm"], 1])[:3]
    assert np.allclose(voxel, np.rint(voxel), atol=1e-5)
    assert labels[tuple(np.rint(voxel).astype(int))] == 4
    assert other["name"] == "label 7"
    assert np.allclose(OBLIQUE @ [8, 10, 5, 1], [*other["centre_mm"], 1], atol=1e-4)
    corners = [OBLIQUE @ [x, y, z, 1] for x in (7.5, 8.5) for y in (8.5, 11.5) for z in (3.5, 6.5)]
    assert np.allclose(other["box_mm"], [np.min(corners, axis=0)[:3], np.max(corners, axis=0)[:3]], atol=1e-4)


def canonical(voxels: np.ndarray) -> nib.Nifti1Image:
    return nib.as_closest_canonical(nib.Nifti1Image(voxels.astype(np.float64), OBLIQUE))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
def test_served_files_hold_the_same_scan_in_16_bits(tmp_path: Path, dtype: type) -> None:
    voxels = np.abs(noise()) if np.issubdtype(dtype, np.unsignedinteger) else noise()
    voxels = (voxels % 250).astype(dtype)
    shown = show_case(pair_case(**save(tmp_path, voxels, (voxels > 100).astype(np.uint8) * 9)))
    scan, labels = (nib.Nifti1Image.from_bytes(data) for data in (shown.scan, shown.labels))
    assert scan.get_data_dtype() == np.int16
    assert labels.get_data_dtype() == np.uint8
    turned = canonical(voxels)
    assert np.abs(scan.get_fdata() - turned.get_fdata()).max() <= np.ptp(voxels) / 2**16
    assert np.array_equal(np.asarray(labels.dataobj), turned.get_fdata() > 100)
    assert np.allclose(scan.affine, turned.affine, atol=1e-5)
    assert np.allclose(labels.affine, turned.affine, atol=1e-5)
    low, high = np.percentile(voxels, [1, 99.5])
    assert float(scan.header["cal_min"]) == pytest.approx(low, abs=1e-3)
    assert float(scan.header["cal_max"]) == pytest.approx(high, abs=1e-3)
    assert labels.header.get_intent()[0] == "label"


def test_large_scans_are_thinned_in_place_and_bones_measured_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(viewed_volumes, "_MAX_VOXELS", 200)
    voxels, labels = noise(), np.zeros((10, 12, 8), np.uint8)
    labels[3, 3, 3] = 1  # falls between the voxels that are kept
    shown = show_case(pair_case(**save(tmp_path, voxels, labels)))
    scan = nib.Nifti1Image.from_bytes(shown.scan)
    assert shown.every == 2
    turned = canonical(voxels)
    assert scan.shape == (5, 4, 6)
    assert np.allclose(scan.affine @ [2, 1, 3, 1], turned.affine @ [4, 2, 6, 1], atol=1e-4)
    assert np.allclose(scan.get_fdata(), turned.get_fdata()[::2, ::2, ::2], atol=0.02)
    assert shown.bones[0]["volume_ml"] == pytest.approx(9 / 1000)


def test_slices_are_counted_as_the_file_does(tmp_path: Path) -> None:
    voxels, labels = noise((5, 6, 7)), np.zeros((5, 6, 7), np.uint8)
    affine = np.array([[0, 0, 3.0, 0], [-1, 0, 0, 0], [0, 2, 0, 0], [0, 0, 0, 1]])  # y backwards, z, x
    slices = show_case(pair_case(**save(tmp_path, voxels, labels, affine))).slices
    assert slices == [
        {"count": 7, "is_reversed": False},
        {"count": 5, "is_reversed": True},
        {"count": 6, "is_reversed": False},
    ]


def test_a_side_longer_than_a_texture_is_thinned_too(tmp_path: Path) -> None:
    voxels = noise((2049, 2, 3))
    assert show_case(pair_case(**save(tmp_path, voxels, np.zeros(voxels.shape, np.uint8)))).every == 2


def test_what_cannot_be_shown_is_said_in_a_line(tmp_path: Path) -> None:
    paths = save(tmp_path, noise(), np.arange(960, dtype=np.int32).reshape(10, 12, 8))
    with pytest.raises(InputError, match=r"a_seg.nii.gz must have at most 255 labels.*got 959 from 1 to 959"):
        show_case(pair_case(**paths))
    nib.save(nib.Nifti1Image(np.zeros((3, 3, 3), np.uint8), OBLIQUE), paths["segmentation"])
    with pytest.raises(InputError, match="must have the shape"):
        show_case(pair_case(**paths))


def box(path: Path, start: tuple[float, ...], matrix: np.ndarray, head: str = "") -> Path:
    """A box of 1 x 2 x 3 mm from `start` in RAS mm, in a file whose coordinates are `matrix` @ RAS."""
    mesh = trimesh.creation.box(bounds=[start, np.add(start, (1, 2, 3))])
    mesh.apply_transform(matrix)
    data = mesh.export(file_type=path.suffix[1:])
    if head:
        data = data.replace(b"format binary_little_endian 1.0\n", b"format binary_little_endian 1.0\n" + head.encode())
    path.write_bytes(data)
    return path


TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
TO_GLTF = np.array([[-1, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1000]]) / 1000


@pytest.mark.parametrize(
    ("name", "matrix", "head"),
    [
        ("a.ply", TO_LPS, ""),
        ("a.ply", TO_LPS, "comment SPACE=LPS\n"),
        ("a.ply", np.eye(4), "comment SPACE=RAS\n"),
        ("a.stl", TO_LPS, ""),
        ("a.glb", TO_GLTF, ""),
    ],
)
def test_meshes_come_out_in_the_patients_ras_millimetres(
    tmp_path: Path, name: str, matrix: np.ndarray, head: str
) -> None:
    data = read_mesh(box(tmp_path / name, (10, 20, 30), matrix, head))
    (tmp_path / "served.ply").write_bytes(data)
    mesh = trimesh.load(tmp_path / "served.ply")
    assert np.allclose(mesh.bounds, [(10, 20, 30), (11, 22, 33)], atol=1e-4)
    assert mesh.volume == pytest.approx(6, rel=1e-4)  # faces still look outwards


def test_a_mesh_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "talus.stl").write_bytes(b"no mesh")
    with pytest.raises(InputError, match=r"mesh talus.stl must be a surface, got one that fails"):
        read_mesh(tmp_path / "talus.stl")
