"""The measures of a bone, and each flag by a small case made for it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from custom_components.domains import Domain
from custom_components.errors import InputError
from custom_components.postprocessing.components import largest_component
from custom_components.quality.calibration import Calibration, DomainQuality
from custom_components.quality.flags import FLAGS, FlagRules, count_components, find_flags, measure_quality

DOMAIN = Domain("ankle", {7: "talus", 2: "tibia"}, "axial")
KNOWN = DomainQuality(Calibration(0.0, 1.0, 4, 2), {"talus": (0.05, 0.08), "tibia": (0.1, 0.2)}, 6)


def measure(classes: np.ndarray, **how: Any) -> dict[str, dict[str, Any]]:
    """Of a map of class indices, whose voxels are 1 mm3, by bone."""
    how = {"before": classes, "expected_dice": [0.99, 0.9, 0.85], "known": KNOWN} | how
    rows = measure_quality(DOMAIN.decode(classes), domain=DOMAIN, voxel_ml=1e-3, **how)
    return {row["bone"]: row for row in rows}


def bones() -> np.ndarray:
    """A talus of 64 voxels and a tibia of 125, whole and inside."""
    classes = np.zeros((9, 12, 16), np.uint8)
    classes[1:5, 1:5, 1:5] = 1
    classes[2:7, 6:11, 8:13] = 2
    return classes


def flags(classes: np.ndarray, rules: FlagRules | None = None, **how: Any) -> dict[str, list[str]]:
    return {bone: find_flags(row, rules or FlagRules()) for bone, row in measure(classes, **how).items()}


def test_a_good_bone_has_numbers_and_no_flag() -> None:
    assert measure(bones())["talus"] == {
        "label": 7, "bone": "talus", "volume_ml": 0.064, "expected_dice": 0.9, "confidence": 0.9,
        "component_voxels": [64], "voxels_before": 64, "changed": 0.0, "cut": False, "training_volume_ml": (0.05, 0.08),
    }  # fmt: skip
    assert flags(bones()) == {"talus": [], "tibia": []}


def test_a_missing_bone_has_no_confidence_whatever_was_expected() -> None:
    classes = bones()
    classes[classes == 2] = 0
    row = measure(classes)["tibia"]
    assert (row["volume_ml"], row["confidence"], row["component_voxels"], row["cut"]) == (0, 0, [], False)
    assert flags(classes) == {"talus": [], "tibia": ["missing", "low-confidence"]}
    assert flags(classes, known=None, expected_dice=None)["tibia"] == ["missing"]


def test_several_components_before_post_processing_but_not_specks() -> None:
    before = bones()
    before[8, 0, 0] = 1  # 1 of 65 voxels is 1.5 %
    after = largest_component(before, num_classes=3)
    assert flags(after, before=before)["talus"] == ["several-components"]
    assert flags(after, FlagRules(speck=0.02), before=before)["talus"] == []
    row = measure(after, before=before)["talus"]
    assert row["component_voxels"] == [64, 1]
    assert [count_components(row, FlagRules(speck=speck)) for speck in (0, 1 / 65, 1 / 64, 1)] == [2, 2, 1, 0]
    before[7, 0, 1] = 1  # touches by an edge
    assert measure(after, before=before, connectivity=2)["talus"]["component_voxels"] == [64, 2]


def test_volume_outside_that_of_training() -> None:
    for voxels, outside in ((37, True), (38, False), (100, False), (101, True)):  # 0.05 * 0.75, 0.08 * 1.25
        classes = np.zeros((9, 12, 16), np.uint8)
        inside = np.argwhere(np.ones((5, 5, 5), bool))[:voxels] + 1
        classes[tuple(inside.T)] = 1
        assert (flags(classes)["talus"] == ["volume-outside-training"]) is outside, voxels
        assert flags(classes, FlagRules(volume_margin=0.5))["talus"] == []
        assert flags(classes, known=None)["talus"] == []


def test_changed_by_post_processing_counts_what_is_lost_and_won() -> None:
    after, before = bones(), bones()
    before[1, 1:5, 1:5] = 0  # 16 voxels were added
    before[8, 0:2, 0:4] = 1  # 8 voxels were removed
    row = measure(after, before=before)["talus"]
    assert row["changed"] == pytest.approx(24 / (64 + 8))
    assert flags(after, before=before)["talus"] == ["several-components", "changed-by-postprocessing"]
    assert flags(after, FlagRules(most_changed=0.34, speck=0.2), before=before)["talus"] == []
    assert measure(after, before=before)["tibia"]["changed"] == 0


def test_a_voxel_that_goes_to_another_bone_changes_both() -> None:
    after, before = bones(), bones()
    before[2, 6, 8] = 1
    rows = measure(after, before=before)
    assert rows["talus"]["changed"] == pytest.approx(1 / 65, abs=1e-6)
    assert rows["tibia"]["changed"] == pytest.approx(1 / 125, abs=1e-6)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("end", [0, -1])
def test_cut_at_every_face_of_the_volume(axis: int, end: int) -> None:
    kept = {0: {0: slice(2, None), -1: slice(None, 4)}, 1: {0: slice(2, None), -1: slice(None, 4)}}
    kept[2] = kept[1]
    which = [slice(None)] * 3
    which[axis] = kept[axis][end]
    assert "cut-by-field-of-view" in flags(bones()[tuple(which)])["talus"]
    assert "cut-by-field-of-view" not in flags(bones())["talus"]


def test_low_confidence_is_the_calibrated_one_or_else_the_expected_dice() -> None:
    unsure = DomainQuality(Calibration(-1.0, 1.0, 4, 2), KNOWN.volumes_ml, 6)
    assert measure(bones(), known=unsure)["talus"]["confidence"] == pytest.approx(1 / (1 + np.e / 9), abs=1e-6)
    assert flags(bones(), known=unsure)["talus"] == ["low-confidence"]
    without = DomainQuality(None, KNOWN.volumes_ml, 6)
    assert measure(bones(), known=without)["talus"]["confidence"] is None
    assert flags(bones(), FlagRules(least_confidence=0.88), known=without) == {"talus": [], "tibia": ["low-confidence"]}
    assert flags(bones(), known=None, expected_dice=None) == {"talus": [], "tibia": []}


def test_nothing_is_made_up_of_what_is_not_known() -> None:
    row = measure(bones(), before=None, expected_dice=None, known=None)["talus"]
    unknown = ("expected_dice", "confidence", "component_voxels", "voxels_before", "changed", "training_volume_ml")
    assert [row[key] for key in unknown] == [None] * 6
    assert (count_components(row, FlagRules()), find_flags(row, FlagRules())) == (None, [])


def test_order_in_memory_changes_nothing() -> None:
    before = bones()
    before[8, 0, 0] = 1
    after = largest_component(before, num_classes=3)
    assert measure(np.asfortranarray(after), before=before) == measure(after, before=np.asfortranarray(before))


def test_rules_are_checked() -> None:
    assert FlagRules.from_texts([]) == FlagRules()
    assert FlagRules.from_texts(["least_confidence=0.7", "volume_margin=2"]) == FlagRules(0.7, volume_margin=2)
    for text in ("sure=0.3", "speck", "speck=high"):
        with pytest.raises(InputError, match=f"flag rule must be NAME=NUMBER with one of least_.*, got '{text}'"):
            FlagRules.from_texts([text])
    for rule, value in (("speck", 1.5), ("least_confidence", -0.1), ("most_changed", "x"), ("speck", float("nan"))):
        with pytest.raises(InputError, match=f"{rule} must be a number from 0 to 1, got {value!r}"):
            FlagRules(**{rule: value})
    with pytest.raises(InputError, match="volume_margin must be a number from 0, got -1"):
        FlagRules(volume_margin=-1)


def test_flags_are_those_that_are_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "concepts" / "quality.md").read_text()
    assert all(f"`{flag}`" in text for flag in FLAGS)
