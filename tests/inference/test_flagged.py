"""The lines about flags that a person reads."""

import logging
from pathlib import Path

import pytest
from custom_components.inference.flagged import describe_flags, log_flags, log_summary


def bones(*flags: str) -> list[dict[str, str]]:
    return [{"bone": f"bone{number}", "flags": each} for number, each in enumerate(flags, start=1)]


def test_flags_are_named_with_their_bones_in_one_line() -> None:
    assert describe_flags(bones("", "")) == ""
    assert describe_flags([]) == ""
    assert describe_flags(bones("missing;low-confidence", "missing")) == "NO BONE FOUND"
    assert describe_flags(bones("missing;low-confidence", "low-confidence")) == (
        "missing (bone1), low-confidence (every bone)"
    )
    many = bones("", *["cut-by-field-of-view"] * 6)
    assert describe_flags(many) == "cut-by-field-of-view (bone2, bone3, bone4, bone5, 2 more)"


def test_each_flagged_scan_has_a_line_and_the_run_a_summary(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    log_flags("good.nii", bones("", ""))
    log_flags("bad.nii", bones("missing", ""))
    rows = [
        {"status": "written", "flags": ""},
        {"status": "skipped", "flags": "bone1: missing, low-confidence"},
        {"status": "written", "flags": "bone2: low-confidence"},
        {"status": "failed", "flags": ""},
    ]
    log_summary(rows, folder=Path("my out"))
    log_summary(rows[:1], folder=Path("out"))
    log_summary([{"status": "written", "flags": "bone1: missing"}], folder=Path("out"))
    assert caplog.messages == [
        "bad.nii is flagged: missing (bone1)",
        "2 of 3 scans flagged: missing in 1, low-confidence in 2; next: multijoint report 'my out'",
        "1 of 1 scan flagged: missing in 1; next: multijoint report out",
    ]
