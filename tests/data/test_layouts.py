import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from custom_components.data.layouts import check_relative, is_dataset_json, match_pattern, translate_dataset_json
from custom_components.data.manifests import load_manifest
from custom_components.errors import InputError

DECATHLON = {
    "name": "Lumbar Spine",
    "modality": {"0": "MRI"},
    "labels": {"0": "background", "1": "L1", "2": "L2"},
    "licence": "CC-BY-SA 4.0",
    "reference": "made up",
    "numTraining": 1,
    "training": [{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}],
    "test": ["./imagesTs/b.nii.gz"],
}
NNUNET = {
    "channel_names": {"0": "T1"},
    "labels": {"background": 0, "L1": 1, "L2": 2},
    "numTraining": 1,
    "file_ending": ".nii.gz",
}
DATASET_JSON = Path("Dataset007_Lumbar", "dataset.json")


def touch(root: Path, *names: str) -> None:
    for name in names:
        root.joinpath(name).parent.mkdir(parents=True, exist_ok=True)
        root.joinpath(name).touch()


@pytest.mark.parametrize("value", ["a.nii", "./a/b.nii", "a..b/c.nii", "."])
def test_relative_paths_pass_as_they_are(value: str) -> None:
    assert check_relative(value, key="image", where="case 1") == value


@pytest.mark.parametrize(
    "value", ["/a.nii", "../a.nii", "a/../b.nii", "a\\..\\b.nii", "C:\\a.nii", "\\\\host\\a\\b.nii"]
)
def test_paths_that_leave_their_folder_are_refused(value: str) -> None:
    with pytest.raises(InputError, match=r"image in case 1 must be relative and without '\.\.', got .*give the folder"):
        check_relative(value, key="image", where="case 1")


def test_a_pattern_finds_cases_and_subjects(tmp_path: Path) -> None:
    touch(tmp_path, "images/b_left_T1.nii.gz", "images/a_right_T1.nii.gz", "images/a_left_T1.nii.gz")
    touch(tmp_path, "images/._a_left_T1.nii.gz", "images/a_left_T2.nii.gz", "images/notes.txt")
    pattern = {"image": "./images/{case}_T1.nii.gz", "label": "labels/{case}.nii.gz", "subject_pattern": "^(.+)_"}
    assert match_pattern(pattern, tmp_path, where="cases") == [
        {"name": name, "image": f"./images/{name}_T1.nii.gz", "label": f"labels/{name}.nii.gz", "subject": name[0]}
        for name in ("a_left", "a_right", "b_left")
    ]


def test_a_pattern_may_name_the_case_twice_and_a_folder_in_brackets(tmp_path: Path) -> None:
    touch(tmp_path, "[1]/a/a.nii", "[1]/b/b.nii", "[1]/b/a.nii", "1/c/c.nii")
    pattern = {"image": "[1]/{case}/{case}.nii", "subject": "s-{case}"}
    assert match_pattern(pattern, tmp_path, where="cases") == [
        {"name": "a", "image": "[1]/a/a.nii", "subject": "s-a"},
        {"name": "b", "image": "[1]/b/b.nii", "subject": "s-b"},
    ]


def test_a_pattern_that_fits_no_file_gives_no_entry(tmp_path: Path) -> None:
    assert match_pattern({"image": "{case}.nii"}, tmp_path, where="cases") == []
    assert match_pattern({"image": "{case}.nii"}, tmp_path / "missing", where="cases") == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"image": "images/a.nii"},
            r"image in cases of m\.yaml must hold \{case\} and no other wildcard, got 'images/a",
        ),
        ({"image": "*/{case}.nii"}, r"image in .* must hold \{case\} and no other"),
        ({"image": "{case}/{side}.nii"}, r"image in .* must hold \{case\} and no other"),
        ({"label": "labels/a.nii"}, r"label in .* must hold \{case\}"),
        ({"subject": "a"}, r"subject in .* must hold \{case\}"),
        ({"image": "/data/{case}.nii"}, "image in .* must be relative"),
        ({"image": "../{case}.nii"}, "image in .* must be relative"),
        ({"subject_pattern": "("}, "subject_pattern in .* must be a regular expression"),
        ({"subject_pattern": "a"}, "subject_pattern in .* must be a regular expression with one group"),
        ({"subject_pattern": "^(x)"}, "subject_pattern in .* must fit every case name, got no subject for a01"),
        ({"subject_pattern": "^(x?)"}, "subject_pattern in .* must fit every case name, got no subject for a01"),
    ],
)
def test_patterns_that_cannot_be_used(tmp_path: Path, changes: dict[str, str], message: str) -> None:
    touch(tmp_path, "images/a01.nii.gz")
    with pytest.raises(InputError, match=message):
        match_pattern({"image": "images/{case}.nii.gz"} | changes, tmp_path, where="cases of m.yaml")


