"""Phantoms are reproducible, anatomically plausible and written with consistent geometry."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
import yaml
from custom_components.domains import Domain
from custom_components.errors import InputError
from scipy.ndimage import binary_dilation, binary_erosion
from scipy.ndimage import label as label_components

from multijoint.phantoms import PHANTOM_DOMAINS, write_phantoms
from multijoint.phantoms.canvas import Canvas, Pose
from multijoint.phantoms.recipes import make_phantom, rasterise
from multijoint.phantoms.shapes import ellipsoid, outlined, plate, smooth_min, tube
from multijoint.phantoms.subject import Subject

SIZE = 64
# Labels cut off by the first and by the last slice.
CUT = {"ankle": (set(), {3}), "shoulder": ({1}, set()), "knee": ({2}, {1})}
NUM_CASES = 3
JOINTS = ("ankle", "shoulder", "knee")
CASES = [(domain, index) for domain in JOINTS for index in range(NUM_CASES)]
# Smallest and largest volume (ml) of the part in the field of view, from a small five-year-old to a tall adult.
VOLUMES_ML = {
    "ankle": {"calcaneus": (12, 80), "talus": (7, 50), "tibia": (15, 110)},
    "shoulder": {"humerus": (20, 160), "scapula": (12, 130)},
    "knee": {"femur": (40, 280), "tibia": (30, 190), "patella": (3, 30)},
}


@dataclass(frozen=True)
class Case:
    image: np.ndarray
    label: np.ndarray
    files: tuple[nib.Nifti1Image, nib.Nifti1Image]

    @property
    def affine(self) -> np.ndarray:
        return self.files[0].affine

    @property
    def voxel_ml(self) -> float:
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("phantoms")
    manifests = write_phantoms(out, domains=JOINTS, num_cases=NUM_CASES, seed=3, size=SIZE)
    assert manifests == [out / domain / "manifest.yaml" for domain in JOINTS]
    return out


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0]}_{case[1]:03d}")
def case(request: pytest.FixtureRequest, written: Path) -> tuple[str, Case]:
    domain, index = request.param
    return domain, read(written, domain, index)


def read(out: Path, domain: str, index: int) -> Case:
    files = tuple(nib.load(out / domain / kind / f"{domain}_{index:03d}.nii.gz") for kind in ("images", "labels"))
    image, label = (np.asarray(file.dataobj) for file in files)
    return Case(image, label, files)


def test_a_pair_has_each_bone_on_its_own_side(tmp_path: Path) -> None:
    write_phantoms(tmp_path, domains=["ankles"], num_cases=3, seed=3, size=SIZE)
    ways = set()
    for index in range(3):
        case = read(tmp_path, "ankles", index)
        ways.add(bool(case.affine[0, 0] > 0))
        volumes = []
        for value, name in PHANTOM_DOMAINS["ankles"].labels.items():
            where = np.argwhere(case.label == value)
            x = where @ case.affine[0, :3] + case.affine[0, 3]
            assert (x < 0).all() if name.startswith("left") else (x > 0).all(), name  # x runs to the right
            assert label_components(case.label == value)[1] == 1
            volumes.append(len(where))
        np.testing.assert_allclose(volumes[:3], volumes[3:], rtol=0.6)
    assert ways == {False, True}


def test_a_case_depends_on_seed_domain_and_number_alone(written: Path, tmp_path: Path) -> None:
    write_phantoms(tmp_path, domains=["shoulder"], num_cases=1, seed=3, size=SIZE)
    for kind in ("images", "labels"):
        name = f"shoulder/{kind}/shoulder_000.nii.gz"
        assert (tmp_path / name).read_bytes() == (written / name).read_bytes()
    write_phantoms(tmp_path, domains=["shoulder"], num_cases=1, seed=4, size=SIZE)
    name = "shoulder/labels/shoulder_000.nii.gz"
    assert (tmp_path / name).read_bytes() != (written / name).read_bytes()
    assert not [path for path in tmp_path.rglob("*") if path.name.endswith(".part")]


def test_an_unstable_kneecap_lies_high_and_to_the_outer_side() -> None:
    recipe, found = PHANTOM_DOMAINS["knee"], {True: [], False: []}
    for index in range(9):
        at = {}

        def build(canvas: Canvas, subject: Subject, at: dict = at) -> dict[int, np.ndarray]:
            bones = recipe.build(canvas, subject)
            inside = np.broadcast_arrays(*canvas.points, bones[3] < 0)
            at[subject.pathological] = [float(axis[inside[3]].mean()) for axis in inside[:3]]
            return bones

        make_phantom(replace(recipe, build=build), index=index, size=48, rng=np.random.default_rng(index))
        for sick, place in at.items():
            found[sick].append(place)
    (x, _, z), (healthy_x, _, healthy_z) = (np.mean(found[sick], axis=0) for sick in (True, False))
    assert (len(found[True]), len(found[False])) == (3, 6)
    assert z > healthy_z + 5, "reference mm: patella alta"
    assert x < healthy_x - 2, "x runs to medial"


def test_subjects_differ(written: Path) -> None:
    for domain in JOINTS:
        volumes = [np.bincount(read(written, domain, index).label.ravel())[1:] for index in range(NUM_CASES)]
        assert len({tuple(volume) for volume in volumes}) == NUM_CASES


def test_each_bone_is_one_piece_of_plausible_volume(case: tuple[str, Case]) -> None:
    domain, scan = case
    labels = PHANTOM_DOMAINS[domain].labels
    assert sorted(np.unique(scan.label)) == [0, *labels]
    for value, bone in labels.items():
        assert label_components(scan.label == value)[1] == 1, bone
        low, high = VOLUMES_ML[domain][bone]
        assert low < (scan.label == value).sum() * scan.voxel_ml < high, bone


def test_long_bones_leave_the_field_of_view_and_short_ones_do_not(case: tuple[str, Case]) -> None:
    domain, scan = case
    assert scan.affine[2, 2] > 0, "slices are stacked upwards"
    bottom, top = (set(np.unique(scan.label[:, :, k])) - {0} for k in (0, -1))
    assert (bottom, top) == CUT[domain]
    for axis in (0, 1):
        assert not np.take(scan.label, [0, -1], axis=axis).any()


@pytest.mark.parametrize("index", range(3))
@pytest.mark.parametrize(
    ("domain", "joints"), [("ankle", [(1, 2), (2, 3)]), ("shoulder", [(1, 2)]), ("knee", [(1, 2), (1, 3)])]
)
def test_joint_spaces_are_narrow_and_bones_never_overlap(
    domain: str, joints: list[tuple[int, int]], index: int
) -> None:
    recipe, distances = PHANTOM_DOMAINS[domain], {}

    def build(canvas: Canvas, subject: Subject) -> dict[int, np.ndarray]:
        distances.update(recipe.build(canvas, subject))
        return distances

    make_phantom(replace(recipe, build=build), index=index, size=48, rng=np.random.default_rng(index))
    for first, second in joints:
        # The two distances add up to the width of the joint space on the shortest way across it.
        assert 1.39 < (distances[first] + distances[second]).min() < 2.81, (first, second)
    if domain == "ankle":
        assert (distances[1] + distances[3]).min() > 1.39, "calcaneus and tibia"
    if domain == "knee":
        assert (distances[2] + distances[3]).min() > 1.39, "tibia and patella"


def test_bones_lie_where_anatomy_puts_them(case: tuple[str, Case]) -> None:
    domain, scan = case
    centre = {
        bone: nib.affines.apply_affine(scan.affine, np.argwhere(scan.label == value)).mean(0)
        for value, bone in PHANTOM_DOMAINS[domain].labels.items()
    }
    if domain == "ankle":
        assert centre["calcaneus"][2] < centre["talus"][2] < centre["tibia"][2]
        assert centre["calcaneus"][1] < centre["talus"][1], "the heel points backwards"
    elif domain == "knee":
        assert centre["tibia"][2] < centre["patella"][2] < centre["femur"][2]
        assert max(centre["femur"][1], centre["tibia"][1]) + 10 < centre["patella"][1], "the kneecap lies in front"
    else:
        assert abs(centre["scapula"][0]) < abs(centre["humerus"][0]), "the arm is lateral"
        assert centre["scapula"][1] < centre["humerus"][1], "the scapula lies on the back"


def test_contrast_is_that_of_fatty_marrow_in_dark_air(case: tuple[str, Case]) -> None:
    domain, scan = case
    bone = scan.label > 0
    marrow = scan.image[binary_erosion(scan.label == (3 if domain == "ankle" else 1))].mean()
    around = scan.image[binary_dilation(bone, iterations=3) & ~binary_dilation(bone, iterations=1)]
    corners = [scan.image[x, y].mean() for x in (0, -1) for y in (0, -1)]
    assert marrow > 1.25 * np.median(around), "mostly muscle lies around the bones"
    assert min(corners) < 0.15 * marrow, "air"
    assert scan.image.dtype == np.int16
    assert 0 <= scan.image.min() < scan.image.max() <= 1500


def test_geometry_is_consistent(case: tuple[str, Case]) -> None:
    domain, scan = case
    for file in scan.files:
        np.testing.assert_allclose(file.get_qform(), file.get_sform(), atol=1e-3)
        np.testing.assert_array_equal(file.get_sform(), scan.files[0].get_sform())
        assert (int(file.header["qform_code"]), int(file.header["sform_code"])) == (1, 1)
        assert file.header.get_xyzt_units()[0] == "mm"
        assert nib.aff2axcodes(file.affine) in (("R", "A", "S"), ("L", "P", "S"))
    assert scan.files[1].get_data_dtype() == np.uint8
    assert scan.image.shape == scan.label.shape
    spacing = nib.affines.voxel_sizes(scan.affine)
    longer = max(PHANTOM_DOMAINS[domain].extent_mm[:2])
    np.testing.assert_allclose(
        spacing, longer / SIZE * np.array([1, 1, PHANTOM_DOMAINS[domain].slice_voxels]), rtol=1e-5
    )
    assert max(scan.image.shape) == SIZE
    assert np.abs(scan.affine[2, :2]).max() > 1e-3, "slices are oblique"


def test_manifest_describes_the_files(written: Path) -> None:
    for domain in JOINTS:
        recipe = PHANTOM_DOMAINS[domain]
        manifest = yaml.safe_load((written / domain / "manifest.yaml").read_text())
        assert Domain(manifest["domain"], manifest["labels"], manifest["plane"]).num_classes == len(recipe.labels) + 1
        assert manifest["source"] == "generated by `multijoint phantoms --seed 3`"
        assert [row["group"] for row in manifest["cases"]] == ["healthy", "healthy", "pathological"]
        for row in manifest["cases"]:
            assert (written / domain / row["image"]).is_file()
            assert (written / domain / row["label"]).is_file()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"domains": ["elbow"]}, "domains must be among ankle, ankles, shoulder, knee, dixon, shapes, got elbow"),
        ({"domains": []}, "domains must be among ankle, ankles, shoulder, knee, dixon, shapes, got none"),
        ({"num_cases": 0}, "num_cases must be at least 1, got 0"),
        ({"size": 31}, "size must be at least 32, got 31"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
    ],
)
def test_unusable_requests_are_refused(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        write_phantoms(tmp_path / "out", **changes)
    assert not (tmp_path / "out").exists()


def points(*rows: tuple[float, float, float]) -> tuple[np.ndarray, ...]:
    return tuple(np.array(rows, np.float32).T)


def test_distances_worked_by_hand() -> None:
    capsule = tube([(0, 0, 0), (0, 0, 10)], [2, 4])
    np.testing.assert_allclose(capsule.distance(points((0, 0, -5), (5, 0, 5), (0, 0, 20))), [3, 2, 6], atol=1e-5)
    egg = ellipsoid((1, 0, 0), (4, 2, 2))
    np.testing.assert_allclose(egg.distance(points((5, 0, 0), (1, 2, 0), (1, 0, 3))), [0, 0, 1], atol=1e-5)
    sheet = plate(
        [(-30, -30), (30, -30), (30, 30), (-30, 30)], normal=2, height=lambda x, y: 5 + 0 * x, thickness=2, blend=0
    )
    np.testing.assert_allclose(sheet.distance(points((0, 0, 5), (0, 0, 9), (2, 1, 1))), [-1, 3, 3], atol=1e-4)
    cube = outlined({"xy": SQUARE, "yz": SQUARE}, blend=0)
    np.testing.assert_allclose(cube.distance(points((0, 0, 0), (13, 0, 0), (0, 0, 14))), [-10, 3, 4], atol=0.02)


SQUARE = [(-10.0, -10.0), (10.0, -10.0), (10.0, 10.0), (-10.0, 10.0)]


def test_a_smooth_union_contains_both_shapes() -> None:
    values = np.random.default_rng(0).normal(size=(2, 1000)).astype(np.float32)
    joined = smooth_min(values[0], values[1], 1.0)
    assert (joined <= values.min(0) + 1e-6).all()
    assert np.isclose(smooth_min(values[0], values[0], 1.0), values[0] - 0.25, atol=1e-6).all()


def test_labels_bridge_a_crack_and_drop_a_crumb() -> None:
    field = np.full((6, 4, 6), 5, np.float32)
    field[0, 0], field[1, 1] = -5, -5  # two columns of voxels that touch along an edge only
    field[1, 0, 3:] = 0.3  # a fifth of the voxel between them
    field[5, 3, :3] = -5
    grid = SimpleNamespace(shape=field.shape, edge_mm=1.0)
    label = rasterise(grid, {7: field})
    assert np.argwhere(label == 7).tolist() == [[0, 0, 0], [0, 0, 1], [1, 0, 1], [1, 1, 0], [1, 1, 1]]


def test_a_pose_turns_about_its_pivot_and_then_shifts() -> None:
    matrix = Pose((0, 0, 90), pivot=(1, 0, 0), shift=(0, 0, 5)).matrix()
    np.testing.assert_allclose(matrix @ [2, 0, 0, 1], [1, 1, 5, 1], atol=1e-12)
