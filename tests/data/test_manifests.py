import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import yaml
from custom_components.data.manifests import load_manifest, load_manifests
from custom_components.errors import InputError

SHIPPED = sorted(Path(__file__).parents[2].joinpath("data_manifests").glob("*.yaml"))
ANKLE = {
    "domain": "ankle",
    "modality": "MR, T1",
    "plane": "axial",
    "labels": {0: "background", 1: "calcaneus", 2: "talus"},
    "licence": "CC0-1.0",
    "source": "made up",
    "cases": [{"image": "images/a01.nii.gz", "label": "labels/a01.nii.gz"}],
}


@pytest.mark.parametrize(
    "text", ["domain: 0x" + "f" * 6000, "labels: {0x" + "f" * 6000 + ": a}", "n: [" + "9" * 6000 + "]"]
)
def test_numbers_too_long_to_print_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.yaml").write_text(text)
    with pytest.raises(InputError, match=r"manifest\.yaml must (have at most 64 bits|be valid yaml)"):
        load_manifest(tmp_path / "manifest.yaml")


def test_json_nested_too_deep_is_refused(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text('{"labels":' * 50_000)
    with pytest.raises(InputError, match="must be valid json"):
        load_manifest(tmp_path / "dataset.json")


def touch(root: Path, *names: str) -> None:
    for name in names:
        root.joinpath(name).parent.mkdir(parents=True, exist_ok=True)
        root.joinpath(name).touch()


def scan(path: Path, codes: str) -> None:
    """A small volume whose axes run to `codes`, e.g. "RAS"."""
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = nib.orientations.inv_ornt_aff(nib.orientations.axcodes2ornt(codes), (2, 2, 2))
    nib.save(nib.Nifti1Image(np.zeros((2, 2, 2), np.uint8), affine), path)


def write(tmp_path: Path, **changes: Any) -> Path:
    """The manifest above with some keys changed, or removed where the new value is None."""
    data = {key: value for key, value in (ANKLE | changes).items() if value is not None}
    path = tmp_path / "ankle.yaml"
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    return path


def test_reads_a_list_of_cases(tmp_path: Path) -> None:
    touch(tmp_path, "images/a01.nii.gz", "labels/a01.nii.gz", "images/a02.nii")
    cases = [
        {"image": "images/a01.nii.gz", "label": "labels/a01.nii.gz"},
        {"image": "images/a02.nii", "name": "late", "subject": "s7", "group": "healthy"},
    ]
    manifest = load_manifest(write(tmp_path, cases=cases))
    assert manifest.domain.to_dict() == {
        "name": "ankle",
        "labels": [[1, "calcaneus"], [2, "talus"]],
        "plane": "axial",
        "modality": "MR, T1",
    }
    first, second = manifest.cases
    assert (first.name, first.subject, first.group, first.domain) == ("a01", "a01", None, "ankle")
    assert (first.image, first.label) == (tmp_path / "images/a01.nii.gz", tmp_path / "labels/a01.nii.gz")
    assert (second.name, second.subject, second.group, second.label) == ("late", "s7", "healthy", None)
    assert (manifest.licence, manifest.source, manifest.path) == ("CC0-1.0", "made up", tmp_path / "ankle.yaml")


def test_json_is_the_same_format(tmp_path: Path) -> None:
    touch(tmp_path, "images/a01.nii.gz", "labels/a01.nii.gz")
    path = tmp_path / "ankle.json"
    path.write_text(json.dumps(ANKLE))
    assert load_manifest(path).domain == load_manifest(write(tmp_path)).domain


def test_root_is_relative_to_the_given_folder(tmp_path: Path) -> None:
    touch(tmp_path / "data" / "ankle", "images/a01.nii.gz", "labels/a01.nii.gz")
    path = write(tmp_path, root="ankle")
    assert load_manifest(path, dataset_dir=tmp_path / "data").cases[0].image.is_file()
    with pytest.raises(InputError, match=r"root of .*ankle\.yaml must be an existing folder, got .*ankle;"):
        load_manifest(path)


def test_a_pattern_becomes_cases(tmp_path: Path) -> None:
    touch(tmp_path, "b_left.nii", "a_left.nii", "a_right.nii", "labels/a_left.nii", "labels/a_right.nii")
    pattern = {"image": "{case}.nii", "label": "labels/{case}.nii", "subject_pattern": "^(.+)_"}
    with pytest.raises(InputError, match=r"label of case b_left in .* must exist, got no file .*b_left\.nii"):
        load_manifest(write(tmp_path, cases=pattern))
    touch(tmp_path, "labels/b_left.nii")
    cases = load_manifest(write(tmp_path, cases=pattern)).cases
    assert [(case.name, case.subject) for case in cases] == [("a_left", "a"), ("a_right", "a"), ("b_left", "b")]
    assert (cases[0].image, cases[0].label) == (tmp_path / "a_left.nii", tmp_path / "labels" / "a_left.nii")


PAIR = ["images/a01_0000.nii.gz", "images/a01_0001.nii.gz"]


@pytest.mark.parametrize(
    "cases",
    [
        [{"image": PAIR, "label": "labels/a01.nii.gz", "name": "a01"}],
        [{"image": {"fat": PAIR[1], "water": PAIR[0]}, "label": "labels/a01.nii.gz", "name": "a01"}],
        {"image": [f"images/{{case}}_000{number}.nii.gz" for number in range(2)], "label": "labels/{case}.nii.gz"},
    ],
    ids=["list", "mapping", "pattern"],
)
def test_a_case_has_a_file_for_each_channel(tmp_path: Path, cases: Any) -> None:
    touch(tmp_path, *PAIR, "labels/a01.nii.gz")
    path = write(tmp_path, channels=["water", "fat"], cases=cases)
    manifest = load_manifest(path)
    assert manifest.domain.channels == ("water", "fat")
    [case] = manifest.cases
    assert (case.name, case.images) == ("a01", tuple(tmp_path / file for file in PAIR))
    (tmp_path / PAIR[1]).unlink()
    with pytest.raises(InputError, match=r"image of case a01 in .* must exist, got no file a01_0001\.nii\.gz"):
        load_manifest(path)


@pytest.mark.parametrize(
    ("channels", "image", "message"),
    [
        (["water", "fat"], PAIR[:1], r"one file for each of the channels water, fat, got \['images/a01_0000"),
        (["water", "fat"], PAIR[0], "one file for each of the channels water, fat, got"),
        (["water", "fat"], {"water": PAIR[0]}, "one file for each of the channels water, fat, got none for fat"),
        (["water", "fat"], dict(zip(["water", "fat", "in"], [*PAIR, "c.nii"], strict=True)), "got 'in' besides"),
        (["water", "fat"], [PAIR[0], "../b.nii"], r"image in case 1 .* must be relative and without '\.\.'"),
        (None, PAIR, "must be one file, got .*; name the channels of the images: channels"),
        (["water"], PAIR[:1], "channels of domain ankle must be two or more different names"),
        ("water", PAIR, "channels in .* must be a list, got 'water'"),
    ],
)
def test_channels_without_their_files_are_refused(tmp_path: Path, channels: Any, image: Any, message: str) -> None:
    touch(tmp_path, *PAIR)
    with pytest.raises(InputError, match=message):
        load_manifest(write(tmp_path, channels=channels, cases=[{"image": image}]))


def test_a_pattern_may_match_nothing_if_files_are_not_checked(tmp_path: Path) -> None:
    path = write(tmp_path, root="missing", cases={"image": "{case}.nii"})
    assert load_manifest(path, check_files=False).cases == ()


@pytest.mark.parametrize(
    ("codes", "axis", "plane"), [("RAS", 2, "axial"), ("IPL", 2, "sagittal"), ("LIA", 2, "coronal")]
)
def test_slice_axis_becomes_a_plane(tmp_path: Path, codes: str, axis: int, plane: str) -> None:
    scan(tmp_path / "images" / "a.nii.gz", codes)
    manifest = load_manifest(write(tmp_path, plane=None, slice_axis=axis, cases={"image": "images/{case}.nii.gz"}))
    assert manifest.domain.plane == plane


def test_slice_axis_that_means_different_planes(tmp_path: Path) -> None:
    for name, codes in (("a", "IPL"), ("b", "RAS"), ("c", "RAS")):
        scan(tmp_path / "images" / f"{name}.nii", codes)
    path = write(tmp_path, plane=None, slice_axis=2, cases={"image": "images/{case}.nii"})
    with pytest.raises(InputError, match=r"slices of a\.nii along axis 2 must be axial .*got sagittal; set plane:"):
        load_manifest(path)


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "unknown key": ({"licens": "CC0"}, "key in .* must be a known one, got 'licens'; did you mean licence"),
    "far-off key": ({"xyz": "CC0"}, "got 'xyz'; known are domain, description"),
    "missing key": ({"licence": None}, "licence in .* must be given"),
    "wrong type": ({"source": 7}, "source in .* must be text .*, got 7"),
    "boolean": ({"plane": None, "slice_axis": True}, "slice_axis in .* must be a whole number, got True"),
    "name": ({"domain": "My Ankle"}, "domain in .* must be lower-case letters, digits, _ or -, got 'My Ankle'"),
    "plane": ({"plane": "oblique"}, r"plane of domain ankle must be one of .*got 'oblique' \(.*ankle.yaml\)"),
    "both": ({"slice_axis": 2}, "must have either plane or slice_axis, got both"),
    "neither": ({"plane": None}, "must have either plane or slice_axis, got none"),
    "axis": ({"plane": None, "slice_axis": 3}, "slice_axis in .* must be 0, 1 or 2, got 3"),
    "label value": ({"labels": {"one": "talus"}}, "label value in .* must be a whole number given once, got 'one'"),
    "label twice": ({"labels": {1: "talus", "1": "tibia"}}, "label value in .* given once, got '1'"),
    "label name": ({"labels": {1: False}}, "name of label 1 in .* must be text, got False; put it in quotes"),
    "label 0": ({"labels": {0: "talus"}}, "label 0 in .* must be background, got 'talus'"),
    "label 300": ({"labels": {300: "talus"}}, r"label values of domain ankle .*got \[300\].*ankle.yaml"),
    "no labels": ({"labels": {}}, "label values of domain ankle"),
    "root": ({"root": "../other"}, r"root in .* must be relative and without '\.\.', got '\.\./other'"),
    "absolute root": ({"root": "/data"}, "root in .* must be relative"),
    "cases": ({"cases": "images"}, "cases in .* must be a list or a mapping"),
    "no cases": ({"cases": []}, "cases of .* must be one or more, got 0"),
    "case": ({"cases": ["a01.nii"]}, "case 1 of .* must be a mapping, got 'a01.nii'"),
    "case key": ({"cases": [{"imag": "a.nii"}]}, "key in case 1 of .* got 'imag'; did you mean image"),
    "no image": ({"cases": [{"label": "a.nii"}]}, "image in case 1 of .* must be given"),
    "subject": ({"cases": [{"image": "a.nii", "subject": 1}]}, "subject in case 1 of .* must be text .*quotes.* got 1"),
    "case name": ({"cases": [{"image": "a.nii", "name": "../a"}]}, "name in case 1 of .* usable as a file name"),
    "absolute": ({"cases": [{"image": "/data/a.nii"}]}, "image in case 1 of .* must be relative"),
    "drive": ({"cases": [{"image": "C:\\a.nii"}]}, "image in case 1 of .* must be relative"),
    "escape": ({"cases": [{"image": "a.nii", "label": "x/../../a.nii"}]}, "label in case 1 of .* must be relative"),
    "no file": ({"cases": [{"image": "a.nii"}]}, r"image of case a in .* must exist, got no file .*a\.nii"),
    "no label file": (
        {"cases": [{"image": "images/a01.nii.gz", "label": "l.nii"}]},
        r"label of case a01 in .* must exist, got no file .*l\.nii",
    ),
    "same names": (
        {"cases": [{"image": "a.nii"}, {"image": "b/a.nii.gz"}]},
        "case names in .* must differ, got a twice",
    ),
    "nothing found": ({"cases": {"image": "scans/{case}.nii"}}, r"must match files in .*, got none for scans/\{case\}"),
    "pattern key": ({"cases": {"image": "{case}.nii", "case": "a"}}, "key in cases of .* must be a known one"),
    "pattern": ({"cases": {"image": "images/a.nii"}}, r"image in cases of .*ankle\.yaml must hold \{case\}"),
}


