"""Label maps corrected in ITK-SNAP or 3D Slicer come back: read in any storage, checked, trained on."""

import json
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from custom_components.data.cases import Case, take_corrections
from custom_components.data.manifests import load_manifest
from custom_components.errors import InputError
from custom_components.io.volumes import read_label, read_volume
from custom_components.models.checkpoints import load_model
from nibabel.nifti1 import Nifti1Extension
from support.bundles import SMALL, Run

from multijoint.cli import main


def edited(image: nibabel.Nifti1Image) -> np.ndarray:
    """The label map after a user has painted a few voxels of bone 1."""
    array = np.asarray(image.dataobj).copy()
    place = np.argwhere(array == 1).mean(axis=0).astype(int)
    array[tuple(slice(index - 1, index + 2) for index in place)] = 1
    assert (array != np.asarray(image.dataobj)).any() or (array == 1).any()
    array[tuple(np.argwhere(array == 2)[0])] = 0
    return array


def as_stored(array: np.ndarray, image: nibabel.Nifti1Image, axes: str, dtype: type) -> nibabel.Nifti1Image:
    """The file of a program that stores volumes in its own axis order and type, with a header extension."""
    whole = nibabel.Nifti1Image(array.astype(dtype), image.affine)
    target = nibabel.orientations.axcodes2ornt(tuple(axes))
    turned = whole.as_reoriented(nibabel.orientations.ornt_transform(nibabel.io_orientation(image.affine), target))
    turned.header.extensions.append(Nifti1Extension("comment", b"edited by hand"))
    return turned


@pytest.mark.parametrize(("axes", "dtype"), [("LPS", np.float64), ("RAS", np.int16), ("SPL", np.float32)])
def test_a_label_map_in_another_storage_is_the_same_one(
    axes: str, dtype: type, manifests: dict[str, str], tmp_path: Path
) -> None:
    root = Path(manifests["ankle"]).parent
    label = nibabel.load(root / "labels" / "ankle_000.nii.gz")
    array = edited(label)
    nibabel.save(as_stored(array, label, axes, dtype), tmp_path / "edited.nii.gz")
    scan = read_volume(root / "images" / "ankle_000.nii.gz")
    read = read_label(tmp_path / "edited.nii.gz", like=scan)
    np.testing.assert_array_equal(read.array, array)
    np.testing.assert_allclose(read.affine, scan.affine, atol=1e-4)


def test_another_grid_is_still_refused(manifests: dict[str, str], tmp_path: Path) -> None:
    root = Path(manifests["ankle"]).parent
    label = nibabel.load(root / "labels" / "ankle_000.nii.gz")
    scan = read_volume(root / "images" / "ankle_000.nii.gz")
    flipped = nibabel.Nifti1Image(np.asarray(label.dataobj)[::-1], label.affine)  # the voxels, and not the affine
    shifted = label.affine.copy()
    shifted[0, 3] += 1
    for image, message in (
        (nibabel.Nifti1Image(np.asarray(label.dataobj)[1:], label.affine), "must have the shape of"),
        (as_stored(np.asarray(label.dataobj), nibabel.Nifti1Image(np.zeros(label.shape), shifted), "LPS", np.uint8),
         r"corners up to 0\.247 voxels \(1 mm\) apart"),
    ):  # fmt: skip
        nibabel.save(image, tmp_path / "label.nii.gz")
        with pytest.raises(InputError, match=message):
            read_label(tmp_path / "label.nii.gz", like=scan)
    nibabel.save(flipped, tmp_path / "label.nii.gz")  # no one can tell: the voxels are where the file says
    assert (read_label(tmp_path / "label.nii.gz", like=scan).array != np.asarray(label.dataobj)).any()


@pytest.fixture
def results(trained: Path, manifests: dict[str, str], tmp_path: Path) -> tuple[Path, Path]:
    """Scans and results of `multijoint segment`, in a folder of their own."""
    scans = tmp_path / "scans"
    scans.mkdir()
    for number in range(3):
        source = Path(manifests["ankle"]).parent / "images" / f"ankle_00{number}.nii.gz"
        (scans / source.name).write_bytes(source.read_bytes())
    arguments = ["--checkpoint", str(trained / "model.pt"), "--domain", "ankle", "--device", "cpu", "--quiet"]
    assert main(["segment", str(scans), *arguments, "--output", str(tmp_path / "out")]) == 0
    return scans, tmp_path / "out"


