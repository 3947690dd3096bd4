"""`multijoint init`: layouts found, labels named, people and planes guessed, the manifest written or nothing."""

import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from custom_components.data.manifests import load_manifest, load_manifests
from custom_components.errors import InputError
from custom_components.io.label_names import label_extension
from custom_components.io.volumes import read_label, write_label_map
from custom_components.system.files import write_atomically

from multijoint.cli import main
from multijoint.discovery import LabelNames, find_dataset, find_label_names, find_pairs, read_label_names

CASES = ("a", "b", "c")


def put(path: Path, *, spacing: tuple[float, float, float] = (1, 1, 3), label: bool = False, value: int = 2) -> None:
    """A small volume; a label map holds `value` in its middle."""
    array = np.zeros((6, 5, 4), np.uint8 if label else np.float32)
    if label:
        array[2:4, 2:4, 1:3] = value
    else:
        array += np.arange(120, dtype=np.float32).reshape(6, 5, 4)
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, np.diag([*spacing, 1.0])), path)


def fill(root: Path, pattern: str, label_pattern: str) -> None:
    for case in CASES:
        put(root / pattern.format(case=case))
        put(root / label_pattern.format(case=case), label=True)


@pytest.mark.parametrize(
    ("image", "label", "layout"),
    [
        ("imagesTr/{case}_0000.nii.gz", "labelsTr/{case}.nii.gz", "nnU-Net"),
        ("imagesTr/{case}.nii.gz", "labelsTr/{case}.nii.gz", "Medical Segmentation Decathlon"),
        ("sub-{case}/anat/sub-{case}_T1w.nii.gz", "derivatives/labels/sub-{case}/anat/sub-{case}_T1w_dseg.nii.gz",
         "BIDS, labels in derivatives"),
        ("sub-{case}/ses-1/anat/sub-{case}_ses-1_T1w.nii.gz",
         "derivatives/itksnap/sub-{case}/ses-1/anat/sub-{case}_ses-1_desc-manual_dseg.nii.gz",
         "BIDS, labels in derivatives"),
        ("{case}.nii.gz", "{case}_seg.nii.gz", "labels next to the images"),
        ("{case}.nii", "{case}-label.nii", "labels next to the images"),
        ("{case}_image.nii.gz", "{case}_mask.nii.gz", "labels next to the images"),
        ("images/{case}.nii.gz", "labels/{case}.nii.gz", "images in images, labels in labels"),
        ("Scans/{case}.nii.gz", "Masks/{case}_mask.nii.gz", "images in Scans, labels in Masks"),
        ("{case}/image.nii.gz", "{case}/label.nii.gz", "a folder for each case"),
        ("{case}/t1_fl2d.nii.gz", "{case}/segmentation.nii.gz", "a folder for each case"),
    ],
)  # fmt: skip
def test_each_layout_is_paired_and_named(image: str, label: str, layout: str, tmp_path: Path) -> None:
    fill(tmp_path, image, label)
    found = find_pairs(tmp_path)
    assert found.layout == layout
    assert found.unused == {}
    expected = sorted((image.format(case=case), label.format(case=case)) for case in CASES)
    assert sorted((pair.image, pair.label) for pair in found.pairs) == expected
    assert main(["init", str(tmp_path), "--domain", "ankle"]) == 0
    manifest = load_manifest(tmp_path / "manifest.yaml")
    assert sorted(case.subject for case in manifest.cases if case.label) == sorted(
        case.name if "/" not in image or "{case}." in image else case.subject for case in manifest.cases
    )
    assert len({case.subject for case in manifest.cases}) == 3
    assert (manifest.domain.plane, dict(manifest.domain.labels)) == ("axial", {2: "label_2"})


