"""The output folder of segmentations: which scans count as finished, and which files are never replaced."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import custom_components
import nibabel as nib
import numpy as np
import pytest
from custom_components.errors import InputError
from custom_components.inference import ReadVolumed, ResultFolder
from custom_components.io import label_names
from custom_components.io.label_name_files import read_labels
from custom_components.io.records import label_name_files, read_record
from custom_components.system.files import file_digest
from support.models import make_model

LABELS = np.zeros((3, 4, 5), np.uint8)
LABELS[1, 1:3, 2] = 1
QUALITY = [{"label": 1, "bone": "talus", "volume_ml": 0.006}]


@pytest.fixture
def item(tmp_path: Path) -> dict[str, Any]:
    path = tmp_path / "scan.nii.gz"
    voxels = np.random.default_rng(0).normal(size=LABELS.shape).astype(np.float32)
    nib.save(nib.Nifti1Image(voxels, np.diag([1.0, 1.0, 3.0, 1.0])), path)
    return ReadVolumed("image")({"image": path, "name": "scan"}) | {"image": path}


@pytest.fixture
def folder(tmp_path: Path) -> ResultFolder:
    return ResultFolder(tmp_path / "out", model=replace(make_model(), digest="ab" * 32), domain="ankle")


def same_folder(folder: ResultFolder, **changes: Any) -> ResultFolder:
    how = {"model": folder.model, "domain": "ankle", "settings": {}, "overwrite": False} | changes
    return ResultFolder(folder.output_dir, **how)


def test_the_record_states_origin_and_quality(folder: ResultFolder, item: dict[str, Any]) -> None:
    path = folder.save(item, LABELS, quality=QUALITY)
    record = json.loads(path.with_name("scan_seg.json").read_text())
    assert record.pop("image_id") != record["image_sha256"]
    labels = {str(value): name for value, name in folder.domain_of(item).labels.items()}
    assert record == {
        "image": "scan.nii.gz",
        "label_map": path.name,
        "labels": {"0": "background"} | labels,
        "image_sha256": file_digest(item["image"]),
        "domain": "ankle",
        "model_sha256": "ab" * 32,
        "settings": {},
        "version": custom_components.__version__,
        "quality": QUALITY,
        "label_map_sha256": file_digest(path),
    }
    np.testing.assert_array_equal(np.asarray(nib.load(path).dataobj), LABELS)


def test_a_saved_scan_is_finished_until_anything_that_made_it_changes(
    folder: ResultFolder, item: dict[str, Any]
) -> None:
    assert folder.find(item) is None
    path = folder.save(item, LABELS, quality=QUALITY)
    assert folder.find(item) == path
    for changes in (
        {"model": replace(folder.model, digest="cd" * 32)},
        {"settings": {"connectivity": 2}},
        {"domain": folder.model.domains[1].name},
        {"overwrite": True},
    ):
        assert same_folder(folder, **changes).find(item) is None, changes


def test_an_older_record_without_quality_is_not_finished(folder: ResultFolder, item: dict[str, Any]) -> None:
    record = folder.save(item, LABELS).with_name("scan_seg.json")
    content = json.loads(record.read_text())
    record.write_text(json.dumps({name: value for name, value in content.items() if name != "quality"}))
    assert folder.find(item) is None


def test_what_others_made_or_edited_is_not_replaced(folder: ResultFolder, item: dict[str, Any]) -> None:
    path = folder.save(item, LABELS, quality=QUALITY)
    record = path.with_name("scan_seg.json")
    content = record.read_bytes()

    record.unlink()
    with pytest.raises(InputError, match=r"scan_seg\.nii\.gz must not exist already, got one of unknown origin"):
        folder.find(item)
    record.write_bytes(content)

    nib.save(nib.Nifti1Image(1 - LABELS, np.diag([1.0, 1.0, 3.0, 1.0])), path)
    with pytest.raises(InputError, match="must be as it was written, got a changed one"):
        folder.find(item)
    assert same_folder(folder, overwrite=True).find(item) is None

    path.write_bytes(path.read_bytes()[:40])  # a copy that broke off holds no work of anyone
    assert folder.find(item) is None


def test_another_scan_of_the_same_name_is_refused_and_an_edited_scan_is_segmented_again(
    folder: ResultFolder, item: dict[str, Any], tmp_path: Path
) -> None:
    folder.save(item, LABELS, quality=QUALITY)
    content = item["image"].read_bytes()
    item["image"].write_bytes(content + b"\0")
    assert folder.find(item) is None, "the same file, edited"
    other = tmp_path / "other" / "scan.nii.gz"
    other.parent.mkdir()
    other.write_bytes(content + b"\0")
    with pytest.raises(InputError, match="must not be of another scan, got one of a scan of the same name"):
        folder.find(item | {"image": other})


def test_label_names_lie_in_the_header_and_beside_and_go_with_the_label_map(
    folder: ResultFolder, item: dict[str, Any]
) -> None:
    named = same_folder(folder, label_names=True)
    names = dict(folder.domain_of(item).labels)
    path = named.save(item, LABELS, quality=QUALITY)
    beside = label_name_files(path)
    for each in (path, *beside):
        assert {value: label.name for value, label in read_labels(each).items() if value} == names, each.name
    assert read_record(path)["label_map_sha256"] == file_digest(path)
    assert named.find(item) == folder.find(item) == path
    beside[0].unlink()
    assert named.find(item) is None
    assert named.save(item, LABELS, quality=QUALITY) == named.find(item)
    assert same_folder(folder, overwrite=True).save(item, LABELS, quality=QUALITY) == path
    assert not any(each.exists() for each in beside), "those of a result that is gone would lie"
    assert read_labels(path) == {}
    assert named.find(item) is None, "a result without names is not finished when they are asked for"


def test_a_file_of_names_of_unknown_origin_is_not_replaced(folder: ResultFolder, item: dict[str, Any]) -> None:
    named = same_folder(folder, label_names=True)
    table = folder.output_dir / "scan_dseg.tsv"
    table.parent.mkdir()
    table.write_text("mine")
    for attempt in (named.find, lambda item: named.save(item, LABELS)):
        with pytest.raises(InputError, match=r"scan_dseg\.tsv must not exist already, got one of unknown origin"):
            attempt(item)
    assert folder.save(item, LABELS, quality=QUALITY).is_file()
    assert table.read_text() == "mine"


def test_a_run_that_ended_before_the_label_map_can_be_repeated(
    folder: ResultFolder, item: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    named = same_folder(folder, label_names=True)
    with monkeypatch.context() as patched:
        patched.setattr(label_names, "_dseg_table", lambda labels: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            named.save(item, LABELS, quality=QUALITY)
    assert not (folder.output_dir / "scan_seg.nii.gz").exists()
    assert named.find(item) is None
    assert named.save(item, LABELS, quality=QUALITY) == named.find(item)