def test_corrected_results_are_found_checked_and_trained_on(
    results: tuple[Path, Path],
    manifests: dict[str, str],
    run_bundle: Run,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    scans, out = results
    init = ["init", str(out), "--scans", str(scans), "--domain", "ankle"]
    assert main(init) == 1
    assert "nobody has corrected it; --all takes it too" in capsys.readouterr().err
    for number in range(3):  # a user draws the bones again
        reference = nibabel.load(Path(manifests["ankle"]).parent / "labels" / f"ankle_00{number}.nii.gz")
        nibabel.save(
            as_stored(edited(reference), reference, "LPS", np.float64), out / f"ankle_00{number}_seg.nii.gz"
        )  # fmt: skip
    assert main(init) == 0
    manifest = load_manifest(tmp_path / "manifest.yaml")
    assert [case.name for case in manifest.cases] == ["ankle_000", "ankle_001", "ankle_002"]
    assert dict(manifest.domain.labels) == {1: "calcaneus", 2: "talus", 3: "tibia"}  # from the record of segment
    assert main(["check", str(manifest.path)]) == 0
    run_bundle(
        "ankle", ["train.yaml"], manifests=str(manifest.path), output_dir=str(tmp_path / "run"), device="cpu", **SMALL
    )
    assert load_model(tmp_path / "run" / "model.pt").domains[0].labels == {1: "calcaneus", 2: "talus", 3: "tibia"}
    capsys.readouterr()
    arguments = ["--checkpoint", str(tmp_path / "run" / "model.pt"), "--device", "cpu"]
    assert main(["segment", str(scans), *arguments, "--output", str(out)]) == 1
    assert "must be as it was written, got a changed one (by hand?)" in capsys.readouterr().err


def test_results_that_nobody_corrected_are_taken_when_asked(
    results: tuple[Path, Path], manifests: dict[str, str], tmp_path: Path
) -> None:
    scans, out = results
    reference = nibabel.load(Path(manifests["ankle"]).parent / "labels" / "ankle_001.nii.gz")
    nibabel.save(as_stored(edited(reference), reference, "RAS", np.uint8), out / "ankle_001_seg.nii.gz")
    init = ["init", str(out), "--scans", str(scans), "--domain", "ankle"]
    assert main(init) == 0
    assert [case.name for case in load_manifest(tmp_path / "manifest.yaml").cases] == ["ankle_001"]
    assert main([*init, "--all", "--overwrite"]) == 0
    assert len(load_manifest(tmp_path / "manifest.yaml").cases) == 3


def test_scans_of_results_must_be_given(results: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", str(results[1]), "--domain", "ankle"]) == 1
    assert "scans of out must be given, got none at scans; name with --scans" in capsys.readouterr().err


def copy_set(manifests: dict[str, str], folder: Path) -> Path:
    source = Path(manifests["ankle"]).parent
    for kind in ("images", "labels"):
        for path in (source / kind).iterdir():
            target = folder / kind / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    return folder


def test_a_folder_of_corrections_takes_the_place_of_labels(
    manifests: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = copy_set(manifests, tmp_path / "ankle")
    names = tmp_path / "names.json"
    names.write_text(json.dumps({"labels": {"1": "calcaneus", "2": "talus", "3": "tibia"}}))
    init = ["init", str(root), "--domain", "ankle", "--names", str(names)]
    label = nibabel.load(root / "labels" / "ankle_000.nii.gz")
    (root / "corrections").mkdir()
    nibabel.save(as_stored(edited(label), label, "LPS", np.float64), root / "corrections" / "ankle_000_seg.nii.gz")
    moved = root / "labels" / "ankle_001.nii.gz"  # a case that has no label but a corrected one
    moved.rename(root / "corrections" / "ankle_001.nii.gz")
    assert main(init) == 0
    assert "corrected  2 of them: the corrected label map counts" in capsys.readouterr().out
    manifest = load_manifest(root / "manifest.yaml")
    assert [case.label.relative_to(root).as_posix() for case in manifest.cases if case.label] == [
        "corrections/ankle_000_seg.nii.gz",
        "corrections/ankle_001.nii.gz",
        "labels/ankle_002.nii.gz",
    ]
    assert main(["check", str(root / "manifest.yaml")]) == 0
    (root / "corrections" / "ankle_000_seg.nii.gz").unlink()  # the manifest follows the folder
    assert load_manifest(root / "manifest.yaml").cases[0].label == root / "labels" / "ankle_000.nii.gz"


def rename_to_nobody(folder: Path) -> None:
    (folder / "ankle_9.nii.gz").write_bytes(b"")


def correct_twice(folder: Path) -> None:
    (folder / "a.nii.gz").write_bytes(b"")
    (folder / "a_seg.nii.gz").write_bytes(b"")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (rename_to_nobody, r"corrected label map ankle_9\.nii\.gz of m\.yaml must belong to one case, got 0 cases"),
        (correct_twice, r"a_seg\.nii\.gz of m\.yaml must belong to one case, got two files of one case"),
    ],
)
def test_a_correction_of_no_case_or_a_second_one_is_refused(
    make: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    cases = [Case("a", "ankle", Path("a.nii.gz"), Path("l/a_manual.nii.gz"), "a")]
    make(tmp_path)
    with pytest.raises(InputError, match=message):
        take_corrections(cases, tmp_path, where="m.yaml")
    assert len(take_corrections(cases, tmp_path, where="m.yaml", strict=False)) == 1
    assert take_corrections(cases, tmp_path / "none", where="m.yaml") == tuple(cases)


def test_a_correction_may_be_called_as_the_label_it_corrects(tmp_path: Path) -> None:
    (tmp_path / "a_manual.nii.gz").write_bytes(b"")
    (tmp_path / ".a.nii.gz").write_bytes(b"")
    cases = [Case("a", "ankle", Path("a.nii.gz"), Path("l/a_manual.nii.gz"), "a")]
    assert take_corrections(cases, tmp_path, where="m.yaml")[0].label == tmp_path / "a_manual.nii.gz"
