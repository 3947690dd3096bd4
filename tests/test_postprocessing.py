"""Largest component and closing: by hand, against skimage on whole padded arrays, and at the border."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from monai.data import MetaTensor
from scipy import ndimage
from skimage.measure import label as skimage_label
from skimage.morphology import ball, closing

from custom_components.errors import InputError
from custom_components.postprocessing import (
    KeepLargestComponentd,
    SphericalClosingd,
    component_counts,
    largest_component,
    spherical_closing,
)

NUM_CLASSES = 4
SWAP = np.array([0, 2, 1], np.uint8)
maps = arrays(np.uint8, array_shapes(min_dims=3, max_dims=3, max_side=8), elements=st.integers(0, NUM_CLASSES - 1))
sparse_maps = maps.flatmap(lambda labels: arrays(bool, labels.shape).map(lambda kept: labels * kept))


@st.composite
def blocky_maps(draw):
    """Boxes of bone painted over one another: touching, cut by the border, one voxel thin, or absent."""
    shape = draw(st.tuples(*[st.integers(1, 14)] * 3))
    labels = np.zeros(shape, np.uint8)
    for _ in range(draw(st.integers(0, 6))):
        low = [draw(st.integers(0, side - 1)) for side in shape]
        box = tuple(slice(start, start + draw(st.integers(1, 7))) for start in low)
        labels[box] = draw(st.integers(0, NUM_CLASSES - 1))
    return labels


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


def closing_by_skimage(labels, radius):
    """Whole array, padded; contested voxels settled one by one from distance transforms."""
    margin = 2 * radius + 1
    closed, distance = {}, {}
    for index in range(1, NUM_CLASSES):
        mask = labels == index
        if mask.any():
            whole = closing(np.pad(mask, margin).astype(np.uint8), ball(radius)) > 0
            closed[index] = whole[tuple(slice(margin, -margin) for _ in range(3))]
            distance[index] = ndimage.distance_transform_edt(~mask)
    result = labels.copy()
    for voxel in np.argwhere(labels == 0):
        at = tuple(voxel)
        claims = [(distance[index][at], index) for index in closed if closed[index][at]]
        if claims:
            result[at] = min(claims)[1]
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
    assert component_counts(labels, num_classes=3, connectivity=connectivity) == [count, 0]
    assert (largest_component(labels, num_classes=2, connectivity=connectivity) == 1).sum() == 4 - count


@given(labels=st.one_of(maps, sparse_maps, blocky_maps()), connectivity=st.integers(1, 3))
@settings(max_examples=100, deadline=None)
def test_largest_component_agrees_with_skimage(labels, connectivity):
    kept = largest_component(labels, num_classes=NUM_CLASSES, connectivity=connectivity)
    np.testing.assert_array_equal(kept, largest_by_skimage(labels, connectivity))
    counts = component_counts(labels, num_classes=NUM_CLASSES, connectivity=connectivity)
    for index in range(1, NUM_CLASSES):
        assert counts[index - 1] == skimage_label(labels == index, connectivity=connectivity).max()
    after = component_counts(kept, num_classes=NUM_CLASSES, connectivity=connectivity)
    assert after == [min(count, 1) for count in counts]


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


@given(labels=st.one_of(blocky_maps(), sparse_maps), radius=st.integers(0, 3))
@settings(max_examples=100, deadline=None)
@example(labels=np.full((3, 4, 5), 2, np.uint8), radius=2)  # one bone is everything
@example(labels=np.full((1, 1, 1), 1, np.uint8), radius=2)
@example(labels=np.array([[[1, 0, 2]], [[0, 0, 0]], [[1, 0, 2]]], np.uint8), radius=3)
def test_closing_agrees_with_skimage_on_the_whole_padded_array(labels, radius):
    closed = spherical_closing(labels, num_classes=NUM_CLASSES, radius=radius)
    np.testing.assert_array_equal(closed, closing_by_skimage(labels, radius))
    np.testing.assert_array_equal(closed[labels > 0], labels[labels > 0])
    assert closed.dtype == labels.dtype


def interlocked() -> np.ndarray:
    """Two bones that both close over the voxels between them."""
    labels = np.zeros((9, 9, 9), np.uint8)
    labels[2:7, 2:7, 2] = labels[2:7, 2:7, 7] = 1
    labels[2:7, 2, 2:8] = labels[2:7, 6, 2:8] = 1
    labels[2:7, 3:6, 4] = 2
    labels[2, 3:6, 3:7] = 2
    return labels


def test_contested_voxels_go_to_the_nearer_bone_then_to_the_lower_class():
    # Plates of two bones in turn: both closings claim what lies between.
    block = np.tile(np.array([1, 2, 0, 0, 1, 2], np.uint8), (15, 15, 1))
    # Voxel 2 lies 1 from bone 2 and 2 from bone 1; voxel 3 lies 1 from bone 1 and 2 from bone 2.
    assert spherical_closing(block, num_classes=3, radius=3)[7, 7].tolist() == [1, 2, 2, 1, 1, 2]
    # Voxel 2 lies 1 from both: the lower class, whichever bone it is.
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


@given(
    labels=blocky_maps(),
    shift=st.tuples(*[st.integers(0, 4)] * 3),
    axes=st.permutations(range(3)),
)
@settings(max_examples=50, deadline=None)
def test_closing_moves_with_the_bones(labels, shift, axes):
    closed = spherical_closing(labels, num_classes=NUM_CLASSES)
    pads = [(before, 3) for before in shift]
    moved = spherical_closing(np.pad(labels, pads), num_classes=NUM_CLASSES)
    np.testing.assert_array_equal(moved, np.pad(closed, pads))
    turned = spherical_closing(labels.transpose(axes), num_classes=NUM_CLASSES)
    np.testing.assert_array_equal(turned, closed.transpose(axes))
    np.testing.assert_array_equal(spherical_closing(labels[::-1], num_classes=NUM_CLASSES), closed[::-1])


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.int32, np.int64, np.uint16])
def test_every_integer_type_is_kept(dtype):
    labels = interlocked().astype(dtype)
    for result in (largest_component(labels, num_classes=3), spherical_closing(labels, num_classes=3)):
        assert result.dtype == dtype
    np.testing.assert_array_equal(
        spherical_closing(labels, num_classes=3), spherical_closing(interlocked(), num_classes=3)
    )


def test_a_map_without_bones_stays():
    empty = np.zeros((4, 5, 6), np.uint8)
    assert not largest_component(empty, num_classes=1).any()
    assert not spherical_closing(empty, num_classes=3).any()
    assert component_counts(empty, num_classes=1) == []


TRANSFORMS = [
    (KeepLargestComponentd, largest_component),
    (SphericalClosingd, spherical_closing),
]


@pytest.mark.parametrize(("transform", "function"), TRANSFORMS)
@pytest.mark.parametrize("num_classes", [3, None])
@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8, torch.int64])
def test_transforms_keep_type_and_metadata(transform, function, num_classes, dtype):
    labels = interlocked()
    labels[0, 0, 0] = 2  # a stray voxel, so that both transforms have something to do
    expected = function(labels, num_classes=3)
    assert (expected != labels).any()
    affine = torch.diag(torch.tensor([0.5, 0.5, 3.0, 1.0], dtype=torch.float64))
    tensor = torch.as_tensor(labels)[None].to(dtype)
    meta = MetaTensor(tensor.clone(), affine=affine, meta={"filename_or_obj": "scan.nii.gz"})
    item = {"tensor": tensor, "meta": meta, "array": tensor.numpy(), "image": "untouched"}
    result = transform(["tensor", "meta", "array"], num_classes=num_classes)(item)
    assert type(result["tensor"]) is torch.Tensor
    assert isinstance(result["meta"], MetaTensor)
    assert isinstance(result["array"], np.ndarray)
    torch.testing.assert_close(result["meta"].affine, affine, check_dtype=False)
    assert result["meta"].meta["filename_or_obj"] == "scan.nii.gz"
    assert result["image"] == "untouched"
    for key in ("tensor", "meta", "array"):
        assert result[key].dtype == item[key].dtype
        np.testing.assert_array_equal(np.asarray(result[key]), expected[None])
    np.testing.assert_array_equal(tensor.numpy(), labels[None], "the input must not change")


def test_transforms_pass_their_settings_on():
    labels = np.zeros((1, 3, 3, 3))
    labels[0, 0, 0, 0] = labels[0, 1, 1, 1] = 1
    assert KeepLargestComponentd("x", connectivity=3)({"x": labels})["x"].sum() == 2
    assert KeepLargestComponentd("x")({"x": labels})["x"].sum() == 1
    ring = np.pad(np.ones((1, 5, 5, 5)), 1)[1:2]
    ring[0, 2:5, 2:5, 2:5] = 0
    assert SphericalClosingd("x", radius=2)({"x": ring})["x"].sum() == 5**3
    assert SphericalClosingd("x", radius=0)({"x": ring})["x"].sum() == 5**3 - 3**3
    assert KeepLargestComponentd("x", allow_missing_keys=True)({}) == {}
    with pytest.raises(KeyError):
        SphericalClosingd("x")({})


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
    item = {"pred": MetaTensor(torch.from_numpy(labels[::-1].copy())[None], affine=torch.from_numpy(flipped))}
    np.testing.assert_array_equal(KeepLargestComponentd("pred")(item)["pred"][0].numpy(), kept[::-1])
    with pytest.raises(InputError, match="labels must be an integer array"):
        largest_component(labels[None], num_classes=3, affine=np.eye(4))


def test_errors_name_the_remedy():
    good = np.zeros((2, 2, 2), int)
    with pytest.raises(InputError, match=r"labels must be an integer array.* float64 of shape \(2, 2, 2\)"):
        largest_component(good.astype(float), num_classes=2)
    with pytest.raises(InputError, match=r"labels must be an integer array.* shape \(1, 2, 2, 2\).*without channels"):
        spherical_closing(good[None], num_classes=2)
    with pytest.raises(InputError, match=r"labels must lie in 0\.\.1, got 2\.\.2; encode label values"):
        component_counts(good + 2, num_classes=2)
    with pytest.raises(InputError, match=r"labels must lie in 0\.\.1, got -1\.\.-1"):
        spherical_closing(good - 1, num_classes=2)
    with pytest.raises(InputError, match="connectivity must be 1, 2 or 3, got 6"):
        largest_component(good, num_classes=2, connectivity=6)
    for radius in (-1, 1.5, True):
        with pytest.raises(InputError, match=f"radius must be a whole number of voxels from 0, got {radius}"):
            spherical_closing(good, num_classes=2, radius=radius)
    with pytest.raises(InputError, match=r"label map 'pred' must have shape \(1, H, W, D\), got \(3, 2, 2, 2\)"):
        KeepLargestComponentd("pred")({"pred": torch.zeros(3, 2, 2, 2)})
    for value in (0.5, np.nan, np.inf):
        with pytest.raises(InputError, match=f"label map 'pred' must hold whole numbers, got {value:g}"):
            SphericalClosingd("pred")({"pred": np.full((1, 2, 2, 2), value)})