def test_what_is_not_clear_is_left_out_with_the_reason(tmp_path: Path) -> None:
    fill(tmp_path, "{case}/t1.nii.gz", "{case}/seg.nii.gz")
    put(tmp_path / "a" / "t2.nii.gz")
    put(tmp_path / "d" / "t1.nii.gz")
    put(tmp_path / "e" / "seg.nii.gz", label=True)
    put(tmp_path / ".hidden" / "seg.nii.gz", label=True)
    found = find_pairs(tmp_path)
    assert [pair.image for pair in found.pairs] == ["b/t1.nii.gz", "c/t1.nii.gz"]
    several = "2 images and 1 label in its folder: choose with --images or --labels"
    assert found.unused == {
        "a/seg.nii.gz": several,
        "a/t1.nii.gz": several,
        "a/t2.nii.gz": several,
        "d/t1.nii.gz": "no label",
        "e/seg.nii.gz": "no image of that name",
    }
    chosen = find_pairs(tmp_path, images="t1*")
    assert [pair.image for pair in chosen.pairs] == ["a/t1.nii.gz", "b/t1.nii.gz", "c/t1.nii.gz"]
    assert chosen.unused["a/t2.nii.gz"] == "does not fit --images"


def test_a_second_channel_and_two_readers_are_not_guessed_between(tmp_path: Path) -> None:
    put(tmp_path / "imagesTr" / "a_0000.nii.gz")
    put(tmp_path / "imagesTr" / "a_0001.nii.gz")
    put(tmp_path / "labelsTr" / "a.nii.gz", label=True)
    assert find_pairs(tmp_path).unused == {"imagesTr/a_0001.nii.gz": "no label"}
    put(tmp_path / "labelsTr" / "a_seg.nii.gz", label=True)
    assert find_pairs(tmp_path).pairs == ()
    assert "1 image and 2 labels of one name: choose with --labels" in find_pairs(tmp_path).unused.values()
    assert len(find_pairs(tmp_path, labels="a_seg*").pairs) == 1


ITK_SNAP = """################
# ITK-SnAP Label Description File
    0     0    0    0        0  0  0    "Clear Label"
    1   255    0    0        1  1  1    "calcaneus"
    2     0  255    0      0.5  1  1    "talus, left"
"""


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("dataset.json", '{"labels": {"0": "background", "2": "talus"}}', {2: "talus"}),
        ("dataset.json", '{"labels": {"background": 0, "talus": 2}}', {2: "talus"}),
        ("labels.txt", ITK_SNAP, {1: "calcaneus", 2: "talus, left"}),
        ("labels.label", ITK_SNAP, {1: "calcaneus", 2: "talus, left"}),
        ("a.seg.nrrd", "NRRD0004\nSegment0_Name:=talus\nSegment0_LabelValue:=2\n\n", {2: "talus"}),
        ("bones.ctbl", "# Color table\n0 Background 0 0 0 0\n2 talus 128 174 128 255\n", {2: "talus"}),
        ("ankle_dseg.tsv", "index\tname\tcolor\n1\tcalcaneus\t#ff0000\n2\ttalus\t#00ff00\n",
         {1: "calcaneus", 2: "talus"}),
        ("a_seg.json", '{"image": "a.nii.gz", "labels": {"0": "background", "2": "talus"}}', {2: "talus"}),
    ],
)  # fmt: skip
def test_label_names_come_from_the_files_of_other_programs(
    name: str, text: str, expected: dict[int, str], tmp_path: Path
) -> None:
    (tmp_path / name).write_text(text)
    assert find_label_names(tmp_path) == (LabelNames(expected), name)
    assert read_label_names(tmp_path / name).names == expected


@pytest.mark.parametrize(
    ("labels", "expected", "ignored", "note"),
    [
        ('{"background": 0, "talus": 2, "ignore": 4}', {2: "talus"}, (4,), ""),
        ('{"0": "background", "2": "talus", "3": "Ignore"}', {2: "talus"}, (3,), ""),
        ('{"background": "0", "talus": "2"}', {2: "talus"}, (), ""),
        ('{"background": 0, "talus": [2], "all": [1, 2]}', {2: "talus"}, (), "'all' is a region of the values 1, 2"),
        ('{"talus": 2.0, "navicular": null}', {2: "talus"}, (), "label 'navicular' has None"),
        ('{"0": "Hintergrund", "2": "Sprungbein (groß)"}', {2: "Sprungbein (groß)"}, (), ""),
    ],
)  # fmt: skip
@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "utf-16"])
def test_labels_of_any_form_are_understood_or_named(
    labels: str, expected: dict[int, str], ignored: tuple[int, ...], note: str, encoding: str, tmp_path: Path
) -> None:
    (tmp_path / "dataset.json").write_text(f'{{"labels": {labels}}}', encoding=encoding)
    found = read_label_names(tmp_path / "dataset.json")
    assert (found.names, found.ignored) == (expected, ignored)
    assert [text.startswith(note) for text in found.notes] == ([True] if note else [])


