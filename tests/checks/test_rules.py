"""Rules that need more than one file to break: copies, sides, names, intensities; and what must not be said."""

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import yaml
from custom_components.errors import LOG_PATHS

from multijoint.checks.findings import similar_names
from multijoint.checks.measures import edge_fits, hash_array, measure_bone, roughness, sample, shrink
from multijoint.checks.outliers import far_off
from multijoint.cli import main
from multijoint.phantoms import write_phantoms

NUMBER = 12
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    paths = write_phantoms(tmp_path_factory.mktemp("clean"), num_cases=NUMBER, seed=1, size=48)
    return {path.parent.name: path.parent for path in paths}


@pytest.fixture
def folder(clean: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(clean["ankle"], tmp_path / "SMITH" / "ankle"))


def check(folder: Path, out: Path, *more: str) -> tuple[int, list[dict[str, str]]]:
    """Exit code and findings but notes."""
    code = main(["check", str(folder / "manifest.yaml"), *more, "--out", str(out)])
    with (out / "findings.csv").open(newline="") as file:
        return code, [row for row in csv.DictReader(file) if row["level"] != "note"]


def file(folder: Path, kind: str, number: int = 3) -> Path:
    return folder / f"{kind}s" / f"{folder.name}_{number:03d}.nii.gz"


def change(path: Path, how: Callable[[np.ndarray], np.ndarray], affine: np.ndarray | None = None) -> None:
    source = nib.load(path)
    values = how(np.asarray(source.dataobj).copy())
    nib.save(nib.Nifti1Image(values, source.affine if affine is None else affine), path)


def copy(folder: Path, how: Callable[[np.ndarray], np.ndarray]) -> None:
    """Case 3 becomes case 1 in another form."""
    for kind in ("image", "label"):
        shutil.copy(file(folder, kind, 1), file(folder, kind))
        change(file(folder, kind), how)


def scale_axis(folder: Path, factor: float) -> None:
    for kind in ("image", "label"):
        affine = nib.load(file(folder, kind)).affine.copy()
        affine[:3, 2] *= factor
        change(file(folder, kind), lambda values: values, affine)


def flip(kind: str, axis: int) -> Callable[[Path], None]:
    return lambda folder: change(file(folder, kind), lambda values: np.flip(values, axis).copy())


def stray(values: np.ndarray) -> np.ndarray:
    where = np.argwhere(values == 1)
    corner = np.where(where.mean(axis=0) < np.array(values.shape) / 2, np.array(values.shape) - 2, 0)
    values[tuple(slice(start, start + 2) for start in corner)] = 1
    return values


def exchange(values: np.ndarray) -> np.ndarray:
    return np.array([0, 2, 1, *range(3, 256)], values.dtype)[values]


