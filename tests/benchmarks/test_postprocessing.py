"""The peers of the post-processing and score benchmarks are right: small maps, every rule."""

import numpy as np
import pytest
from custom_components.label_maps import find_bones
from hypothesis import given, settings
from support.label_maps import all_maps, sparse_maps

from multijoint.benchmarks import noisy_knee, postprocessing, surface_metrics


@pytest.fixture(scope="module")
def maps():
    return noisy_knee.make_noisy_knee()


def test_the_bones_are_cut_and_touch_and_have_islands(maps):
    reference, prediction = maps
    for labels in maps:
        assert (labels.shape, labels.dtype) == (noisy_knee.SHAPE, np.uint8)
    boxes = {bone.index: bone.box for bone in find_bones(reference, num_classes=noisy_knee.NUM_CLASSES)}
    assert boxes[1][2].stop == noisy_knee.SHAPE[2], "the femur leaves the scan"
    assert boxes[1][2].start < boxes[2][2].stop, "the tibia is close"
    for bone in find_bones(prediction, num_classes=noisy_knee.NUM_CLASSES):
        assert all(side.stop - side.start > 0.9 * size for side, size in zip(bone.box, noisy_knee.SHAPE, strict=True))


@given(labels=all_maps | sparse_maps)
@settings(max_examples=60)
def test_scikit_images_post_processing_is_ours(labels):
    expected = postprocessing.clean(labels)
    for cropped in (False, True):
        np.testing.assert_array_equal(postprocessing._by_skimage(labels, cropped=cropped), expected)


def test_the_peer_with_cc3d_gives_our_voxels(maps):
    prediction = np.ascontiguousarray(maps[1][60:200:3, 10:180:3, ::3])
    expected = postprocessing.clean(prediction)
    assert not np.array_equal(expected, prediction)
    found = postprocessing._by_skimage(prediction, cropped=True, largest=postprocessing._largest_by_cc3d)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")
def test_monais_scores_and_the_definitions_are_ours(maps):
    reference, prediction = (np.ascontiguousarray(labels[60:200:4, 10:180:4, ::4]) for labels in maps)
    predictions = [prediction, postprocessing.clean(prediction)]
    labels = [*predictions, reference]
    masks = [[each == index for index in range(1, noisy_knee.NUM_CLASSES)] for each in labels]
    np.testing.assert_allclose(
        surface_metrics._ours(predictions, reference), surface_metrics._by_definition(masks), atol=1e-9
    )
    edt = surface_metrics._by_edt(masks)
    np.testing.assert_allclose(surface_metrics._ours(predictions, reference), edt, rtol=1e-5)
    monai = surface_metrics._by_monai([surface_metrics._one_hot(each) for each in labels])
    np.testing.assert_allclose(surface_metrics._ours(predictions, reference, border="surface"), monai, rtol=1e-5)
