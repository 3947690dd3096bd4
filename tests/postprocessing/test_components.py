"""Largest component and sizes: by hand, and against skimage voxel by voxel, from runs and without."""

import tracemalloc

import numpy as np
import pytest
from custom_components.errors import InputError
from custom_components.io.geometry import to_canonical
from custom_components.postprocessing import components
from custom_components.postprocessing.components import component_sizes, largest_component
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.measure import label as skimage_label
from support.label_maps import NUM_CLASSES, all_maps, stored_anyhow

ways = st.sampled_from(["from runs", "by voxel"])


def no_runs(patch):
    """Take every map for noise."""
    patch.setattr(components, "_FEW_RUNS", 0)
    patch.setattr(components, "_VOXELS_A_RUN", 10**9)


def largest_by_skimage(labels, connectivity):
    result = np.zeros_like(labels)
    for index in range(1, NUM_CLASSES):
        components = skimage_label(labels == index, connectivity=connectivity)
        if components.max():
            firsts = [np.flatnonzero(components == c)[0] for c in range(1, components.max() + 1)]
            sizes = np.bincount(components.ravel())[1:]
            kept = max(range(len(sizes)), key=lambda c: (sizes[c], -firsts[c])) + 1
            result[components == kept] = index
    return result


def test_largest_component_by_hand():
    labels = np.array([[[1, 1, 0, 1, 2, 0, 2, 2]]])
    assert largest_component(labels, num_classes=3).tolist() == [[[1, 1, 0, 0, 0, 0, 2, 2]]]
    assert labels.tolist() == [[[1, 1, 0, 1, 2, 0, 2, 2]]], "the input must not change"


@pytest.mark.parametrize("order", ["C", "F"])
def test_of_equal_components_the_first_in_c_order_stays(order):
    # Component B starts at a lower last coordinate, A at a lower first coordinate: C order says A.
    labels = np.zeros((3, 3, 5), np.uint8, order=order)
    labels[0, 0, 3:5] = 1
    labels[2, 0, 0:2] = 1
    kept = largest_component(labels, num_classes=2)
    assert np.argwhere(kept).tolist() == [[0, 0, 3], [0, 0, 4]]


@pytest.mark.parametrize(("connectivity", "count"), [(1, 3), (2, 2), (3, 1)])
def test_connectivity_joins_faces_edges_corners(connectivity, count):
    labels = np.zeros((3, 3, 3), int)
    labels[0, 0, 0] = labels[0, 1, 1] = labels[1, 2, 2] = 1  # an edge, then a corner in common
    found, none = component_sizes(labels, num_classes=3, connectivity=connectivity)
    assert (len(found), none) == (count, [])
    assert (largest_component(labels, num_classes=2, connectivity=connectivity) == 1).sum() == 4 - count


@given(data=st.data(), labels=all_maps, connectivity=st.integers(1, 3), way=ways)
@settings(max_examples=120)
def test_agrees_with_skimage(data, labels, connectivity, way):
    stored = data.draw(stored_anyhow(labels))
    with pytest.MonkeyPatch.context() as patch:
        if way == "by voxel":
            no_runs(patch)
        how = {"num_classes": NUM_CLASSES, "connectivity": connectivity}
        kept = largest_component(stored, **how)
        sizes, after = component_sizes(stored, **how), component_sizes(kept, **how)
    np.testing.assert_array_equal(kept, largest_by_skimage(labels, connectivity))
    np.testing.assert_array_equal(stored, labels, "the input must not change")
    assert kept.dtype == labels.dtype
    for index in range(1, NUM_CLASSES):
        components = skimage_label(labels == index, connectivity=connectivity)
        assert sizes[index - 1] == sorted(np.bincount(components.ravel())[1:].tolist(), reverse=True)
    assert after == [each[:1] for each in sizes]


@st.composite
def orientations(draw):
    """Affines that exchange and turn axes."""
    matrix = np.diag([*(draw(st.sampled_from([1.0, -1.0])) for _ in range(3)), 1.0])
    return matrix[[*draw(st.permutations(range(3))), 3]]


@given(data=st.data(), labels=all_maps, affine=orientations(), way=ways)
@settings(max_examples=100)
def test_ties_are_settled_in_canonical_order(data, labels, affine, way):
    stored = data.draw(stored_anyhow(labels))
    with pytest.MonkeyPatch.context() as patch:
        if way == "by voxel":
            no_runs(patch)
        kept = largest_component(stored, num_classes=NUM_CLASSES, affine=affine)
    canonical = np.ascontiguousarray(to_canonical(labels, affine))
    np.testing.assert_array_equal(to_canonical(kept, affine), largest_by_skimage(canonical, 1))


def test_of_equally_large_components_the_same_stays_in_any_storage_order():
    """Two voxels of each bone: stored front to back, back to front, and with axes exchanged."""
    labels = np.zeros((4, 3, 2), np.uint8)
    labels[0, 2, 0] = labels[3, 0, 1] = 1
    labels[0, 0, 0] = labels[2, 0, 0] = 2
    kept = largest_component(labels, num_classes=3, affine=np.eye(4))
    assert np.argwhere(kept).tolist() == [[0, 0, 0], [0, 2, 0]]
    flipped = np.diag([-2.0, 1, 1, 1])
    np.testing.assert_array_equal(largest_component(labels[::-1], num_classes=3, affine=flipped), kept[::-1])
    turned = np.eye(4)[[2, 1, 0, 3]]
    np.testing.assert_array_equal(largest_component(labels.T, num_classes=3, affine=turned), kept.T)
    with pytest.raises(InputError, match="labels must be an integer array"):
        largest_component(labels[None], num_classes=3, affine=np.eye(4))


def test_noise_is_no_matter_of_runs():
    """As many runs as voxels would take a hundred times the memory of the map."""
    noise = np.random.default_rng(0).integers(0, 2, (50, 100, 100), np.uint8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(components, "_FEW_RUNS", 0)
        tracemalloc.start()
        kept = largest_component(noise, num_classes=2)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    np.testing.assert_array_equal(kept, largest_component(noise, num_classes=2))
    assert peak < 20 * noise.nbytes


def test_errors_name_the_remedy():
    good = np.zeros((2, 2, 2), int)
    for function in (largest_component, component_sizes):
        with pytest.raises(InputError, match=r"labels must be an integer array.* float64 of shape \(2, 2, 2\)"):
            function(good.astype(float), num_classes=2)
        with pytest.raises(InputError, match=r"labels must lie in 0\.\.1, got 2\.\.2; encode label values"):
            function(good + 2, num_classes=2)
        with pytest.raises(InputError, match="connectivity must be 1, 2 or 3, got 6"):
            function(good, num_classes=2, connectivity=6)
