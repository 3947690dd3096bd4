"""Runs and boxes of bones: by hand, and against loops over voxels and scipy's boxes."""

from itertools import groupby

import numpy as np
import pytest
from custom_components import label_maps as voxel_runs
from custom_components.errors import InputError
from custom_components.label_maps import Bone, check_label_map, find_bones, find_runs, memory_axes
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from support.label_maps import NUM_CLASSES, all_maps, stored_anyhow

parts = st.sampled_from([64, 2**18])


def runs_by_loop(labels):
    found = []
    for number, line in enumerate(labels.reshape(-1, labels.shape[-1])):
        for index, group in groupby(enumerate(line.tolist()), key=lambda pair: pair[1]):
            places = [place for place, _ in group]
            if index:
                found.append((number * len(line) + places[0], number * len(line) + places[-1] + 1, index))
    return found


def test_bones_by_hand():
    labels = np.zeros((3, 4, 5), np.int16)
    labels[0, 1, 2:] = labels[2, 3, 0] = 2
    labels[1, 1, 1] = 3
    assert find_bones(labels, num_classes=5) == [
        Bone(2, 4, (slice(0, 3), slice(1, 4), slice(0, 5))),
        Bone(3, 1, (slice(1, 2), slice(1, 2), slice(1, 2))),
    ]


@given(labels=all_maps, part=parts)
@settings(max_examples=100)
def test_runs_are_those_of_a_loop(labels, part):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(voxel_runs, "_PART", part)
        runs = find_runs(labels)
        expected = runs_by_loop(labels)
        assert list(zip(runs.starts, runs.stops, runs.classes, strict=True)) == expected
        assert find_runs(labels, at_most=len(expected)) is not None
        assert find_runs(labels, at_most=len(expected) - 1) is None


@given(data=st.data(), labels=all_maps, part=parts)
@settings(max_examples=100)
def test_bones_are_scipys_boxes_and_sizes_however_the_map_lies(data, labels, part):
    stored = data.draw(stored_anyhow(labels))
    np.testing.assert_array_equal(stored, labels)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(voxel_runs, "_PART", part)
        found = find_bones(stored, num_classes=NUM_CLASSES)
    boxes = ndimage.find_objects(labels, max_label=NUM_CLASSES - 1)
    assert found == [
        Bone(index, np.count_nonzero(labels == index), box) for index, box in enumerate(boxes, start=1) if box
    ]


@pytest.mark.parametrize("shape", [(0, 3, 4), (3, 0, 4), (3, 4, 0), (0,)])
def test_nothing_has_no_runs(shape):
    nothing = np.zeros(shape, np.uint8)
    assert len(find_runs(nothing).starts) == 0
    assert find_bones(nothing, num_classes=3) == []


def test_axes_of_one_voxel_do_not_matter():
    for order in "CF":
        labels = np.zeros((1, 3, 1, 2), order=order)
        assert labels.transpose(memory_axes(labels)).flags.c_contiguous


def test_errors_name_the_remedy():
    good = np.zeros((2, 2, 2), int)
    with pytest.raises(InputError, match=r"labels must be an integer array .* got bool of shape \(2, 2, 2\)"):
        check_label_map(good > 0, 2)
    with pytest.raises(InputError, match=r"labels must be an integer array .* shape \(2, 2\); give class indices"):
        check_label_map(good[0], 2)
    with pytest.raises(InputError, match=r"labels must lie in 0\.\.1, got -1\.\.-1; encode label values"):
        check_label_map(good - 1, 2)