@pytest.mark.parametrize("problem", BROKEN)
def test_what_breaks_the_format_is_refused(tmp_path: Path, problem: str) -> None:
    touch(tmp_path, "images/a01.nii.gz", "labels/a01.nii.gz")
    changes, message = BROKEN[problem]
    with pytest.raises(InputError, match=message) as caught:
        load_manifest(write(tmp_path, **changes))
    assert str(caught.value).count(str(tmp_path / "ankle.yaml")) == 1


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.yaml", "domain: a\ndomain: b\n", r"a\.yaml must be valid yaml, got: the key domain twice"),
        ("a.yaml", "labels: {1: x, 1: y}\n", "the key 1 twice"),
        ("a.json", '{"domain": "a", "domain": "b"}', r"a\.json must be valid json, got: the key domain twice"),
        ("a.yaml", "domain: [a\n", "must be valid yaml"),
        ("a.yaml", "? [a]\n: b\n", "must be valid yaml"),
        ("a.json", "{", "must be valid json"),
        ("a.yaml", "- a\n", "must be a mapping of keys, got list"),
        ("a.txt", "domain: a\n", r"must be an existing \.yaml or \.json file"),
    ],
)
def test_files_that_are_no_manifest(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        load_manifest(tmp_path / name)
    with pytest.raises(InputError, match="must be an existing"):
        load_manifest(tmp_path / "missing.yaml")


@pytest.mark.parametrize(
    ("shapes", "spacing", "codes", "labels", "plane"),
    [
        ([(35, 51, 35)], (1, 1, 1), "RAS", ["head", "tail"], "coronal"),
        ([(35, 35, 51)], (1, 1, 1), "RSA", ["head", "tail"], "coronal"),  # sides in the patient, not in the file
        ([(40, 40, 40)], (1, 1, 1.4), "RAS", ["head", "tail"], "axial"),  # a longer side, but of thick slices
        ([(50, 51, 35)], (1, 1, 1), "RAS", ["head", "tail"], "axial"),  # no side is clearly the longest
        ([(35, 51, 35), (35, 51, 35), (40, 41, 42)], (1, 1, 1), "RAS", ["head"], "coronal"),  # most images
        ([(35, 51, 35)], (1, 1, 1), "RAS", ["L1", "L2", "L3"], "axial"),  # a row of vertebrae
    ],
)
def test_a_dataset_json_means_small_slices_where_voxels_are_cubes(
    tmp_path: Path, shapes: list[tuple[int, ...]], spacing: tuple[float, ...], codes: str, labels: list[str], plane: str
) -> None:
    names = [f"{number}.nii.gz" for number in range(len(shapes))]
    for name, shape in zip(names, shapes, strict=True):
        touch(tmp_path, f"imagesTr/{name}", f"labelsTr/{name}")
        orientation = nib.orientations.axcodes2ornt(codes)
        affine = nib.orientations.inv_ornt_aff(orientation, shape) @ np.diag([*spacing, 1])
        nib.save(nib.Nifti1Image(np.zeros(shape, np.uint8), affine), tmp_path / "imagesTr" / name)
    data = {
        "name": "any",
        "modality": {"0": "MRI"},
        "labels": {"0": "background"} | {str(value): name for value, name in enumerate(labels, start=1)},
        "training": [{"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"} for name in names],
    }
    (tmp_path / "dataset.json").write_text(json.dumps(data))
    assert load_manifest(tmp_path / "dataset.json").domain.plane == plane


def test_a_dataset_json_is_accepted(tmp_path: Path) -> None:
    data = {
        "name": "Lumbar Spine",
        "modality": {"0": "MRI"},
        "labels": {"0": "background", "1": "L1", "2": "L2"},
        "numTraining": 1,
        "training": [{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}],
    }
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps(data))
    scan(tmp_path / "imagesTr" / "a.nii.gz", "IPL")
    touch(tmp_path, "labelsTr/a.nii.gz")
    manifest = load_manifest(path, dataset_dir=tmp_path / "elsewhere")
    domain = manifest.domain
    assert (domain.name, domain.plane, domain.modality) == ("lumbar_spine", "sagittal", "MRI")
    assert domain.labels == {1: "L1", 2: "L2"}
    (case,) = manifest.cases
    assert (case.name, case.subject, case.label) == ("a", "a", tmp_path / "labelsTr" / "a.nii.gz")

    path.write_text(json.dumps(data | {"numTraining": 2}))
    with pytest.raises(InputError, match=r"must be 2 \(numTraining\), got 1; check that all files are there"):
        load_manifest(path)