def test_ignored_and_stray_values_are_no_bones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path, "imagesTr/{case}_0000.nii.gz", "labelsTr/{case}.nii.gz")
    labels = np.asarray(nibabel.load(tmp_path / "labelsTr" / "b.nii.gz").dataobj).copy()
    labels[2:4] = 2
    labels[0, :2], labels[5, 4, 3] = 4, 9
    nibabel.save(nibabel.Nifti1Image(labels, np.diag([1.0, 1, 3, 1])), tmp_path / "labelsTr" / "b.nii.gz")
    for case in "ac":
        put(tmp_path / "labelsTr" / f"{case}.nii.gz", label=True)
        whole = np.asarray(nibabel.load(tmp_path / "labelsTr" / f"{case}.nii.gz").dataobj).copy()
        whole[2:4] = 2
        nibabel.save(nibabel.Nifti1Image(whole, np.diag([1.0, 1, 3, 1])), tmp_path / "labelsTr" / f"{case}.nii.gz")
    named = '{"labels": {"background": 0, "talus": 2, "ignore": 4, "all": [2, 3]}, "channel_names": {"0": "T1"}}'
    (tmp_path / "dataset.json").write_text(named)
    for _ in range(2):  # the second time with the names of the first manifest
        assert main(["init", str(tmp_path), "--domain", "ankle", "--overwrite"]) == 0
        printed = capsys.readouterr().out
        assert "value 4: 'ignore' in 1 of 3 cases; such voxels cannot be left out of a training" in printed
        assert "value 9: 1 voxel of b: a stray value?" in printed
        assert dict(load_manifest(tmp_path / "manifest.yaml").domain.labels) == {2: "talus"}
    assert main(["check", str(tmp_path / "manifest.yaml")]) == 1
    assert "got 4 (8 voxels), 9 (1 voxel)" in capsys.readouterr().out


@pytest.mark.parametrize(
    "name", ["O'Brien", "Zöe Müller", "[old] (2) {a}", 'the "new" ones', "a$b`c", "50% #1, & more"]
)
def test_the_printed_commands_work_for_any_folder(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / name, tmp_path / "else where" / "m.yaml"
    fill(folder, "images/{case}.nii.gz", "labels/{case}.nii.gz")
    for more, shown in (([], folder / "manifest.yaml"), (["--out", str(out)], out)):
        assert main(["init", str(folder), "--domain", "ankle", *more]) == 0
        _, checking, training = capsys.readouterr().out.rsplit("\n", 3)[:3]
        words = shlex.split(training)
        assert words[:3] == ["multijoint", "train", str(shown)]
        assert words[-4:] == ["--fold", "0", "--out", "runs/ankle"]
        given = words[words.index("--dataset-dir") + 1] if more else None
        assert len(load_manifests([words[2]], dataset_dir=given)[0].cases) == 3
        command = shlex.split(checking)
        assert command[:2] == ["multijoint", "check"]
        main([*command[1:-2]])
        assert "[missing-file]" not in capsys.readouterr().out


def test_a_file_without_names_is_refused_where_it_was_given(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("1 2 3\ncalcaneus\n")
    assert find_label_names(tmp_path) == (LabelNames({}), "")
    with pytest.raises(InputError, match=r"notes\.txt must be a dataset\.json, dseg\.tsv, \.seg\.nrrd, \.ctbl or an"):
        read_label_names(tmp_path / "notes.txt")


def test_names_in_the_headers_of_label_maps_are_found_last(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path, "images/{case}.nii.gz", "labels/{case}.nii.gz")
    for case, names in (("b", {2: "talus", 3: "femur"}), ("c", {2: "tibia"})):
        path = tmp_path / "labels" / f"{case}.nii.gz"
        label = read_label(path)
        write_label_map(path, label.array, like=label, extension=label_extension(names))
    assert main(["init", str(tmp_path), "--domain", "ankle"]) == 0
    assert "label 2  talus, in 3 of 3 cases" in capsys.readouterr().out
    found, _ = find_dataset(tmp_path)
    assert (dict(found.names), found.names_from) == ({2: "talus"}, "the manifest.yaml before")
    (tmp_path / "manifest.yaml").unlink()
    found, _ = find_dataset(tmp_path)
    assert (dict(found.names), found.names_from) == ({2: "talus"}, "b.nii.gz")
    assert read_label_names(path).names == {2: "tibia"}
    (tmp_path / "labels" / "c_dseg.tsv").write_text("index\tname\n2\tcalcaneus\n")
    assert dict(find_dataset(tmp_path)[0].names) == {2: "calcaneus"}


def test_a_name_for_a_terminal_and_a_page_is_short_and_printable(tmp_path: Path) -> None:
    fill(tmp_path, "{case}.nii.gz", "{case}_seg.nii.gz")
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"2": "\x1b[2J<b>" + "x" * 500}}))
    name = find_dataset(tmp_path)[0].names[2]
    assert name.startswith(r"\x1b[2J<b>xx")
    assert len(name) == 100


