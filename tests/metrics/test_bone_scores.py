"""Scores of one case: by hand, against MONAI's Dice, and what becomes of missing and invented bones."""

import math

import numpy as np
import pytest
import torch
from custom_components.domains import Domain
from custom_components.errors import InputError
from custom_components.metrics.bone_scores import (
    STATUSES,
    BoneScore,
    dice_as_one,
    dice_coefficient,
    score_case,
    score_predictions,
    slice_dice,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from monai.metrics import compute_dice
from scipy import ndimage
from scipy.spatial.distance import cdist
from support.label_maps import NUM_CLASSES, all_maps, painted, stored_anyhow

FOOT = Domain("foot", {7: "talus", 3: "calcaneus", 9: "tibia", 4: "fibula"}, "sagittal")
SPACING_MM = (0.5, 0.7, 3.0)

shapes = array_shapes(min_dims=3, max_dims=3, max_side=6)
mask_pairs = shapes.flatmap(lambda shape: st.tuples(arrays(bool, shape), arrays(bool, shape)))


def foot() -> tuple[np.ndarray, np.ndarray]:
    """Talus found, calcaneus missed, tibia invented, fibula in neither."""
    prediction, reference = np.zeros((6, 6, 6), np.uint8), np.zeros((6, 6, 6), np.uint8)
    reference[1:3, 1:3, 1:5] = 1
    prediction[1:3, 1:3, 1:3] = 1
    reference[4, 4, 4] = 2
    prediction[5, 5, 5] = 3
    return prediction, reference


def test_score_case_by_hand():
    talus, calcaneus, tibia, fibula = score_case(*foot(), domain=FOOT, spacing_mm=(1.0, 1.0, 2.0))
    # 8 of 16 voxels: 2 * 8 / 24. Every voxel is surface; the far two columns lie 2 and 4 mm from the prediction.
    assert talus == BoneScore("talus", 7, 2 / 3, pytest.approx((4 * 2.0 + 4 * 4.0) / 24), 4.0, "ok")
    for score, label, value, status in (
        (calcaneus, "calcaneus", 3, "missed"),
        (tibia, "tibia", 9, "false_find"),
        (fibula, "fibula", 4, "absent"),
    ):
        assert (score.label, score.value, score.status) == (label, value, status)
        assert math.isnan(score.assd_mm)
        assert math.isnan(score.mssd_mm)
    assert calcaneus.dice == tibia.dice == 0.0
    assert math.isnan(fibula.dice)


BONES = Domain("bones", {index: f"bone {index}" for index in range(1, NUM_CLASSES)}, "axial")
ONE_VOXEL = np.pad(np.ones((1, 1, 1), np.uint8), 1)


def measures_by_masks(prediction, reference, spacing_mm, border):
    """Each bone by itself, on the whole array, from all pairs of surface voxels."""
    measures = []
    for index in range(1, NUM_CLASSES):
        masks = prediction == index, reference == index
        total = masks[0].sum() + masks[1].sum()
        dice = 2 * (masks[0] & masks[1]).sum() / total if total else math.nan
        value = int(border == "inside")
        points = [np.argwhere(mask & ~ndimage.binary_erosion(mask, border_value=value)) * spacing_mm for mask in masks]
        distances = math.nan, math.nan
        if all(map(len, points)):
            pairs = cdist(*points)
            nearest = np.concatenate([pairs.min(axis=1), pairs.min(axis=0)])
            distances = nearest.mean(), nearest.max()
        measures.append((dice, *distances, STATUSES[bool(masks[0].any()), bool(masks[1].any())]))
    return measures


@st.composite
def cases(draw):
    """A reference and two predictions that differ from it by a few boxes, stored anyhow."""
    reference = draw(all_maps)
    predictions = [draw(painted(reference)) for _ in range(2)]
    return [draw(stored_anyhow(each)) for each in (*predictions, reference)]


@given(maps=cases(), spacing_mm=st.tuples(*[st.floats(0.1, 10.0)] * 3), border=st.sampled_from(["inside", "surface"]))
@example(maps=[ONE_VOXEL, 2 * ONE_VOXEL, ONE_VOXEL], spacing_mm=(0.5, 1.0, 3.0), border="inside")
@example(maps=[np.ones_like(ONE_VOXEL), 0 * ONE_VOXEL, ONE_VOXEL], spacing_mm=(0.5, 1.0, 3.0), border="inside")
@settings(max_examples=150)
def test_agrees_with_each_bone_by_itself(maps, spacing_mm, border):
    *predictions, reference = maps
    found = score_predictions(predictions, reference, domain=BONES, spacing_mm=spacing_mm, border=border)
    assert len(found) == len(predictions)
    for bones, prediction in zip(found, predictions, strict=True):
        expected = measures_by_masks(prediction, reference, spacing_mm, border)
        for bone, (*numbers, status) in zip(bones, expected, strict=True):
            measured = bone.dice, bone.assd_mm, bone.mssd_mm
            assert measured == pytest.approx(numbers, rel=1e-9, abs=1e-9, nan_ok=True)
            assert bone.status == status


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64, np.float32])
def test_every_type_gives_the_same(dtype):
    reference = np.random.default_rng(0).integers(0, NUM_CLASSES, (5, 6, 7))
    prediction = np.roll(reference, 1, axis=0)
    how = {"domain": BONES, "spacing_mm": SPACING_MM}
    assert score_case(prediction.astype(dtype), reference.astype(dtype), **how) == score_case(
        prediction, reference, **how
    )


