from dataclasses import replace

import numpy as np
import pytest
from custom_components.domains import Domain, check_planes, find_domain, output_channels
from custom_components.errors import InputError
from hypothesis import given
from hypothesis import strategies as st

ANKLE = Domain("ankle", {5: "calcaneus", 2: "talus"}, "sagittal", "MR T1")
SHOULDER = Domain("shoulder", {1: "humerus", 2: "scapula"}, "axial")

LABEL_VALUES = st.lists(st.integers(1, 255), min_size=1, max_size=9, unique=True)


def test_classes_follow_the_order_of_the_labels_not_their_values() -> None:
    assert ANKLE.num_classes == 3
    classes = ANKLE.encode(np.array([[0, 2], [5, 5]], dtype=np.int32), source="scan.nii")
    assert classes.tolist() == [[0, 2], [1, 1]]
    assert classes.dtype == np.uint8
    decoded = ANKLE.decode(classes)
    assert decoded.tolist() == [[0, 2], [5, 5]]
    assert decoded.dtype == np.uint8


@given(values=LABEL_VALUES, picks=st.lists(st.integers(0, 9), max_size=20))
def test_encode_and_decode_are_inverse(values: list[int], picks: list[int]) -> None:
    domain = Domain("any", {value: f"bone {value}" for value in values}, "axial")
    classes = np.array([pick % domain.num_classes for pick in picks], dtype=np.uint8)
    np.testing.assert_array_equal(domain.encode(domain.decode(classes), source="any"), classes)


@given(values=LABEL_VALUES)
def test_plain_dictionary_rebuilds_the_domain_in_class_order(values: list[int]) -> None:
    domain = Domain("any", {value: f"bone {value}" for value in values}, "coronal", "CT")
    rebuilt = Domain.from_dict(domain.to_dict())
    assert rebuilt == domain
    assert list(rebuilt.labels) == values


@pytest.mark.parametrize("foreign", [3, -1, 2.5, np.nan])
def test_a_foreign_label_value_is_refused_with_the_file(foreign: float) -> None:
    with pytest.raises(InputError, match=rf"label values in left\.nii must be .*\(domain ankle\), got {foreign:g};"):
        ANKLE.encode(np.array([0, 5, foreign]), source="left.nii")


@pytest.mark.parametrize(
    ("labels", "plane", "message"),
    [
        ({1: "talus"}, "oblique", "plane of domain knee must be one of sagittal, coronal, axial, got 'oblique'"),
        ({}, "axial", r"label values of domain knee must be .*, got none; renumber"),
        ({0: "talus"}, "axial", r"from 1 to 255 \(0 is background\), got \[0\]"),
        ({256: "talus", 7: "tibia"}, "axial", r"got \[256\]"),
        ({1: "talus", 2: "talus"}, "axial", "label names of domain knee must differ"),
    ],
)
def test_a_bad_domain_is_refused(labels: dict[int, str], plane: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Domain("knee", labels, plane)


def test_find_domain_by_name_or_the_only_one() -> None:
    assert find_domain([ANKLE, SHOULDER], "shoulder") == 1
    assert find_domain([SHOULDER], None) == 0
    with pytest.raises(InputError, match="domain must be one of ankle, shoulder, got 'hip'; name the one"):
        find_domain([ANKLE, SHOULDER], "hip")
    with pytest.raises(InputError, match="domain must be one of ankle, shoulder, got None"):
        find_domain([ANKLE, SHOULDER], None)
    with pytest.raises(InputError, match="domain must be one of shoulder, got 'ankle'"):
        find_domain([SHOULDER], "ankle")


def test_a_further_plane_is_found_by_its_name_alone() -> None:
    plane = replace(SHOULDER, name="shoulder_coronal", plane="coronal", plane_of="shoulder")
    assert Domain.from_dict(plane.to_dict()) == plane
    assert find_domain([SHOULDER, plane], None) == 0
    assert find_domain([SHOULDER, plane], "shoulder_coronal") == 1
    with pytest.raises(InputError, match="domain must be one of ankle, shoulder, got None"):
        find_domain([ANKLE, SHOULDER, plane], None)


def test_a_further_plane_is_of_a_data_set_before_it_with_the_same_labels() -> None:
    plane = replace(SHOULDER, name="coronal", plane="coronal", plane_of="shoulder")
    check_planes([SHOULDER, ANKLE, plane], "domain")
    for domains in (
        [plane, SHOULDER],
        [ANKLE, plane],
        [SHOULDER, plane, replace(plane, name="other", plane_of="coronal")],
        [SHOULDER, replace(plane, labels={1: "humerus"})],
        [SHOULDER, replace(plane, channels=("water", "fat"))],
        [replace(plane, plane_of="coronal")],
    ):
        with pytest.raises(
            InputError, match=r"must come after a data set \w+ of the same labels and channels, got none"
        ):
            check_planes(domains, "domain")
    with pytest.raises(InputError, match="plane coronal must have a head of its own, got head 'shared'"):
        check_planes([SHOULDER, plane], "shared")


@given(num_classes=st.lists(st.integers(2, 6), min_size=1, max_size=5))
def test_shared_channels_are_the_union_with_one_background(num_classes: list[int]) -> None:
    channels = output_channels(num_classes, "shared")
    assert [len(own) for own in channels] == num_classes
    assert all(own[0] == 0 for own in channels)
    foreground = [channel for own in channels for channel in own[1:]]
    assert foreground == list(range(1, 1 + sum(num_classes) - len(num_classes)))
    assert output_channels(num_classes, "domain") == [list(range(count)) for count in num_classes]


def test_an_unknown_head_is_refused() -> None:
    with pytest.raises(InputError, match="head must be 'domain' or 'shared', got 'both'"):
        output_channels([2], "both")