def test_values_without_a_name_or_with_one_given_twice_get_their_number(tmp_path: Path) -> None:
    for case, value in zip(CASES, (1, 2, 7), strict=True):
        put(tmp_path / f"{case}.nii.gz")
        put(tmp_path / f"{case}_seg.nii.gz", label=True, value=value)
    (tmp_path / "bones.ctbl").write_text("1 bone 1 1 1 255\n2 bone 1 1 1 255\n9 other 1 1 1 255\n")
    found, _ = find_dataset(tmp_path)
    assert dict(found.names) == {1: "bone", 2: "bone_2", 7: "label_7"}


@pytest.mark.parametrize(
    ("spacing", "plane", "reason"),
    [
        ((3, 1, 1), "sagittal", "slices are thickest along its normal in 3 of 3 cases"),
        ((1, 3, 1), "coronal", "slices are thickest"),
        ((1, 1, 1), "axial", "a guess: voxels are nearly as long as wide"),
    ],
)
def test_the_plane_is_told_by_the_spacing(spacing: tuple, plane: str, reason: str, tmp_path: Path) -> None:
    for case in CASES:
        put(tmp_path / f"{case}.nii.gz", spacing=spacing)
        put(tmp_path / f"{case}_seg.nii.gz", spacing=spacing, label=True)
    found, _ = find_dataset(tmp_path)
    assert found.plane == plane
    assert found.plane_from.startswith(reason)
    assert find_dataset(tmp_path, plane="coronal")[0].plane_from == "as given"


def test_two_sides_and_visits_are_one_person(tmp_path: Path) -> None:
    for name in ("s1_left", "s1_R", "s2-ses2_right", "s2-ses1_left", "s3"):
        put(tmp_path / f"{name}.nii.gz")
        put(tmp_path / f"{name}_seg.nii.gz", label=True)
    found, _ = find_dataset(tmp_path)
    assert [case.subject for case in found.cases] == ["s1", "s1", "s2", "s2", "s3"]