def test_several_predictions_are_scored_as_one_by_one():
    prediction, reference = foot()
    predictions = [prediction, reference, np.zeros_like(reference)]
    how = {"domain": FOOT, "spacing_mm": SPACING_MM, "border": "surface"}
    scores = score_predictions(predictions, reference, **how)
    assert len(scores) == len(predictions)
    for several, each in zip(scores, predictions, strict=True):
        # As text: NaN differs from itself.
        assert list(map(repr, several)) == list(map(repr, score_case(each, reference, **how)))
    assert score_predictions([], reference, **how) == []


def test_a_bone_that_fills_the_array_is_found_but_has_no_distances():
    full = np.ones((3, 3, 3), int)
    domain = Domain("knee", {1: "femur"}, "axial")
    (score,) = score_case(full, full, domain=domain, spacing_mm=SPACING_MM)
    assert (score.status, score.dice, math.isnan(score.assd_mm)) == ("ok", 1.0, True)
    (score,) = score_case(full, full, domain=domain, spacing_mm=SPACING_MM, border="surface")
    assert (score.assd_mm, score.mssd_mm) == (0.0, 0.0)


@given(pair=mask_pairs)
@settings(max_examples=60)
def test_dice_agrees_with_monai_and_is_symmetric(pair):
    prediction, reference = pair
    dice = dice_coefficient(prediction, reference)
    assert dice == pytest.approx(dice_coefficient(reference, prediction), nan_ok=True)
    batch = [torch.as_tensor(mask)[None, None].float() for mask in pair]
    monai = compute_dice(*batch, include_background=True, ignore_empty=True).item()
    if reference.any():
        assert dice == pytest.approx(monai, rel=1e-6)
    elif prediction.any():
        # MONAI leaves a false find out; here it counts as 0.
        assert dice == 0.0
        assert math.isnan(monai)
    else:
        assert math.isnan(dice)


def test_slice_dice_by_hand():
    prediction, reference = np.zeros((2, 2, 4), bool), np.zeros((2, 2, 4), bool)
    prediction[:, :, 0] = reference[:, 0, 0] = True  # 4 voxels over 2
    reference[0, 0, 1] = True  # missed
    prediction[0, 0, 2] = True  # invented
    result = slice_dice(prediction, reference, slice_axis=2)
    np.testing.assert_array_equal(result.dice, [2 * 2 / 6, 0.0, 0.0, math.nan])
    assert result.prediction_area.tolist() == [4, 0, 1, 0]
    assert result.reference_area.tolist() == [2, 1, 0, 0]


@given(pair=mask_pairs, slice_axis=st.integers(0, 2))
@settings(max_examples=60)
def test_slice_dice_is_the_dice_of_each_slice(pair, slice_axis):
    prediction, reference = pair
    result = slice_dice(prediction, reference, slice_axis=slice_axis)
    planes = [np.moveaxis(mask, slice_axis, 0) for mask in pair]
    assert len(result.dice) == prediction.shape[slice_axis]
    np.testing.assert_array_equal(result.dice, [dice_coefficient(*plane) for plane in zip(*planes, strict=True)])
    np.testing.assert_array_equal(result.prediction_area, [plane.sum() for plane in planes[0]])
    np.testing.assert_array_equal(result.reference_area, [plane.sum() for plane in planes[1]])
    # The Dice of the volume is the mean of the slices', weighted by their areas.
    weights = result.prediction_area + result.reference_area
    if weights.sum():
        weighted = np.nansum(result.dice * weights) / weights.sum()
        assert weighted == pytest.approx(dice_coefficient(prediction, reference))


