"""Distances to the nearest voxel of a class: by hand, and against all pairs, looked up and from trees."""

import numpy as np
import pytest
from custom_components.metrics import nearest_voxels
from custom_components.metrics.nearest_voxels import ClassVoxels
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import cdist

spacings = st.tuples(*[st.floats(0.05, 20.0)] * 3)


@st.composite
def voxel_sets(draw):
    """Up to 30 distinct voxels of up to three classes, close together or far apart."""
    size = draw(st.sampled_from([3, 10, 60]))
    voxels = draw(arrays(np.int64, (draw(st.integers(0, 30)), 3), elements=st.integers(0, size - 1)))
    voxels = np.unique(voxels, axis=0)
    return voxels, draw(arrays(np.uint8, len(voxels), elements=st.integers(1, 3)))


def test_by_hand():
    one = ClassVoxels(np.array([[0, 0, 0], [0, 0, 9], [5, 5, 5]]), np.array([2, 2, 1]), spacing_mm=(1.0, 1.0, 0.5))
    other = ClassVoxels(np.array([[0, 3, 8], [0, 0, 1]]), np.array([2, 2]), spacing_mm=(1.0, 1.0, 0.5))
    (index,) = forth = one.distances_mm(other)
    assert index == 2
    np.testing.assert_allclose(forth[2], [0.5, np.hypot(3, 0.5)])
    np.testing.assert_allclose(other.distances_mm(one)[2], [np.hypot(3, 0.5), 0.5])
    assert one.voxels(1).tolist() == [[5, 5, 5]]


@given(
    sets=st.tuples(voxel_sets(), voxel_sets(), voxel_sets()),
    spacing_mm=spacings,
    num_steps=st.sampled_from([1, 2, 10, nearest_voxels._NUM_STEPS]),
)
@example(  # along one axis a step reaches over a hundred voxels
    sets=tuple((np.array([[0, 0, far]]), np.array([1])) for far in (0, 140, 100)),
    spacing_mm=(5.0, 5.0, 0.001),
    num_steps=nearest_voxels._NUM_STEPS,
)
@settings(max_examples=200)
def test_agrees_with_all_pairs(sets, spacing_mm, num_steps):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nearest_voxels, "_NUM_STEPS", num_steps)
        first, *others = (ClassVoxels(*each, spacing_mm=spacing_mm) for each in sets)
        for number, other in enumerate(others, start=1):  # the second time with the first one's tables
            for one, two, (voxels, classes), (to_voxels, to_classes) in (
                (first, other, sets[0], sets[number]),
                (other, first, sets[number], sets[0]),
            ):
                found = one.distances_mm(two)
                assert sorted(found) == sorted(set(classes) & set(to_classes))
                for index, distances in found.items():
                    pairs = cdist(voxels[classes == index] * spacing_mm, to_voxels[to_classes == index] * spacing_mm)
                    np.testing.assert_allclose(distances, pairs.min(axis=1), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (0.3, 0.3, 5.0), (0.001, 1.0, 1.0), (1e-6, 1e-6, 1e3)])
def test_no_step_is_left_out(spacing_mm):
    """Whatever is not among the steps is at least as far as the last of them."""
    steps, lengths_mm = ClassVoxels(np.zeros((1, 3), int), np.ones(1, int), spacing_mm=spacing_mm)._steps
    assert 0 < len(steps) <= nearest_voxels._NUM_STEPS
    assert (np.diff(lengths_mm) >= 0).all()
    known = set(map(tuple, steps.tolist()))
    assert len(known) == len(steps)
    for step in (*steps, np.zeros(3, int)):
        for axis in range(3):
            for by in (-1, 1):
                near = step + by * np.eye(3, dtype=int)[axis]
                assert tuple(near.tolist()) in known or np.linalg.norm(near * spacing_mm) >= lengths_mm[-1] * (1 - 1e-9)