def test_a_manifest_is_replaced_only_when_asked_and_keeps_its_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(tmp_path, "{case}.nii.gz", "{case}_seg.nii.gz")
    arguments = ["init", str(tmp_path), "--domain", "ankle"]
    assert main([*arguments, "--licence", "CC0-1.0", "--source", "us: 2024 #1"]) == 0
    path = tmp_path / "manifest.yaml"
    assert load_manifest(path).source == "us: 2024 #1"
    printed = capsys.readouterr().out
    assert "label 2  label_2, in 3 of 3 cases, 0.024 ml on average" in printed  # 8 voxels of 3 mm3
    assert "names    made up: rename them in the manifest" in printed
    assert f"multijoint check {shlex.quote(str(path))} --out check" in printed

    path.write_text(path.read_text().replace("label_2", "talus"))
    before = path.read_bytes()
    assert main(arguments) == 1
    assert "manifest manifest.yaml must not exist, got one" in capsys.readouterr().err
    assert path.read_bytes() == before
    assert main([*arguments, "--overwrite"]) == 0
    assert dict(load_manifest(path).domain.labels) == {2: "talus"}
    assert "from the manifest.yaml before" in capsys.readouterr().out


def test_a_manifest_that_would_not_load_is_not_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path, "{case}.nii.gz", "{case}_seg.nii.gz")
    assert main(["init", str(tmp_path), "--domain", "Ankle!"]) == 1
    assert "domain in" in capsys.readouterr().err
    elsewhere = ["--out", str(tmp_path / "m.yaml"), "--dataset-dir", str(tmp_path / "below")]
    assert main(["init", str(tmp_path), "--domain", "ankle", *elsewhere]) == 1
    assert "files must lie below the manifest's folder or --dataset-dir, got a.nii.gz" in capsys.readouterr().err
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".gz"] * 6


def _without_labels(folder: Path) -> None:
    put(folder / "a.nii.gz")


def _unreadable(folder: Path) -> None:
    put(folder / "a.nii.gz")
    write_atomically(folder / "a_seg.nii.gz", b"noise")


def _empty_labels(folder: Path) -> None:
    put(folder / "a.nii.gz")
    put(folder / "a_seg.nii.gz", label=True, value=0)


def _large_values(folder: Path) -> None:
    put(folder / "a.nii.gz")
    put(folder / "a_seg.nii.gz", label=True)
    array = np.full((6, 5, 4), 300, np.int16)
    nibabel.save(nibabel.Nifti1Image(array, np.diag([1.0, 1, 3, 1])), folder / "a_seg.nii.gz")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_without_labels, r"must hold images with labels, got none \(a\.nii\.gz: no label\)"),
        (_unreadable, r"must hold images with labels, got none \(a\.nii\.gz: .*gzip"),
        (_empty_labels, "label maps must hold a label somewhere, got only background"),
        (_large_values, "label values of case a must be whole numbers from 1 to 255, got 300"),
        (shutil.rmtree, "folder must exist, got data"),
    ],
)
def test_a_folder_that_cannot_be_used_says_why(make: Callable[[Path], None], message: str, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    make(folder)
    with pytest.raises(InputError, match=message):
        find_dataset(folder)


def test_an_unknown_plane_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="plane must be one of sagittal, coronal, axial, got 'oblique'"):
        find_dataset(tmp_path, plane="oblique")


def test_json_says_what_was_understood_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path, "{case}.nii.gz", "{case}_seg.nii.gz")
    put(tmp_path / "d.nii.gz")
    assert main(["init", str(tmp_path), "--domain", "ankle", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["written"] == [str(tmp_path / "manifest.yaml")]
    assert result["unused"] == {"d.nii.gz": "no label"}
    assert [case["name"] for case in result["cases"]] == list(CASES)


def test_what_is_found_in_a_folder_of_phantoms_is_what_was_written_there(
    manifests: dict[str, str], tmp_path: Path
) -> None:
    folder = Path(manifests["shoulder"]).parent
    written = load_manifest(Path(manifests["shoulder"]))
    names, out = tmp_path / "dataset.json", folder / "as_found.yaml"
    names.write_text(json.dumps({"labels": {"background": 0, "humerus": 1, "scapula": 2}}))
    options = ["--domain", "shoulder", "--names", str(names), "--modality", written.domain.modality, "--out", str(out)]
    assert main(["init", str(folder), *options]) == 0
    found = load_manifest(out)
    out.unlink()
    assert found.domain == written.domain
    assert [(case.image, case.label, case.subject) for case in found.cases] == [
        (case.image, case.label, case.subject) for case in written.cases
    ]
