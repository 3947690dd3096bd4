"""What there is to segment, listed and told apart."""

import json
import re
from pathlib import Path

import pytest
from custom_components.data.cases import Case
from custom_components.data.scans import list_cases, list_scans, scan_of_channels
from custom_components.errors import InputError


def test_scans_come_from_files_and_folders_in_order(tmp_path: Path) -> None:
    for name in ("b.nii.gz", "a.nii", "notes.txt"):
        (tmp_path / name).touch()
    items = list_scans([tmp_path, Path("other/c.nii.gz")])
    assert [item["name"] for item in items] == ["a", "b", "c"]
    assert list_scans(str(tmp_path / "a.nii")) == [{"image": tmp_path / "a.nii", "name": "a", "shown": "a.nii"}]
    assert list_scans(items) == items


def test_a_folder_stands_for_its_scans_and_not_for_what_we_or_a_file_browser_put_there(tmp_path: Path) -> None:
    for name in ("A.NII.GZ", "a_seg.nii.gz", "a_seg.json", "b_seg.nii.gz", "._A.nii.gz"):
        (tmp_path / name).touch()
    assert [item["name"] for item in list_scans(tmp_path)] == ["A", "b_seg"]


def test_scans_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    given = ["s1/t1/scan.nii", "s2/t1/scan.nii.gz", "s2/t1/Scan.nii", "other.nii", "s1/t1/scan.nii"]
    items = list_scans([tmp_path / path for path in given])
    assert [item["name"] for item in items] == ["s1_t1_scan", "s2_t1_scan", "s2_t1_Scan-2", "other"]
    assert [item["shown"] for item in items[:2]] == ["s1/t1/scan.nii", "s2/t1/scan.nii.gz"]
    assert items[3]["shown"] == "other.nii"


def test_a_number_that_tells_names_apart_is_nobody_elses_name(tmp_path: Path) -> None:
    for name in ("a-2.nii.gz", "a.nii", "a.nii.gz", "A.nrrd"):
        (tmp_path / name).touch()
    names = {item["shown"]: item["name"] for item in list_scans(tmp_path)}
    assert names == {"A.nrrd": "A", "a-2.nii.gz": "a-2", "a.nii": "a-3", "a.nii.gz": "a-4"}


def test_maps_of_probabilities_are_no_scans(tmp_path: Path) -> None:
    for name in ("a_prob_x.nii.gz", "a_prob_x_prob_talus.nii.gz", "a_prob_y.nii.gz", "b_prob_x.nii.gz"):
        (tmp_path / name).touch()
    maps = {"talus": {"file": "a_prob_x_prob_talus.nii.gz"}, "x": {"file": "b_prob_x.nii.gz"}}
    (tmp_path / "a_prob_x_seg.json").write_text(json.dumps({"probabilities": maps}))
    (tmp_path / "b_seg.json").write_text("[]")
    (tmp_path / "a_seg.json").write_text(json.dumps({"probabilities": {"x": {"file": "a_prob_x.nii.gz"}, "y": 1}}))
    assert [item["name"] for item in list_scans(tmp_path)] == ["a_prob_y", "b_prob_x"]


def test_scans_that_cannot_be_listed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"folder .* must hold \.nii, .* files, got none"):
        list_scans([tmp_path])
    with pytest.raises(InputError, match="images must name at least one scan"):
        list_scans([])


def test_cases_keep_their_domain_apart() -> None:
    cases = [Case("c1", domain, Path("i.nii"), Path("l.nii"), "s1") for domain in ("ankle", "shoulder")]
    assert [item["name"] for item in list_cases(cases)] == ["ankle/c1", "shoulder/c1"]
    with pytest.raises(InputError, match="the split must have a test case"):
        list_cases([])


def test_numbered_files_are_the_channels_of_one_scan(tmp_path: Path) -> None:
    for name in ("a_0001.nii.gz", "a_0000.nii.gz", "b_0000.nii.gz", "c.nii.gz", "d_0001.nii.gz"):
        (tmp_path / name).touch()
    for number in range(3):
        (tmp_path / f"e_000{number}.nii.gz").touch()
    items = {item["name"]: item for item in list_scans(tmp_path, channels=["water", "fat"])}
    assert items["a"] == {
        "image": tmp_path / "a_0000.nii.gz",
        "further": [tmp_path / "a_0001.nii.gz"],
        "name": "a",
        "shown": "a_0000.nii.gz",
    }
    assert {name for name, item in items.items() if "further" in item} == {"a", "e"}
    rule = r"scan {} must have a file for each channel \(0000 water, 0001 fat\), got "
    assert {name for name, item in items.items() if "failure" in item} == {"d", "e"}
    assert re.match(rule.format("d_0001.nii.gz") + "none with 0000; add it", items["d"]["failure"])
    assert re.match(rule.format("e_0000.nii.gz") + "e_0002.nii.gz as well; take it away", items["e"]["failure"])
    assert len(list_scans(tmp_path)) == 8, "of one channel, each file is a scan"


def test_a_scan_of_named_channels() -> None:
    files = {"fat": Path("x/a_0001.nii"), "water": Path("x/a_0000.nii")}
    item = scan_of_channels(files, ["water", "fat"])
    assert (item["name"], item["image"], item["further"]) == ("a", files["water"], [files["fat"]])
    assert scan_of_channels(list(files.values()), ["fat", "water"])["image"] == files["fat"]
    for given, channels, message in (
        ({"fat": Path("a.nii")}, ["water", "fat"], "channels water, fat, got none called water"),
        (files | {"in": Path("a.nii")}, ["water", "fat"], "channels water, fat, got in as well"),
        ([Path("a.nii")], ["water", "fat"], "channels water, fat, got 1 files"),
        (files, [], "scan must be one file without channels, got fat as well"),
    ):
        with pytest.raises(InputError, match=message):
            scan_of_channels(given, channels)