def half_empty(values: np.ndarray) -> np.ndarray:
    values[: len(values) // 2] = 0
    return values


def number_changed(how: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    return lambda folder: change(file(folder, "image"), lambda values: how(values.astype(np.float32)))


DEFECTS: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "mirrored copy": (lambda f: copy(f, lambda v: v[::-1]), "error", "duplicate"),
    "turned copy": (lambda f: copy(f, lambda v: np.rot90(v, 2, (0, 2))), "error", "duplicate"),
    "cropped copy": (lambda f: copy(f, lambda v: v[2:, 1:]), "error", "duplicate"),
    "padded copy": (lambda f: copy(f, lambda v: np.pad(v, ((3, 3), (5, 5), (0, 0)))), "error", "duplicate"),
    "label as image": (lambda f: shutil.copy(file(f, "label"), file(f, "image")), "error", "same-file"),
    "mirrored label": (flip("label", 1), "warning", "swapped"),
    "mirrored image": (flip("image", 2), "warning", "swapped"),
    "names exchanged": (lambda f: change(file(f, "label"), exchange), "warning", "arrangement"),
    "stray voxels": (lambda f: change(file(f, "label"), stray), "warning", "islands"),
    "thick": (lambda f: scale_axis(f, 2.5), "warning", "size-outlier"),
    "other units": (number_changed(lambda v: 30 * v), "warning", "intensity"),
    "standardised": (number_changed(lambda v: (v - v.mean()) / v.std()), "warning", "intensity"),
    "shifted": (number_changed(lambda v: v - 5 * v.max()), "warning", "intensity"),
    "half empty": (number_changed(half_empty), "warning", "intensity"),
    "noise alone": (number_changed(lambda v: RNG.normal(100, 20, v.shape)), "warning", "intensity"),
    "spike": (number_changed(lambda v: np.where(v == v.max(), 300 * v, v)), "warning", "intensity"),
    "clipped": (number_changed(lambda v: np.minimum(v, np.percentile(v, 90))), "warning", "intensity"),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_each_defect_is_found(folder: Path, tmp_path: Path, defect: str) -> None:
    make, level, rule = DEFECTS[defect]
    make(folder)
    code, found = check(folder, tmp_path / "out")
    assert (level, rule, "ankle_003") in {(row["level"], row["rule"], row["case"]) for row in found}
    assert code == (level == "error")


@pytest.mark.parametrize("domain", ["ankle", "shoulder"])
def test_nothing_is_said_against_clean_data(clean: dict[str, Path], tmp_path: Path, domain: str) -> None:
    assert check(clean[domain], tmp_path / "out") == (0, [])


def test_a_person_in_two_data_sets_is_found(folder: Path, clean: dict[str, Path], tmp_path: Path) -> None:
    data = yaml.safe_load((folder / "manifest.yaml").read_text()) | {"domain": "foot"}
    (folder / "manifest.yaml").write_text(yaml.safe_dump(data))
    for number in range(NUMBER):
        if number != 4:
            change(file(folder, "image", number), lambda v: RNG.permutation(v.ravel()).reshape(v.shape))
            change(file(folder, "label", number), lambda v: np.roll(v, 1, axis=0))
    code, found = check(clean["ankle"], tmp_path / "out", str(folder / "manifest.yaml"))
    assert code == 1
    copies = [row for row in found if row["rule"] == "duplicate"]
    assert [(row["level"], row["domain"], row["case"]) for row in copies] == [("error", "foot", "ankle_004")]
    assert "image must differ from that of ankle/ankle_004, got the same file" in copies[0]["message"]


def test_one_person_twice_is_no_error(folder: Path, tmp_path: Path) -> None:
    copy(folder, lambda values: values)
    change(file(folder, "image"), lambda values: values * 2.0)
    data = yaml.safe_load((folder / "manifest.yaml").read_text())
    data["cases"] = [
        {key: f"{key}s/ankle_{number:03d}.nii.gz" for key in ("image", "label")}
        | {"subject": f"s{min(number, 1) if number in (1, 3) else number + 20}"}
        for number in range(NUMBER)
    ]
    (folder / "manifest.yaml").write_text(yaml.safe_dump(data))
    assert check(folder, tmp_path / "out") == (0, [])


def test_what_the_reader_warns_of_is_a_finding(folder: Path, tmp_path: Path) -> None:
    image = nib.load(file(folder, "image"))
    plain = nib.Nifti1Image(np.asarray(image.dataobj), image.affine)
    data = nib.Nifti1Image.to_bytes(plain) + bytes(3)
    path = file(folder, "image").with_suffix("")
    path.write_bytes(data)
    file(folder, "image").unlink()
    manifest = yaml.safe_load((folder / "manifest.yaml").read_text())
    manifest["cases"] = [
        {"image": f"images/ankle_{k:03d}.nii{'.gz' * (k != 3)}", "label": f"labels/ankle_{k:03d}.nii.gz"}
        for k in range(NUMBER)
    ]
    (folder / "manifest.yaml").write_text(yaml.safe_dump(manifest))
    code, found = check(folder, tmp_path / "out")
    assert code == 0
    assert [(row["rule"], row["case"]) for row in found] == [("header", "ankle_003")]
    assert "3 bytes after its voxels" in found[0]["message"]


def test_manifests_that_cannot_be_used(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(LOG_PATHS, "0")  # and back, after the option has set it
    (folder / "deep.yaml").write_text("[" * 20_000)
    (folder / "bytes.yaml").write_bytes(bytes(range(256)))
    data = yaml.safe_load((folder / "manifest.yaml").read_text())
    (folder / "none.yaml").write_text(yaml.safe_dump(data | {"domain": "none", "cases": {"image": "no/{case}.nii"}}))
    (folder / "root.yaml").write_text(yaml.safe_dump(data | {"domain": "root", "root": "of JOHN SMITH/scans"}))
    names = ["root.yaml", "deep.yaml", "bytes.yaml", "manifest.yaml", "manifest.yaml", "none.yaml", "missing.yaml"]
    assert main(["check", *(str(folder / name) for name in names)]) == 1
    printed = capsys.readouterr()
    errors = [line for line in printed.out.splitlines() if line.startswith("error")]
    for start in ("deep.yaml [man", "bytes.yaml [man", "manifest.yaml #5 [man", "missing.yaml [man", "none [man"):
        assert any(line.startswith(f"error   {start}") for line in errors), start
    assert "SMITH" not in printed.out + printed.err
    assert "Traceback" not in printed.out + printed.err
    assert main(["check", str(folder / "none.yaml"), "--log-paths"]) == 1
    assert "SMITH" in capsys.readouterr().out


@pytest.mark.parametrize("num_folds", ["2", "13"])
def test_folds_that_the_training_would_refuse(folder: Path, tmp_path: Path, num_folds: str) -> None:
    code, found = check(folder, tmp_path / "out", "--num-folds", num_folds)
    assert (code, [row["rule"] for row in found]) == (1, ["split"])
    assert "num_folds must be" in found[0]["message"]


def test_where_nothing_can_be_written_nothing_is_read(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(folder.rglob("*"))
    manifest = str(folder / "manifest.yaml")
    assert main(["check", manifest, "--out", manifest]) == 1
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert printed.err.startswith("error: folder for results must be a folder, got the file manifest.yaml; ")
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize(
    ("names", "groups"),
    [
        (["s1", "S01", "s-1", "s 1"], [["s1", "S01", "s-1", "s 1"]]),
        (["a01_left", "a01_right", "a02_left"], [["a01_left", "a01_right"]]),
        (["01L", "01R"], [["01L", "01R"]]),
        (["s1-11", "s11-1", "s111"], []),
        (["张三", "李四", "Иван", "Пётр"], []),
        (["L1", "R1", "left", "right", "-", "_"], []),
        (["s10", "s1", "s100"], []),
    ],
)
def test_similar_names(names: list[str], groups: list[list[str]]) -> None:
    assert similar_names(names) == groups


def test_outliers_of_varied_data_are_none() -> None:
    even = np.array([1, 1.1, 0.9, 1, 1.05])
    assert far_off(np.append(even, 9), 1).tolist() == [False] * 5 + [True]
    assert not far_off(np.array([1.0, 2, 4, 6, 8, 12]), 1).any()
    assert not far_off(np.array([1.0, 1, 1, 9, 9, 9, 9]), 1).any()
    assert not far_off(np.array([1.0, 1, 9]), 1).any()


def test_small_copies_hold_means_and_mirror_exactly() -> None:
    voxels = RNG.normal(size=(31, 5, 24)).astype(np.float32)
    small = shrink(voxels, 8)
    assert small.mean() == pytest.approx(voxels.mean(), abs=1e-5)
    np.testing.assert_allclose(shrink(voxels[::-1, :, ::-1], 8), small[::-1, :, ::-1], atol=1e-5)
    np.testing.assert_allclose(shrink(voxels.transpose(2, 0, 1), 8), small.transpose(2, 0, 1), atol=1e-5)
    blocks = RNG.integers(0, 3, (4, 4, 4))
    np.testing.assert_allclose(shrink(np.kron(blocks, np.ones((2, 2, 2))), 4, index=2), blocks == 2, atol=1e-6)


def test_a_bone_measured_by_hand() -> None:
    mask = np.zeros((40, 10, 10), bool)
    mask[:10] = True  # 1000 voxels, and 8 beyond a gap, and 1 far away
    mask[11:13, :2, :2] = True
    mask[39, 9, 9] = True
    total, large, count, num_far, centre = measure_bone(mask, np.ones(3))
    assert (total, large, count, num_far) == (1009, (1000,), 3, 1)
    assert centre == pytest.approx([(1000 * 5 + 8 * 12 + 39.5) / 1009, *[(1000 * 5 + 8 * 1 + 9.5) / 1009] * 2])


def test_noise_is_rough_and_labels_fit_their_own_edges() -> None:
    noise = RNG.normal(size=(60, 60, 60)).astype(np.float32)
    assert roughness(noise) == pytest.approx([2 / np.sqrt(np.pi)] * 3, rel=0.01)
    labels = np.zeros(noise.shape, np.uint8)
    labels[5:20, 10:30, 20:50] = 1
    steps = roughness(noise + 5 * labels)
    fits = edge_fits(noise + 5 * labels, labels, steps=steps, limits=(-9, 9))
    assert fits[0] > 1.5 * max(fits[1:])
    mirrored = edge_fits(noise + 5 * labels[::-1], labels, steps=steps, limits=(-9, 9))
    assert int(np.argmax(mirrored)) == 1
    assert edge_fits(noise, np.zeros_like(labels), steps=steps, limits=(0, 1)) == ()


def test_samples_and_digests_reach_every_part() -> None:
    thin = np.zeros((4, 3000, 3000), np.uint8)
    thin[-1] = 1
    assert len(np.unique(sample(thin[[3, 0, 1, 2]]))) == 2
    assert sample(thin).size < 4e6
    assert hash_array(thin) != hash_array(np.zeros_like(thin))
    assert hash_array(thin) == hash_array(np.asfortranarray(thin))
