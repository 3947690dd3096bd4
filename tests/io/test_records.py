"""Label maps and their records."""

import json
from pathlib import Path

import pytest
from custom_components.errors import InputError
from custom_components.io.records import (
    case_of,
    is_finished,
    label_map_path,
    read_names,
    read_record,
    record_path,
    write_record,
)
from custom_components.system.files import file_digest


@pytest.fixture
def label_map(tmp_path: Path) -> Path:
    path = label_map_path(tmp_path, "a.b")
    path.write_bytes(b"labels")
    return path


def test_a_record_lies_beside_its_label_map_and_names_its_case(label_map: Path) -> None:
    assert (label_map.name, record_path(label_map).name, case_of(label_map)) == (
        "a.b_seg.nii.gz",
        "a.b_seg.json",
        "a.b",
    )
    assert case_of("scan.nii") == "scan"


def test_a_record_is_read_as_it_was_written(label_map: Path) -> None:
    record = {"labels": {"0": "background", "7": "talus", "3": "tibia"}, "domain": "ankle"}
    write_record(label_map, record)
    assert read_record(label_map) == record
    assert record_path(label_map).read_text() == json.dumps(record, indent=2) + "\n"
    assert list(read_names(label_map).items()) == [(7, "talus"), (3, "tibia")], "in the order of the record"


@pytest.mark.parametrize("content", [None, b"", b"[1]", b"{", b'"text"', b"\xff", b"[" * 100_000, b"9" * 5000])
def test_what_is_no_record_is_an_empty_one(label_map: Path, content: bytes | None) -> None:
    if content is not None:
        record_path(label_map).write_bytes(content)
    assert read_record(label_map) == {}
    assert not is_finished(label_map, image=label_map)


def test_names_without_a_record_are_none_and_of_a_broken_one_are_refused(label_map: Path) -> None:
    assert read_names(label_map) == {}
    for content in ("{}", "[]", '{"labels": [1]}', '{"labels": {"one": "talus"}}', "{", '{"labels":' * 50_000):
        record_path(label_map).write_text(content)
        with pytest.raises(InputError, match=r'record a\.b_seg\.json must hold "labels".*segment again'):
            read_names(label_map)


def test_a_label_map_is_finished_until_it_or_its_scan_changes(label_map: Path, tmp_path: Path) -> None:
    image = tmp_path / "a.b.nii.gz"
    image.write_bytes(b"scan")
    stated = {"image_sha256": file_digest(image), "label_map_sha256": file_digest(label_map)}
    write_record(label_map, stated | {"label_map_sha256": None})
    assert not is_finished(label_map, image=image), "not yet written whole"
    write_record(label_map, stated)
    assert is_finished(label_map, image=image)
    image.write_bytes(b"another scan")
    assert not is_finished(label_map, image=image)
    write_record(label_map, stated | {"image_sha256": file_digest(image)})
    assert is_finished(label_map, image=image)
    label_map.write_bytes(b"corrected by hand")
    assert not is_finished(label_map, image=image)
    label_map.unlink()
    assert not is_finished(label_map, image=image)
