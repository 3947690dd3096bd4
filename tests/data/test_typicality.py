"""Who is unlike the others: features by hand, planted odd ones, and the same whatever the order of storage."""

import math
from pathlib import Path

import nibabel
import numpy as np
import pytest
from custom_components.data.cases import Case
from custom_components.data.manifests import Manifest
from custom_components.data.typicality import case_features, distances_from_typical, least_typical_subjects
from custom_components.domains import Domain
from custom_components.errors import InputError
from nibabel.orientations import apply_orientation, inv_ornt_aff

AFFINE = np.diag([1.0, 2.0, 4.0, 1.0])


def scan(seed: int, *, brightness: float = 1.0, contrast: float = 1.0, moved: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Noise around two bright boxes, the second three voxels thick."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((12, 12, 6), np.uint8)
    labels[2 + moved : 5 + moved, 2:5, 1:4] = 7
    labels[7:10, 6:10, 2:5] = 3
    image = 0.3 + rng.uniform(-0.02, 0.02, labels.shape) + contrast * 0.5 * (labels > 0)
    return (1000 * brightness * image).astype(np.float32), labels


def data_set(folder: Path, scans: dict[str, tuple[np.ndarray, np.ndarray]]) -> Manifest:
    """A case a name; the subject is the part of the name before the dash."""
    cases = []
    for name, (image, labels) in scans.items():
        paths = folder / f"{name}.nii", folder / f"{name}_label.nii"
        for path, voxels in zip(paths, (image, labels), strict=True):
            nibabel.save(nibabel.Nifti1Image(voxels, AFFINE), path)
        cases.append(Case(name, "ankle", *paths, name.partition("-")[0]))
    unlabelled = Case("x", "ankle", folder / "none.nii", None, "x")
    domain = Domain("ankle", {7: "talus", 3: "tibia"}, "axial")
    return Manifest(domain, (*cases, unlabelled), "CC0-1.0", "made up", folder / "ankle.yaml")


def test_features_by_hand() -> None:
    image = np.zeros((10, 10, 1))
    image[5:] = 4.0  # half of it, in one step
    classes = np.zeros((10, 10, 1), int)
    classes[2:4, 0:5] = 2
    found = case_features(image, classes, AFFINE, num_classes=3)
    assert found[:5].tolist() == [0.5, 0.5, 0, 0.5, 1]
    assert found[5] == pytest.approx(1 / 3)  # one step in nine along x, none along y, no neighbours along z
    assert np.isnan(found[6:10]).all()  # no bone of class 1
    # 10 voxels of 1 x 2 x 4 mm, from 2 to 4 of 10 and from 0 to 5 of 10
    assert found[10:14].tolist() == pytest.approx([0.3, 0.25, 0.5, math.log(80)])
    assert found[14:].tolist() == pytest.approx([math.log(2), math.log(10), math.log(4)])
    assert np.isnan(case_features(image, 0 * classes, AFFINE, num_classes=3)[6:]).all()


def test_features_do_not_depend_on_how_a_scan_is_stored_or_scaled() -> None:
    image, labels = scan(0)
    turn = np.array([[2, -1], [0, 1], [1, -1]])
    affine = AFFINE @ inv_ornt_aff(turn, image.shape)
    turned = case_features(3 * apply_orientation(image, turn), apply_orientation(labels, turn), affine, num_classes=8)
    np.testing.assert_allclose(turned, case_features(image, labels, AFFINE, num_classes=8), rtol=1e-5)


@pytest.mark.parametrize("odd", [{"contrast": 0.2}, {"moved": 3}])
def test_one_that_looks_or_lies_otherwise_is_the_least_typical(odd: dict, tmp_path: Path) -> None:
    scans = {f"s{index}": scan(index) for index in range(6)}
    manifest = data_set(tmp_path, {**scans, "s3": scan(3, **odd)})
    distances = distances_from_typical(manifest)
    assert list(distances) == list(scans)  # nobody without a label
    assert max(distances, key=distances.__getitem__) == "s3"
    assert distances["s3"] > 3 * sorted(distances.values())[-2]
    assert least_typical_subjects(manifest) == ["s3"]


def test_brightness_alone_makes_nobody_untypical(tmp_path: Path) -> None:
    manifest = data_set(tmp_path, {f"s{index}": scan(0, brightness=2**index) for index in range(4)})
    assert list(distances_from_typical(manifest).values()) == [0] * 4
    assert least_typical_subjects(manifest) == ["s0"]  # of equal ones the first


def test_cases_of_a_subject_are_averaged_and_lacking_bones_left_out(tmp_path: Path) -> None:
    image, labels = scan(9)
    scans = {f"s{index}": scan(index) for index in range(5)}
    scans["s5-1"], scans["s5-2"] = scan(5, contrast=0.2), scan(6)
    scans["s6-1"] = scan(7, contrast=0.2)
    scans["s7"] = image, np.where(labels == 3, 0, labels)
    distances = distances_from_typical(data_set(tmp_path, scans))
    assert distances["s4"] < distances["s5"] < distances["s6"]
    assert all(math.isfinite(distance) for distance in distances.values())


def test_a_fifth_is_the_least_typical_in_the_order_of_the_manifest(tmp_path: Path) -> None:
    scans = {f"s{index}": scan(index, moved=3 * (index in (1, 8))) for index in range(11)}
    assert least_typical_subjects(data_set(tmp_path, scans)) == ["s1", "s8"]


def test_labels_that_the_domain_lacks_are_refused(tmp_path: Path) -> None:
    image, labels = scan(0)
    with pytest.raises(InputError, match=r"label values in s0_label\.nii must be 0 or one of \[7, 3\].*got 9"):
        distances_from_typical(data_set(tmp_path, {"s0": (image, np.where(labels == 3, 9, labels))}))