def test_a_dataset_json_is_known_by_its_ending_and_keys() -> None:
    assert is_dataset_json(DECATHLON, Path("dataset.json"))
    assert is_dataset_json(NNUNET, Path("DATASET.JSON"))
    assert not is_dataset_json(NNUNET, Path("dataset.yaml"))
    assert not is_dataset_json({"domain": "ankle", "cases": []}, Path("ankle.json"))


def test_a_decathlon_file_is_translated() -> None:
    assert translate_dataset_json(DECATHLON, DATASET_JSON) == {
        "domain": "lumbar_spine",
        "modality": "MRI",
        "slice_axis": 2,
        "labels": {"0": "background", "1": "L1", "2": "L2"},
        "licence": "CC-BY-SA 4.0",
        "source": "made up",
        "cases": DECATHLON["training"],
    }


def test_an_nnunet_file_is_translated() -> None:
    assert translate_dataset_json(NNUNET, DATASET_JSON) == {
        "domain": "dataset007_lumbar",
        "modality": "T1",
        "slice_axis": 2,
        "labels": {"0": "background", "1": "L1", "2": "L2"},
        "licence": "not stated",
        "source": "not stated",
        "cases": {"image": "imagesTr/{case}_0000.nii.gz", "label": "labelsTr/{case}.nii.gz"},
    }


@pytest.mark.parametrize(("data", "image"), [(DECATHLON, "a.nii.gz"), (NNUNET, "a_0000.nii.gz")])
def test_a_translation_is_a_manifest(tmp_path: Path, data: dict[str, Any], image: str) -> None:
    touch(tmp_path, "imagesTr/other.txt", "labelsTr/a.nii.gz")
    nib.save(nib.Nifti1Image(np.zeros((2, 2, 2), np.uint8), np.eye(4)), tmp_path / "imagesTr" / image)
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps(data))
    manifest = load_manifest(path)
    assert (manifest.domain.plane, manifest.domain.labels) == ("axial", {1: "L1", 2: "L2"})
    assert [(case.name, case.image.name, case.label) for case in manifest.cases] == [
        ("a", image, tmp_path / "labelsTr" / "a.nii.gz")
    ]


def test_channels_of_an_nnunet_folder_are_files_of_one_case(tmp_path: Path) -> None:
    touch(tmp_path, "labelsTr/a.nii.gz")
    for number in range(2):
        path = tmp_path / "imagesTr" / f"a_000{number}.nii.gz"
        path.parent.mkdir(exist_ok=True)
        nib.save(nib.Nifti1Image(np.zeros((2, 2, 2), np.uint8), np.eye(4)), path)
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps(NNUNET | {"channel_names": {"1": "fat", "0": "water"}}))
    manifest = load_manifest(path)
    assert manifest.domain.channels == ("water", "fat")
    [case] = manifest.cases
    assert (case.name, [file.name for file in case.images]) == ("a", ["a_0000.nii.gz", "a_0001.nii.gz"])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (DECATHLON | {"modality": {"0": "T2", "1": "ADC"}}, "must have one channel, got .*ADC"),
        (DECATHLON | {"modality": "MRI"}, "must have one channel, got 'MRI'"),
        (DECATHLON | {"labels": ["L1"]}, "labels in .* must be a mapping"),
        (NNUNET | {"channel_names": {}}, "must have one channel"),
        (NNUNET | {"channel_names": {"0": "T2", "2": "ADC"}}, "channel_names in .* must be numbered from 0, got 0, 2"),
        (NNUNET | {"labels": {"background": 0, "bone": [1, 2]}}, "must be single values, got a region or ignore label"),
        (NNUNET | {"labels": {"background": 0, "L1": 1, "ignore": 2}}, "got a region or ignore label 'ignore'"),
    ],
)
def test_dataset_files_that_cannot_be_used(data: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        translate_dataset_json(data, DATASET_JSON)
    assert str(DATASET_JSON) in str(caught.value)
