"""Models in memory give the bytes of the command, and take what a script has."""

import gc
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from custom_components.errors import InputError
from custom_components.io.label_name_files import read_labels
from support.commands import scan_of, segment

import multijoint
from multijoint.api.models import Model, Segmentation
from multijoint.discovery import LabelNames, find_label_names


@pytest.fixture(scope="module")
def model(trained: Path) -> Iterator[Model]:
    with multijoint.load(trained / "model.pt", device="cpu") as model:
        yield model


@pytest.fixture(scope="module")
def ankle(model: Model, manifests: dict[str, str]) -> Segmentation:
    return model.segment(scan_of(manifests, "ankle"), domain="ankle")


def test_a_label_map_and_its_record_are_those_of_the_command(
    trained: Path, manifests: dict[str, str], ankle: Segmentation, tmp_path: Path
) -> None:
    assert segment(trained, tmp_path / "command", scan_of(manifests, "ankle")) == 0
    saved = ankle.save(tmp_path / "python")
    assert saved == tmp_path / "python" / "ankle_000_seg.nii.gz"
    for name in ("ankle_000_seg.nii.gz", "ankle_000_seg.json"):
        assert (tmp_path / "python" / name).read_bytes() == (tmp_path / "command" / name).read_bytes()
    assert ankle.names == {1: "calcaneus", 2: "talus", 3: "tibia"}
    assert [row["bone"] for row in ankle.quality] == list(ankle.names.values())
    plain = nib.load(ankle.save(tmp_path / "a.nii"))
    assert np.array_equal(np.asarray(plain.dataobj), np.asarray(ankle.labels.dataobj))
    assert np.array_equal(plain.affine, nib.load(scan_of(manifests, "ankle")).affine)


def test_a_label_map_with_names_is_that_of_the_command(
    trained: Path, manifests: dict[str, str], ankle: Segmentation, tmp_path: Path
) -> None:
    command, python = tmp_path / "command", tmp_path / "python"
    assert segment(trained, command, scan_of(manifests, "ankle"), more=["--label-names"]) == 0
    saved = ankle.save(python, label_names=True)
    assert saved == python / "ankle_000_seg.nii.gz"
    for name in ("ankle_000_seg.nii.gz", "ankle_000_seg.ctbl", "ankle_000_seg.label", "ankle_000_dseg.tsv"):
        assert (python / name).read_bytes() == (command / name).read_bytes()
    records = [json.loads((folder / "ankle_000_seg.json").read_text()) for folder in (python, command)]
    assert records[0] == records[1]
    assert {value: label.name for value, label in read_labels(saved).items()} == ankle.names
    assert find_label_names(command) == (LabelNames(dict(ankle.names)), "ankle_000_dseg.tsv")
    plain = ankle.save(tmp_path / "a.nii", label_names=True)
    assert np.array_equal(np.asarray(nib.load(plain).dataobj), np.asarray(ankle.labels.dataobj))
    assert read_labels(plain) == read_labels(saved)


def test_one_model_segments_all_its_domains_from_files_images_and_arrays(
    model: Model, manifests: dict[str, str], ankle: Segmentation
) -> None:
    assert list(model.domains) == ["ankle", "shoulder"]
    other = model.segment(scan_of(manifests, "shoulder"), domain="shoulder")
    assert set(other.names.values()) == {"humerus", "scapula"}
    image = nib.load(scan_of(manifests, "ankle"))
    array = np.asarray(image.dataobj)
    for scan, case in ((image, "ankle_000"), ((array, image.affine), "scan"), ((array * 2.0, image.affine), "scan")):
        result = model.segment(scan, domain="ankle")
        assert result.case == case
        assert np.array_equal(np.asarray(result.labels.dataobj), np.asarray(ankle.labels.dataobj))
        for own, expected in zip(result.quality, ankle.quality, strict=True):
            assert own | {"case": ""} == expected | {"case": ""}
    mask = model.segment((array > 300, image.affine), domain="ankle")
    assert mask.labels.shape == array.shape


def test_it_chooses_the_domain_as_the_command_does(
    trained: Path, model: Model, manifests: dict[str, str], tmp_path: Path
) -> None:
    scan = scan_of(manifests, "shoulder")
    if segment(trained, tmp_path, scan, domain="auto") == 0:
        record = json.loads((tmp_path / "shoulder_000_seg.json").read_text())
        assert model.segment(scan, domain="auto").record["domain"] == record["domain"]
    else:
        with pytest.raises(InputError, match="domain"):
            model.segment(scan, domain="auto")