def test_several_manifests(tmp_path: Path) -> None:
    touch(tmp_path, "images/a01.nii.gz", "labels/a01.nii.gz")
    ankle = write(tmp_path)
    shoulder = ankle.rename(tmp_path / "shoulder.yaml")
    shoulder.write_text(shoulder.read_text().replace("domain: ankle", "domain: shoulder"))
    ankle = write(tmp_path)
    assert [manifest.domain.name for manifest in load_manifests([shoulder, str(ankle)])] == ["shoulder", "ankle"]
    assert [manifest.domain.name for manifest in load_manifests(str(ankle))] == ["ankle"]
    with pytest.raises(InputError, match=r"domain of .*ankle\.yaml must differ from the others, got 'ankle'"):
        load_manifests([ankle, ankle])
    with pytest.raises(InputError, match="must be one or more files, got none"):
        load_manifests([])


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_manifests_are_valid(path: Path) -> None:
    manifest = load_manifest(path, check_files=False)
    assert manifest.licence
    assert manifest.source
    assert f"`{path.name}`" in path.with_name("README.md").read_text()


def test_the_readme_example_is_a_manifest(tmp_path: Path) -> None:
    text = SHIPPED[0].with_name("README.md").read_text().split("```yaml")[1].split("```")[0]
    (tmp_path / "readme.yaml").write_text(text)
    cases = load_manifest(tmp_path / "readme.yaml", check_files=False).cases
    assert [(case.name, case.subject, case.label is None) for case in cases] == [
        ("a01", "s01", False),
        ("a02", "a02", True),
    ]
