"""Surface distances: by hand, against all pairs and MONAI, and under both conventions for the border."""

import math

import numpy as np
import pytest
import torch
from custom_components.errors import InputError
from custom_components.label_maps import find_bones
from custom_components.metrics.surface_distances import BORDERS, bone_surfaces, surface_voxels, symmetric_distances
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance
from scipy import ndimage
from scipy.spatial.distance import cdist

borders = st.sampled_from(sorted(BORDERS))
spacings = st.tuples(*[st.floats(0.2, 5.0)] * 3)


@st.composite
def mask_pairs(draw):
    """Two masks of a common shape: boxes (inside, cut, one voxel, everything) or noise, somewhere in the array."""
    shape = draw(st.tuples(*[st.integers(1, 9)] * 3))
    pair = []
    for _ in range(2):
        mask = np.zeros(shape, bool)
        for _ in range(draw(st.integers(0, 2))):
            low = [draw(st.integers(0, side - 1)) for side in shape]
            box = tuple(
                slice(start, draw(st.integers(start + 1, side))) for start, side in zip(low, shape, strict=True)
            )
            mask[box] |= True if draw(st.booleans()) else draw(arrays(bool, mask[box].shape))
        pair.append(mask)
    return pair


def by_all_pairs(prediction, reference, spacing_mm, border):
    """On the whole array, without cropping, trees or transforms."""
    value = int(border == "inside")
    points = [
        np.argwhere(mask & ~ndimage.binary_erosion(mask, border_value=value)) * spacing_mm
        for mask in (prediction, reference)
    ]
    if not all(map(len, points)):
        return math.nan, math.nan
    pairs = cdist(*points)
    nearest = np.concatenate([pairs.min(axis=1), pairs.min(axis=0)])
    return nearest.mean(), nearest.max()


def measure(prediction, reference, spacing_mm=(1.0, 1.0, 1.0), border="inside"):
    surfaces = []
    for mask in (prediction, reference):
        labels = mask.astype(np.uint8)
        bones = find_bones(labels, num_classes=2)
        surfaces.append(bone_surfaces(labels, bones, spacing_mm=spacing_mm, border=border))
    return symmetric_distances(*surfaces).get(1, (math.nan, math.nan))


def test_two_plates_by_hand():
    # Plates of 1 x 4 and 1 x 2 voxels, 3 rows of 0.5 mm apart: the outer two voxels look 1 column (2 mm) aside.
    prediction, reference = np.zeros((1, 6, 8), bool), np.zeros((1, 6, 8), bool)
    prediction[0, 1, 2:6] = True
    reference[0, 4, 3:5] = True
    aside = math.hypot(1.5, 2.0)
    assert aside == 2.5
    expected = (2 * 2.5 + 2 * 1.5 + 2 * 1.5) / 6
    assert measure(prediction, reference, (9.0, 0.5, 2.0), "surface") == pytest.approx((expected, 2.5))
    # The array is one voxel thick; that changes nothing, a neighbour along another axis is background.
    assert measure(prediction, reference, (9.0, 0.5, 2.0)) == pytest.approx((expected, 2.5))


def test_the_pooled_mean_is_not_the_mean_of_the_two_directions():
    prediction, reference = np.zeros((1, 1, 12), bool), np.zeros((1, 1, 12), bool)
    prediction[..., 1] = True
    reference[..., [1, 5, 9]] = True
    # Forwards 0; backwards 0, 4, 8: pooled 12 / 4, the means of the directions would average to 2.
    assert measure(prediction, reference) == (3.0, 8.0)


@pytest.mark.parametrize(
    ("border", "core", "voxels"), [("inside", [False, False, True], 25), ("surface", [True, False, True], 26)]
)
def test_the_border_decides_whether_a_cut_face_is_surface(border, core, voxels):
    mask = np.zeros((5, 5, 9), bool)
    mask[1:4, 1:4, :3] = True  # a shaft of 3 x 3 voxels that leaves the array at one end
    surface = surface_voxels(mask, border=border)
    assert surface[2, 2, :3].tolist() == core
    assert surface.sum() == voxels


@given(pair=mask_pairs(), border=borders)
@settings(max_examples=60)
def test_surface_agrees_with_scipys_erosion(pair, border):
    for mask in pair:
        before = mask.copy()
        eroded = ndimage.binary_erosion(mask, border_value=int(border == "inside"))
        np.testing.assert_array_equal(surface_voxels(mask, border=border), mask & ~eroded)
        np.testing.assert_array_equal(mask, before, "the input must not change")


