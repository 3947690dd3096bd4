"""Each rule is broken on purpose in an otherwise clean data set; clean data sets have nothing said against them."""

import base64
import csv
import hashlib
import html
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import yaml

from multijoint.checks import check_manifests, examining
from multijoint.cli import main
from multijoint.phantoms import write_phantoms

NUMBER = 10


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantoms(tmp_path_factory.mktemp("clean"), domains=["ankle"], num_cases=NUMBER, seed=5, size=48)[
        0
    ].parent


@pytest.fixture
def folder(clean: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(clean, tmp_path / "ankle"))


def found(folder: Path) -> set[tuple[str, str, str]]:
    """(level, rule, case) of errors and warnings."""
    result = check_manifests([folder / "manifest.yaml"])
    return {(each.level, each.rule, each.case) for each in result.findings if each.level != "note"}


def image(folder: Path, number: int = 3) -> Path:
    return folder / "images" / f"ankle_{number:03d}.nii.gz"


def label(folder: Path, number: int = 3) -> Path:
    return folder / "labels" / f"ankle_{number:03d}.nii.gz"


def change(path: Path, how: Callable[[np.ndarray], np.ndarray], affine: np.ndarray | None = None) -> None:
    source = nib.load(path)
    values = how(np.asarray(source.dataobj).copy())
    nib.save(nib.Nifti1Image(values, source.affine if affine is None else affine), path)


def rewrite(folder: Path, how: Callable[[dict], None]) -> None:
    path = folder / "manifest.yaml"
    data = yaml.safe_load(path.read_text())
    if isinstance(data["cases"], dict):
        data["cases"] = [
            {"image": f"images/ankle_{k:03d}.nii.gz", "label": f"labels/ankle_{k:03d}.nii.gz"} for k in range(NUMBER)
        ]
    how(data)
    path.write_text(yaml.safe_dump(data))


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("domain", ["ankle", "shoulder"])
def test_clean_data_sets_raise_no_alarm(domain: str, seed: int, tmp_path: Path) -> None:
    manifest = write_phantoms(tmp_path, domains=[domain], num_cases=10, seed=seed, size=48)[0]
    assert found(manifest.parent) == set()


def swap_ends(values: np.ndarray) -> np.ndarray:
    """Mirrored along the axis that slices are stacked along."""
    return values[:, :, ::-1]


def keep_bone(values: np.ndarray, number: int) -> np.ndarray:
    values[values == number] = 0
    return values


