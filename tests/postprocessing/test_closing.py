"""Closing: by hand, against skimage on whole padded arrays, at the border, and where two bones want one voxel."""

import numpy as np
import pytest
from custom_components.errors import InputError
from custom_components.postprocessing.closing import spherical_closing
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.morphology import ball, closing
from support.label_maps import NUM_CLASSES, all_maps, blocky_maps, long_maps, sparse_maps, stored_anyhow

SWAP = np.array([0, 2, 1], np.uint8)


def closed_by_skimage(mask, radius):
    """On the whole array, padded."""
    margin = 2 * radius + 1
    whole = closing(np.pad(mask, margin).astype(np.uint8), ball(radius)) > 0
    return whole[(slice(margin, -margin),) * 3]


def closed_by_distances(mask, radius):
    """The same for large balls."""
    margin = 2 * radius + 1
    grown = ndimage.distance_transform_edt(~np.pad(mask, margin)) < radius + 1e-6
    return (ndimage.distance_transform_edt(grown) > radius + 1e-6)[(slice(margin, -margin),) * 3]


def expected_closing(labels, radius, closed):
    """Background that a bone's closing claims, as far as from the nearest bone that claims it."""
    distances = np.full((NUM_CLASSES, *labels.shape), np.inf)
    for index in range(1, NUM_CLASSES):
        mask = labels == index
        if mask.any():
            claimed = closed(mask, radius) & (labels == 0)
            distances[index][claimed] = ndimage.distance_transform_edt(~mask)[claimed]
    return np.where(np.isfinite(distances).any(axis=0), distances.argmin(axis=0), labels)


def test_closing_by_hand():
    # The ball of radius 2 cannot enter a slit one voxel wide; it falls into a gap five wide.
    labels = np.zeros((9, 9, 14), int)
    labels[:, :, 0:3] = labels[:, :, 4:7] = labels[:, :, 12:] = 1
    closed = spherical_closing(labels, num_classes=2)
    assert (closed[4, 4] == [1] * 7 + [0] * 5 + [1] * 2).all()
    # At the rim of the slit the ball does enter, as there is background beyond the array.
    assert closed[0, 4, 3] == 0
    assert closed[2, 4, 3] == 1


def test_closing_does_not_erode_a_bone_cut_by_the_field_of_view():
    labels = np.zeros((12, 12, 12), np.uint8)
    labels[3:8, 3:8, 5:] = 1
    np.testing.assert_array_equal(spherical_closing(labels, num_classes=2), labels)
    # Closing without padding, the trap: the shaft loses its cut end.
    unpadded = ndimage.binary_closing(labels == 1, ball(2))
    assert unpadded.sum() < labels.sum()


@given(data=st.data(), labels=all_maps, radius=st.integers(0, 3))
@settings(max_examples=100)
@example(data=None, labels=np.full((3, 4, 5), 2, np.uint8), radius=2)  # one bone is everything
@example(data=None, labels=np.full((1, 1, 1), 1, np.uint8), radius=2)
@example(data=None, labels=np.array([[[1, 0, 2]], [[0, 0, 0]], [[1, 0, 2]]], np.uint8), radius=3)
def test_agrees_with_skimage_on_the_whole_padded_array(data, labels, radius):
    stored = labels if data is None else data.draw(stored_anyhow(labels))
    closed = spherical_closing(stored, num_classes=NUM_CLASSES, radius=radius)
    np.testing.assert_array_equal(closed, expected_closing(labels, radius, closed_by_skimage))
    np.testing.assert_array_equal(closed[labels > 0], labels[labels > 0])
    np.testing.assert_array_equal(stored, labels, "the input must not change")
    assert closed.dtype == labels.dtype


@given(labels=st.one_of(sparse_maps, long_maps()), radius=st.integers(4, 9))
@settings(max_examples=25)
def test_agrees_with_distances_where_a_ball_spans_bytes(labels, radius):
    closed = spherical_closing(labels, num_classes=NUM_CLASSES, radius=radius)
    np.testing.assert_array_equal(closed, expected_closing(labels, radius, closed_by_distances))


def test_contested_voxels_go_to_the_nearer_bone_then_to_the_lower_class():
    # Plates of two bones in turn: both closings claim what lies between.
    block = np.tile(np.array([1, 2, 0, 0, 1, 2], np.uint8), (15, 15, 1))
    # Voxel 2 lies 1 from bone 2 and 2 from bone 1; voxel 3 lies 1 from bone 1 and 2 from bone 2.
    assert spherical_closing(block, num_classes=3, radius=3)[7, 7].tolist() == [1, 2, 2, 1, 1, 2]
    # Voxel 2 lies 1 from both: the lower class, for any bone.
    block = np.tile(np.array([2, 1, 0, 2, 1], np.uint8), (15, 15, 1))
    assert spherical_closing(block, num_classes=3, radius=3)[7, 7].tolist() == [2, 1, 1, 2, 1]
    assert spherical_closing(SWAP[block], num_classes=3, radius=3)[7, 7].tolist() == [1, 2, 1, 1, 2]


def test_renumbering_the_bones_changes_only_voxels_at_equal_distance():
    labels = np.tile(np.array([1, 2, 0, 0, 1, 2, 1, 0, 2, 1], np.uint8), (15, 15, 1))
    one = spherical_closing(labels, num_classes=3, radius=3)
    other = SWAP[spherical_closing(SWAP[labels], num_classes=3, radius=3)]
    distances = [ndimage.distance_transform_edt(labels != index) for index in (1, 2)]
    assert (one[one != other] == 1).all()
    assert (one != other).any()
    assert (distances[0] == distances[1])[one != other].all()
    assert ((one == other) & (labels == 0) & (one != 0)).any()


@given(labels=blocky_maps(), shift=st.tuples(*[st.integers(0, 4)] * 3), axes=st.permutations(range(3)))
@settings(max_examples=50)
def test_closing_moves_with_the_bones(labels, shift, axes):
    closed = spherical_closing(labels, num_classes=NUM_CLASSES)
    pads = [(before, 3) for before in shift]
    moved = spherical_closing(np.pad(labels, pads), num_classes=NUM_CLASSES)
    np.testing.assert_array_equal(moved, np.pad(closed, pads))
    turned = spherical_closing(labels.transpose(axes), num_classes=NUM_CLASSES)
    np.testing.assert_array_equal(turned, closed.transpose(axes))
    np.testing.assert_array_equal(spherical_closing(labels[::-1], num_classes=NUM_CLASSES), closed[::-1])


def test_errors_name_the_remedy():
    good = np.zeros((2, 2, 2), int)
    with pytest.raises(InputError, match=r"labels must be an integer array.* shape \(1, 2, 2, 2\).*without channels"):
        spherical_closing(good[None], num_classes=2)
    with pytest.raises(InputError, match=r"labels must lie in 0\.\.1, got -1\.\.-1"):
        spherical_closing(good - 1, num_classes=2)
    for radius in (-1, 1.5, True):
        with pytest.raises(InputError, match=f"radius must be a whole number of voxels from 0, got {radius}"):
            spherical_closing(good, num_classes=2, radius=radius)