def test_a_bone_is_taken_for_the_other_that_covers_most_of_it():
    """Found apart from named: the right voxels under wrong names are level errors, and perfect as one."""
    reference = np.zeros((4, 4, 4), np.uint8)
    for index in range(1, 5):
        reference[index - 1] = index  # 16 voxels of each bone
    prediction = reference.copy()
    prediction[0] = 2  # the talus named calcaneus
    prediction[1, :2] = 3  # half of the calcaneus named tibia, a tie
    prediction[2] = 0  # three voxels of the tibia named fibula, the others missed
    prediction[2, 0, :3] = 4
    scores = score_case(prediction, reference, domain=FOOT, spacing_mm=SPACING_MM)
    assert [score.taken_for for score in scores] == ["calcaneus", "", "fibula", ""]
    assert [score.status for score in scores] == ["missed", "ok", "ok", "ok"]  # some tibia was found, elsewhere
    assert dice_as_one(prediction, reference) == pytest.approx(2 * 51 / (51 + 64))
    # A predicted bone where there is none, or background on a bone, is no level error.
    lost = score_case(
        np.where(reference == 1, 0, 1), np.where(reference == 1, 1, 0), domain=FOOT, spacing_mm=SPACING_MM
    )
    assert [score.taken_for for score in lost] == [""] * 4


@given(maps=st.tuples(all_maps, st.integers(0, 3)))
@settings(max_examples=40)
def test_what_a_bone_is_taken_for_is_what_counting_says(maps):
    reference, shift = maps
    prediction = np.roll(reference, shift)
    for index, score in enumerate(score_case(prediction, reference, domain=BONES, spacing_mm=SPACING_MM), start=1):
        counts = [int(((prediction == other) & (reference == index)).sum()) for other in range(1, NUM_CLASSES)]
        largest = max(counts)
        wrong = largest > counts[index - 1]
        assert score.taken_for == (f"bone {counts.index(largest) + 1}" if wrong else "")


def test_all_bones_as_one_by_hand():
    assert dice_as_one(np.array([1, 2, 0, 0]), np.array([2, 1, 0, 0])) == 1.0
    assert dice_as_one(np.array([1, 0]), np.array([0, 0])) == 0.0
    assert math.isnan(dice_as_one(np.zeros(2, int), np.zeros(2, int)))
    with pytest.raises(InputError, match="prediction must have the shape of the reference"):
        dice_as_one(np.zeros(2, int), np.zeros(3, int))


def test_errors_name_the_remedy():
    prediction, reference = foot()
    mask = reference == 1

    def score(prediction, reference, **changes):
        return score_case(prediction, reference, **{"domain": FOOT, "spacing_mm": SPACING_MM} | changes)

    with pytest.raises(InputError, match=r"prediction must hold class indices 0\.\.4, got 5; encode its label values"):
        score(prediction + 5, reference)
    with pytest.raises(InputError, match=r"reference must hold class indices 0\.\.4, got -1"):
        score(prediction, reference.astype(int) - 1)
    with pytest.raises(InputError, match=r"reference must hold class indices 0\.\.4, got 0\.5"):
        score(prediction, np.where(mask, 0.5, 0))
    with pytest.raises(InputError, match=r"prediction must hold class indices 0\.\.4, got nan"):
        score(np.where(mask, np.nan, 0), reference)
    with pytest.raises(
        InputError, match=r"prediction must have the shape of the reference \(6, 6, 6\), got \(6, 6, 5\)"
    ):
        score(prediction[..., 1:], reference)
    with pytest.raises(InputError, match="spacing_mm must be 3 positive numbers"):
        score(prediction, reference, spacing_mm=(1.0, 1.0))
    with pytest.raises(InputError, match="border must be one of inside, surface, got 'padded'"):
        score(prediction, reference, border="padded")
    with pytest.raises(InputError, match="prediction must be a boolean array, got uint8"):
        dice_coefficient(prediction, mask)
    for axis in (3, -1):
        with pytest.raises(InputError, match=rf"slice_axis must be one of \[0, 1, 2\], got {axis}"):
            slice_dice(mask, mask, slice_axis=axis)
