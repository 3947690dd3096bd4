"""Names of labels that disagree with the manifest."""

import shutil
from pathlib import Path

import pytest
from custom_components.io.label_names import label_extension, write_label_names
from custom_components.io.volumes import read_label, write_label_map

from multijoint.checks.checking import check_manifests
from multijoint.phantoms import write_phantoms

NAMES = {1: "calcaneus", 2: "talus", 3: "tibia"}


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    (path,) = write_phantoms(tmp_path_factory.mktemp("clean"), domains=["ankle"], num_cases=3, size=40)
    return path.parent


@pytest.fixture
def folder(clean: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(clean, tmp_path / "ankle"))


def found(folder: Path) -> list[str]:
    findings = [each for each in check_manifests([folder / "manifest.yaml"]).findings if each.rule == "label-names"]
    assert {(each.level, each.case, each.domain) for each in findings} <= {("warning", "", "ankle")}
    return [each.message for each in findings]


def label_maps(folder: Path) -> list[Path]:
    return sorted((folder / "labels").glob("*.nii.gz"))


def test_the_same_names_in_any_writing_are_no_finding(folder: Path) -> None:
    assert found(folder) == []
    for path in label_maps(folder):
        label = read_label(path)
        write_label_map(path, label.array, like=label, extension=label_extension(NAMES))
        write_label_names(path, {value: name.upper() for value, name in NAMES.items()} | {9: "femur"})
    assert found(folder) == []


def test_other_names_are_told_once_with_their_files(folder: Path) -> None:
    for path in label_maps(folder):
        label = read_label(path)
        write_label_map(path, label.array, like=label, extension=label_extension({2: "tibia", 3: "talus"}))
    (folder / "labels" / "bones.ctbl").write_text("1 Cal\x1b[2J 1 2 3 255\n2 tibia 1 2 3 255\n")
    (folder / "labels" / "broken.label").write_text("2 femur\n")
    assert found(folder) == [
        r'value 1 is "calcaneus" in the manifest but "Cal\x1b[2J" in bones.ctbl; correct one of them',
        'value 2 is "talus" in the manifest but "tibia" in bones.ctbl and 3 other files; correct one of them',
        'value 3 is "tibia" in the manifest but "talus" in ankle_000.nii.gz and 2 other files; correct one of them',
    ]