def test_a_notebook_shows_a_picture_and_a_table(ankle: Segmentation) -> None:
    page = ankle._repr_html_()
    assert page.startswith('<img alt="ankle_000, three planes" src="data:image/png;base64,iVBOR')
    assert page.count("<tr>") == 4
    assert "<td>talus</td>" in page
    assert repr(ankle).startswith("Segmentation(ankle_000: calcaneus, talus, tibia; flags: ")


def test_surfaces_are_as_large_as_the_bones(ankle: Segmentation, manifests: dict[str, str]) -> None:
    reference = Path(manifests["ankle"]).parent / "labels" / "ankle_000.nii.gz"
    result = replace(ankle, label_map=reference.read_bytes())
    voxel_mm3 = abs(np.linalg.det(result.labels.affine[:3, :3]))
    counts = np.bincount(np.asarray(result.labels.dataobj).ravel(), minlength=4)
    found = result.surfaces()
    assert list(found) == ["calcaneus", "talus", "tibia"]
    for count, surface in zip(counts[1:], found.values(), strict=True):
        assert surface.volume_mm3 == pytest.approx(count * voxel_mm3, rel=0.01)


@pytest.mark.parametrize(
    ("scan", "domain", "text"),
    [
        ("missing.nii.gz", "ankle", "missing.nii.gz"),
        (3, "ankle", r"scan must be a path, a nibabel image, or an array and its affine, got int"),
        ("scan.nii.gz", "knee", "domain must be one of ankle, shoulder, got 'knee'"),
    ],
)
def test_errors_are_ordinary_exceptions(model: Model, scan: Any, domain: str, text: str) -> None:
    with pytest.raises(InputError, match=text):
        model.segment(scan, domain=domain)


@pytest.mark.parametrize("kind", [np.int64, np.uint64, np.float16, np.bool_, list])
def test_numbers_of_any_type_are_the_values_that_they_are(model: Model, manifests: dict[str, str], kind: Any) -> None:
    image = nib.load(scan_of(manifests, "ankle"))
    voxels = np.asarray(image.dataobj) > 100 if kind is np.bool_ else np.asarray(image.dataobj).astype(np.int16)
    given = voxels.tolist() if kind is list else voxels.astype(kind)
    expected = model.segment((voxels.astype(np.float32), image.affine), domain="ankle")
    assert model.segment((given, image.affine), domain="ankle").label_map == expected.label_map


@pytest.mark.parametrize(
    ("voxels", "affine"),
    [
        (np.zeros((9, 9, 9)), None), (np.zeros((9, 9, 9)), np.eye(3)), (np.zeros((9, 9, 9)), "x"),
        (np.full((9, 9, 9), "x"), np.eye(4)), ([[1], [1, 2]], np.eye(4)), (np.zeros((9, 9, 9), complex), np.eye(4)),
        (np.zeros((9, 9, 9), np.longdouble), np.eye(4)), (np.ma.masked_equal(np.zeros((9, 9, 9)), 0), np.eye(4)),
        (np.zeros((9, 9, 9)), np.zeros((4, 4))),
    ],
)  # fmt: skip
def test_what_is_no_array_of_numbers_with_its_affine_is_refused(model: Model, voxels: Any, affine: Any) -> None:
    with pytest.raises(InputError, match=r"^scan must be|voxels of scan\.nii must be real numbers"):
        model.segment((voxels, affine), domain="ankle")


def test_a_file_of_another_kind_is_not_written(ankle: Segmentation, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"label map must be a \.nii\.gz, .* file, got a\.png"):
        ankle.save(tmp_path / "a.png")


def test_a_runs_folder_is_its_model(trained: Path, manifests: dict[str, str], ankle: Segmentation) -> None:
    with multijoint.load(trained, device="cpu") as model:
        assert model.segment(scan_of(manifests, "ankle"), domain="ankle").label_map == ankle.label_map


def test_a_closed_model_and_a_forgotten_one_leave_nothing(trained: Path, manifests: dict[str, str]) -> None:
    model = multijoint.load(trained / "model.pt", device="cpu")
    finalizer = model._finalizer
    model.close()
    model.close()
    with pytest.raises(InputError, match="model must be open"):
        model.segment(scan_of(manifests, "ankle"), domain="ankle")
    assert not finalizer.alive
    forgotten = multijoint.load(trained / "model.pt", device="cpu")
    finalizer = forgotten._finalizer
    del forgotten
    gc.collect()
    assert not finalizer.alive
