import math

import pytest
from custom_components.quality.flags import FLAGS

from multijoint.clinic.report.glossary import FLAGS_OF_SCANS, explain_flag, explain_flags, measured_by_flag


@pytest.mark.parametrize("flag", [*FLAGS, *FLAGS_OF_SCANS, "changed-since", "missed", "false-find"])
def test_each_flag_has_an_explanation_of_its_own(flag: str) -> None:
    assert explain_flag(flag) != explain_flag("no such flag")
    assert explain_flag(flag).endswith(".")


def test_flags_are_counted_by_case_in_the_order_of_the_glossary() -> None:
    counted = explain_flags([["low-confidence", "missing", "missing"], [], ["unheard-of", "low-confidence"]])
    assert [row[:2] for row in counted] == [("missing", 1), ("low-confidence", 2), ("unheard-of", 1)]


def test_what_is_unknown_is_not_stated() -> None:
    assert measured_by_flag({}, confidence=math.nan, volume_ml=3.0, training_ml=None) == {}
    row = {"components": "x", "changed": "0.126"}
    assert measured_by_flag(row, confidence=0.715, volume_ml=3.0, training_ml=(4.0, 5.0)) == {
        "changed-by-postprocessing": "13 %",
        "low-confidence": "0.71",
        "volume-outside-training": "3.0 ml, in training 4.0 to 5.0 ml",
    }