def shrink(values: np.ndarray) -> np.ndarray:
    """A small part of a bone."""
    where = np.argwhere(values == 2)
    values[tuple(where[len(where) // 20 :].T)] = 0
    return values


def add_value(values: np.ndarray) -> np.ndarray:
    values[:2, 0, 0] = 77
    return values


def split_bone(values: np.ndarray) -> np.ndarray:
    where = np.argwhere(values == 2)
    axis = int(np.ptp(where, axis=0).argmax())
    plane = int(np.median(where[:, axis]))
    index = [slice(None)] * 3
    index[axis] = slice(plane, plane + 1)
    part = values[tuple(index)]
    part[part == 2] = 0
    return values


def few_levels(values: np.ndarray) -> np.ndarray:
    return np.digitize(values, np.quantile(values, [0.3, 0.6, 0.9])).astype(np.uint8)


def inverted(values: np.ndarray) -> np.ndarray:
    return values.max() - values


DEFECTS: dict[str, tuple[Callable[[Path], None], tuple[str, str, str]]] = {
    "no image": (lambda f: image(f).unlink(), ("error", "missing-file", "ankle_003")),
    "no label": (lambda f: label(f).unlink(), ("error", "missing-file", "ankle_003")),
    "noise": (lambda f: image(f).write_bytes(b"noise"), ("error", "unreadable", "ankle_003")),
    "short label": (lambda f: label(f).write_bytes(label(f).read_bytes()[:-9]), ("error", "unreadable", "ankle_003")),
    "shape": (lambda f: change(label(f), lambda v: v[1:]), ("error", "grid", "ankle_003")),
    "affine": (lambda f: change(label(f), lambda v: v, np.diag([2.0, 2, 3, 1])), ("error", "grid", "ankle_003")),
    "label value": (lambda f: change(label(f), add_value), ("error", "label-values", "ankle_003")),
    "empty": (lambda f: change(label(f), np.zeros_like), ("error", "empty-label", "ankle_003")),
    "missing bone": (lambda f: change(label(f), lambda v: keep_bone(v, 2)), ("warning", "missing-bone", "ankle_003")),
    "never": (
        lambda f: [change(label(f, k), lambda v: keep_bone(v, 2)) for k in range(NUMBER)],
        ("error", "missing-bone", ""),
    ),
    "tiny bone": (lambda f: change(label(f), shrink), ("warning", "volume-outlier", "ankle_003")),
    "swapped labels": (lambda f: change(label(f), swap_ends), ("warning", "swapped", "ankle_003")),
    "swapped image": (lambda f: change(image(f), swap_ends), ("warning", "swapped", "ankle_003")),
    "swapped": (lambda f: [change(each(f), swap_ends) for each in (image, label)], ("warning", "swapped", "ankle_003")),
    "levels": (lambda f: change(image(f), few_levels), ("warning", "intensity", "ankle_003")),
    "inverted": (lambda f: change(image(f), inverted), ("warning", "intensity", "ankle_003")),
    "same file": (lambda f: shutil.copy(image(f, 1), image(f)), ("error", "duplicate", "ankle_003")),
    "same label": (
        lambda f: (
            shutil.copy(label(f, 1), label(f)),
            change(image(f, 1), lambda v: v[::-1] * 1.0),
            shutil.copy(image(f, 1), image(f)),
            change(image(f), lambda v: v + np.random.default_rng(0).normal(0, 60, v.shape)),
        ),
        ("error", "duplicate", "ankle_003"),
    ),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_each_defect_is_found(folder: Path, defect: str) -> None:
    make, expected = DEFECTS[defect]
    make(folder)
    assert expected in found(folder)


def test_a_copy_with_other_numbers_is_found(folder: Path) -> None:
    """Rescaled, noisier and under another name: still the same person."""
    source = nib.load(image(folder, 1))
    values = np.asarray(source.dataobj, dtype=np.float32)
    noisy = 3 * values + 10 + np.random.default_rng(0).normal(0, values.std() / 20, values.shape)
    nib.save(nib.Nifti1Image(noisy.astype(np.float32), source.affine), image(folder))
    shutil.copy(label(folder, 1), label(folder))
    assert ("error", "duplicate", "ankle_003") in found(folder)


@pytest.mark.parametrize("swapped", ["image and labels are", "labels are", "image is", "nothing"])
def test_left_and_right(tmp_path: Path, swapped: str) -> None:
    """A bone on the right, in images brighter on the right, stored from right to left."""
    generator = np.random.default_rng(0)
    cases = []
    for number in range(12):
        voxels = generator.normal(size=(24, 20, 16)).astype(np.float32)
        voxels[4:9] += 4
        labels = np.zeros(voxels.shape, np.uint8)
        at = 4 + number % 3
        labels[at : at + 4, 5 : 12 + number // 3, 4:12] = 1
        voxels[labels == 1] += 5
        if number == 7:
            voxels = voxels[::-1] if "image" in swapped else voxels
            labels = labels[::-1] if "labels" in swapped else labels
        for kind, array in (("image", voxels), ("label", labels)):
            nib.save(nib.Nifti1Image(array, np.diag([-1.0, 1, 1, 1])), tmp_path / f"{kind}{number:02d}.nii")
        cases.append({"image": f"image{number:02d}.nii", "label": f"label{number:02d}.nii", "name": f"c{number}"})
    manifest = {
        "domain": "hip",
        "plane": "axial",
        "labels": {1: "femur"},
        "licence": "-",
        "source": "-",
        "cases": cases,
    }
    (tmp_path / "manifest.yaml").write_text(yaml.safe_dump(manifest))
    result = check_manifests([tmp_path / "manifest.yaml"])
    said = [finding.message for finding in result.findings if finding.rule == "swapped" and finding.case == "c7"]
    assert {finding.case for finding in result.findings if finding.level != "note"} == ({"c7"} if said else set())
    if swapped == "nothing":
        assert not said
    else:
        assert len(said) == 1
        assert said[0].startswith(f"{swapped} more like the 11 other cases with left and right swapped")


def test_a_value_of_one_voxel_is_no_bone(folder: Path) -> None:
    change(label(folder), add_value)
    rewrite(folder, lambda data: data["labels"].update({77: "label_77"}))
    assert ("warning", "stray-value", "ankle_003") in found(folder)


def test_growth_plates_are_a_note(folder: Path) -> None:
    change(label(folder), split_bone)
    result = check_manifests([folder / "manifest.yaml"])
    notes = [each for each in result.findings if (each.rule, each.case) == ("components", "ankle_003")]
    assert [each.level for each in notes] == ["note"] * len(notes)
    assert any("talus has 2 large components" in each.message for each in notes)


def test_spacing_and_plane(folder: Path) -> None:
    for each in (image, label):
        source = nib.load(each(folder))
        affine = source.affine.copy()
        affine[:3, :3] *= 3
        change(each(folder), lambda values: values, affine)
    assert ("warning", "size-outlier", "ankle_003") in found(folder)
    rewrite(folder, lambda data: data.update(plane="coronal"))
    assert ("warning", "slice-plane", "") in found(folder)


@pytest.mark.parametrize(("number", "level"), [(2, "error"), (4, "warning")])
def test_tiny_sets(folder: Path, number: int, level: str) -> None:
    rewrite(folder, lambda data: data.update(cases=data["cases"][:number]))
    assert (level, "tiny-set", "") in found(folder)


def test_one_person_under_two_names(folder: Path) -> None:
    rewrite(
        folder,
        lambda data: [case.update(subject=name) for case, name in zip(data["cases"], ("s1", "S-01"), strict=False)],
    )
    assert ("warning", "subject-names", "") in found(folder)


def test_the_command_prints_writes_and_exits(
    folder: Path, clean: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(clean / "manifest.yaml")]) == 0
    assert f"{NUMBER} cases: 0 errors, 0 warnings" in capsys.readouterr().out.splitlines()[-1]
    image(folder).write_bytes(b"noise")
    label(folder, 4).unlink()
    (tmp_path / "broken.yaml").write_text("domain: [")
    manifests = [str(tmp_path / "broken.yaml"), str(folder / "manifest.yaml")]
    assert main(["check", *manifests, "--out", str(tmp_path / "out")]) == 1
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert [line for line in lines if line.startswith("error")] == lines[NUMBER + 1 : NUMBER + 4]
    assert "ankle/ankle_003 [unreadable]: volume ankle_003.nii.gz must be an intact gzip file" in printed.out
    assert printed.err.startswith("error: data sets must have no errors to train on, got 10 cases: 3 errors")
    assert str(tmp_path / "ankle") not in printed.out
    with (tmp_path / "out" / "check.csv").open(newline="") as file:
        rows = {row["case"]: row for row in csv.DictReader(file)}
    assert len(rows) == NUMBER
    assert [rows[f"ankle_00{k}"]["status"] for k in (3, 4)] == ["error", "error"]
    assert float(rows["ankle_000"]["talus ml"]) > 1
    page = (tmp_path / "out" / "check.html").read_text()
    assert page.count("data:image/jpeg;base64,") == NUMBER - 1
    assert not re.search(r"https?:|url\(", page)
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in page
    assert page.count('<a href="#case-') == page.count('<article class="card') == NUMBER
    assert '<option value="error">error (2)</option>' in page
    assert '<option value="unreadable">unreadable (1)</option>' in page
    style = re.search(r"style-src '(sha256-[^']+)'", html.unescape(page))
    assert style
    own = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    assert own
    assert style[1] == f"sha256-{base64.b64encode(hashlib.sha256(own[1].encode()).digest()).decode()}"
    assert len(page) < 60_000 * NUMBER
    with (tmp_path / "out" / "findings.csv").open(newline="") as file:
        assert {row["level"] for row in csv.DictReader(file)} >= {"error"}


def test_a_case_that_breaks_the_program_is_an_error_of_that_case(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examining, "shrink", lambda *_: (_ for _ in ()).throw(MemoryError()))
    assert ("error", "unreadable", "ankle_000") in found(folder)
