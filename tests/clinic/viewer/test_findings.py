import json
from pathlib import Path

import pytest

from multijoint.clinic import ViewedCase
from multijoint.clinic.report.glossary import explain_flag
from multijoint.clinic.viewer.findings import read_findings

HEADER = "case,domain,label,bone,volume_ml,confidence,components,changed,cut,flags,expected_dice\n"
BONE = {"label": 2, "bone": "talus", "volume_ml": 9.0, "component_voxels": None, "changed": None, "cut": True}


@pytest.fixture
def case(tmp_path: Path) -> ViewedCase:
    return ViewedCase("a", tmp_path / "a.nii.gz", tmp_path / "a_seg.nii.gz")


def write(case: ViewedCase, *, rows: str | None = None, **record: object) -> None:
    if rows is not None:
        case.segmentation.with_name("quality.csv").write_text(HEADER + rows)
    case.segmentation.with_name("a_seg.json").write_text(json.dumps(record))


def test_the_table_says_how_sure_the_network_is_and_what_is_flagged(case: ViewedCase) -> None:
    rows = (
        "a,ankle,2,talus,9,0.91,1,0,no,,0.97\n"
        "a,ankle,5,tibia,40,,,,yes,low-confidence;several-components,0.5\n"
        "a,ankle,7,fibula,0,,,,no,missing,\n"
        "b,ankle,2,talus,9,0.11,1,0,no,low-confidence,0.2\n"
    )
    write(case, rows=rows, label_map_sha256="d1")
    findings = read_findings(case, digest="d1")
    assert (findings["flags"], findings["notes"]) == ([], [])
    found = findings["bones"]
    assert found[2] == {"confidence": 0.91, "is_calibrated": True, "flags": []}
    assert (found[5]["confidence"], found[5]["is_calibrated"]) == (0.5, False)
    names = ["low-confidence", "several-components", "cut-by-field-of-view"]
    assert found[5]["flags"] == [{"name": name, "meaning": explain_flag(name)} for name in names]
    assert found[7] == {"confidence": None, "is_calibrated": False, "flags": []}  # the label map says what is missing


def test_a_record_stands_in_for_the_table(case: ViewedCase) -> None:
    quality = BONE | {"confidence": 0.7, "expected_dice": 0.8, "training_volume_ml": [20.0, 30.0]}
    write(case, domain="ankle", quality=[quality])
    found = read_findings(case, digest="")
    assert (found["bones"][2]["confidence"], found["notes"]) == (0.7, [])
    flags = [flag["name"] for flag in found["bones"][2]["flags"]]
    assert flags == ["volume-outside-training", "cut-by-field-of-view", "low-confidence"]


def test_a_label_map_that_was_changed_is_told(case: ViewedCase) -> None:
    write(case, rows="a,ankle,2,talus,9,0.91,1,0,no,,0.97\n", label_map_sha256="d1")
    assert read_findings(case, digest="d2")["notes"] == [
        "The label map was changed after it was written: confidence and flags are from before."
    ]


def test_a_table_that_cannot_be_read_is_told(case: ViewedCase) -> None:
    write(case, rows=f"a,ankle,{'9' * 5000},talus,9,0.91,1,0,no,,0.97\n")
    found = read_findings(case, digest="")
    assert found["bones"] == {}
    assert found["notes"][0].startswith("quality.csv cannot be read: ")


def test_a_flag_of_the_whole_scan_stands_once(case: ViewedCase) -> None:
    rows = "a,ankle,2,talus,9,0.91,1,0,no,unlike-domain,0.9\na,ankle,5,tibia,9,0.91,1,0,no,unlike-domain,0.9\n"
    write(case, rows=rows)
    found = read_findings(case, digest="")
    assert found["flags"] == [{"name": "unlike-domain", "meaning": explain_flag("unlike-domain")}]
    assert [bone["flags"] for bone in found["bones"].values()] == [[], []]


@pytest.mark.parametrize("record", [{}, {"quality": 5}, {"quality": [{"label": 1}]}, {"quality": [BONE]}])
def test_where_nothing_is_known_that_is_said(case: ViewedCase, record: dict) -> None:
    notes = ["Confidence and flags are unknown: neither quality.csv nor the record holds them."]
    unknown = {"bones": {}, "flags": [], "notes": notes}
    assert read_findings(case, digest="") == unknown  # nor is there a record
    write(case, rows="b,ankle,2,talus,9,0.91,1,0,no,,0.97\n", **record)
    assert read_findings(case, digest="") == unknown