@given(pair=mask_pairs(), spacing_mm=spacings, border=borders)
@settings(max_examples=250)
@example(pair=[np.ones((3, 3, 3), bool), np.ones((3, 3, 3), bool)], spacing_mm=(1.0, 1.0, 1.0), border="inside")
@example(pair=[np.ones((3, 3, 3), bool), np.ones((3, 3, 3), bool)], spacing_mm=(1.0, 1.0, 1.0), border="surface")
@example(pair=[np.zeros((2, 3, 4), bool), np.ones((2, 3, 4), bool)], spacing_mm=(1.0, 1.0, 1.0), border="surface")
def test_agrees_with_all_pairs_on_the_whole_array(pair, spacing_mm, border):
    expected = by_all_pairs(*pair, spacing_mm, border)
    assert measure(*pair, spacing_mm, border) == pytest.approx(expected, rel=1e-9, abs=1e-9, nan_ok=True)


def blobs(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two smooth random masks, both cut by the border of the array."""
    noise = np.random.default_rng(seed).normal(size=(2, 24, 20, 16))
    first, second = (ndimage.gaussian_filter(each, 2.5) > 0.01 for each in noise)
    return first, second


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")
@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_monai_where_the_border_is_surface(seed):
    pair = blobs(seed)
    spacing_mm = (0.5, 0.7, 3.0)
    batch = [torch.as_tensor(np.stack([~mask, mask]))[None].float() for mask in pair]
    assd = compute_average_surface_distance(*batch, symmetric=True, spacing=spacing_mm).item()
    mssd = compute_hausdorff_distance(*batch, spacing=spacing_mm).item()
    assert measure(*pair, spacing_mm, "surface") == pytest.approx((assd, mssd), rel=1e-5)
    assert measure(*pair, spacing_mm, "inside") != pytest.approx((assd, mssd), rel=1e-3)


@pytest.mark.parametrize("border", sorted(BORDERS))
def test_agrees_with_distance_transforms(border):
    pair, spacing_mm = blobs(7), (0.4, 1.1, 2.5)
    surfaces = [surface_voxels(mask, border=border) for mask in pair]
    maps = [ndimage.distance_transform_edt(~surface, sampling=spacing_mm) for surface in surfaces]
    distances = np.concatenate([maps[1][surfaces[0]], maps[0][surfaces[1]]])
    assert measure(*pair, spacing_mm, border) == pytest.approx((distances.mean(), distances.max()), rel=1e-12)


@given(
    pair=mask_pairs(), spacing_mm=spacings, border=borders, axes=st.permutations(range(3)), scale=st.floats(0.1, 10.0)
)
@settings(max_examples=100)
def test_invariances(pair, spacing_mm, border, axes, scale):
    prediction, reference = pair
    expected = measure(prediction, reference, spacing_mm, border)

    def same(result):
        return result == pytest.approx(expected, rel=1e-9, abs=1e-9, nan_ok=True)

    assert same(measure(reference, prediction, spacing_mm, border))
    turned = [spacing_mm[axis] for axis in axes]
    assert same(measure(prediction.transpose(axes), reference.transpose(axes), turned, border))
    assert same(measure(prediction[::-1], reference[::-1], spacing_mm, border))
    scaled = measure(prediction, reference, [scale * value for value in spacing_mm], border)
    assert same(tuple(value / scale for value in scaled))
    # Within "surface" a border of background changes nothing, so both conventions agree once there is one.
    padded = [np.pad(mask, 2) for mask in pair]
    assert measure(*padded, spacing_mm, "inside") == measure(*padded, spacing_mm, "surface")
    if border == "surface":
        assert same(measure(*padded, spacing_mm, border))


@given(pair=mask_pairs(), border=borders)
@settings(max_examples=50)
def test_identical_masks_are_0_mm_apart(pair, border):
    mask = pair[0]
    assume(surface_voxels(mask, border=border).any())
    assert measure(mask, mask.copy(), (0.3, 0.7, 1.3), border) == (0.0, 0.0)


def test_a_mask_without_surface_has_no_distances():
    full, empty = np.ones((3, 3, 3), bool), np.zeros((3, 3, 3), bool)
    part = np.pad(np.ones((1, 1, 1), bool), 1)
    for pair in ((empty, part), (part, empty), (empty, empty), (full, part), (full, full)):
        assert all(map(math.isnan, measure(*pair)))
    # The full mask has a surface where the border counts; its nearest and farthest voxels lie 1 and sqrt(3) away.
    assert measure(full, part, border="surface")[1] == pytest.approx(math.sqrt(3))


def test_errors_name_the_remedy():
    mask = np.ones((2, 3, 4), bool)
    with pytest.raises(InputError, match="mask must be a boolean array, got float64"):
        surface_voxels(mask.astype(float))
    with pytest.raises(InputError, match="border must be one of inside, surface, got 'outside'"):
        measure(mask, mask, border="outside")
    for spacing_mm in ((1.0, 1.0), (1.0, 0.0, 1.0), (1.0, -1.0, 1.0), (1.0, math.nan, 1.0), (math.inf, 1.0, 1.0)):
        with pytest.raises(InputError, match=r"spacing_mm must be 3 positive numbers \(mm\), one an axis, got"):
            measure(mask, mask, spacing_mm)
