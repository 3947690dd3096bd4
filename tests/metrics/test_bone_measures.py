"""All bones at once: the numbers of each bone's own masks, however the maps lie in memory."""

import math

import numpy as np
import pytest
from custom_components.errors import InputError
from custom_components.metrics.bone_scores import STATUSES, check_classes, measure_bones
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial.distance import cdist
from support.label_maps import NUM_CLASSES, all_maps, painted, stored_anyhow

HOW = {"num_classes": NUM_CLASSES, "spacing_mm": (1.0, 1.0, 1.0), "border": "inside"}


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


ONE_VOXEL = np.pad(np.ones((1, 1, 1), np.uint8), 1)


@given(maps=cases(), spacing_mm=st.tuples(*[st.floats(0.1, 10.0)] * 3), border=st.sampled_from(["inside", "surface"]))
@example(maps=[ONE_VOXEL, 2 * ONE_VOXEL, ONE_VOXEL], spacing_mm=(0.5, 1.0, 3.0), border="inside")
@example(maps=[np.ones_like(ONE_VOXEL), 0 * ONE_VOXEL, ONE_VOXEL], spacing_mm=(0.5, 1.0, 3.0), border="inside")
@settings(max_examples=150, deadline=None)
def test_agrees_with_each_bone_by_itself(maps, spacing_mm, border):
    *predictions, reference = maps
    found = measure_bones(predictions, reference, num_classes=NUM_CLASSES, spacing_mm=spacing_mm, border=border)
    assert len(found) == len(predictions)
    for bones, prediction in zip(found, predictions, strict=True):
        expected = measures_by_masks(prediction, reference, spacing_mm, border)
        for bone, (*numbers, status) in zip(bones, expected, strict=True):
            assert bone[:3] == pytest.approx(numbers, rel=1e-9, abs=1e-9, nan_ok=True)
            assert bone.status == status


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64, np.float32])
def test_every_type_gives_the_same(dtype):
    reference = np.random.default_rng(0).integers(0, NUM_CLASSES, (5, 6, 7))
    prediction = np.roll(reference, 1, axis=0)
    expected = measure_bones([prediction], reference, **HOW)
    assert measure_bones([prediction.astype(dtype)], reference.astype(dtype), **HOW) == expected


def test_more_than_256_classes():
    reference = np.zeros((4, 4, 4), int)
    reference[1:3] = 300
    (bones,) = measure_bones([reference], reference, **HOW | {"num_classes": 301})
    assert bones[299] == (1.0, 0.0, 0.0, "ok")
    assert {bone.status for bone in bones[:299]} == {"absent"}


def test_errors_name_the_remedy():
    reference = np.ones((2, 3, 4), np.uint8)
    with pytest.raises(InputError, match=r"prediction must have the shape of the reference \(2, 3, 4\), got \(2, 3\)"):
        measure_bones([reference[..., 0]], reference, **HOW)
    with pytest.raises(InputError, match=r"spacing_mm must be 3 positive numbers \(mm\), one an axis, got \[1\.0\]"):
        measure_bones([reference], reference, **HOW | {"spacing_mm": [1.0]})
    with pytest.raises(InputError, match="border must be one of inside, surface, got 'edge'"):
        measure_bones([reference], reference, **HOW | {"border": "edge"})
    with pytest.raises(InputError, match=r"map must hold class indices 0\.\.2, got 2\.5; encode its label values"):
        check_classes("map", np.array([0, 2.5]), 3)
