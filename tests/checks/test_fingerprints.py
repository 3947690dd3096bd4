"""The fast ways to the smallest numbers and to counts of values give what sorting everything gives."""

import numpy as np
import pytest

from multijoint.checks.fingerprints import _bits, _scramble, _smallest, fingerprint
from multijoint.checks.measures import count_values


@pytest.mark.parametrize("most", [100, 600, 10**9])
@pytest.mark.parametrize("number", [0, 10, 2048, 2049, 50_000])
def test_the_smallest_numbers_are_those_of_sorting_all(number: int, most: int) -> None:
    numbers = np.random.default_rng(number).integers(0, most, number).astype(np.uint64)
    np.testing.assert_array_equal(_smallest(numbers)[:512], np.unique(numbers)[:512])


def test_peaks_are_those_that_a_search_voxel_by_voxel_finds() -> None:
    voxels = np.random.default_rng(0).integers(0, 99, (12, 11, 10)).astype(np.int16)[::-1].transpose(2, 0, 1)
    found = []
    for place in np.ndindex(*(size - 4 for size in voxels.shape)):
        at = np.add(place, 2)
        steps = np.eye(3, dtype=int)
        near = [int(voxels[tuple(at + side * step)]) for step in steps for side in (-1, 1)]
        if int(voxels[tuple(at)]) <= max(near):
            continue
        number = _scramble(_bits(voxels[tuple(at)][None]))
        for step in steps:
            own = np.zeros(1, np.uint64)
            for distance in (1, 2):
                one, two = (voxels[tuple(at + side * distance * step)][None].astype(float) for side in (-1, 1))
                own = _scramble(own ^ _scramble(_bits(one + two)) + _bits(np.abs(one - two)))
            number = number + own
        found.append(_scramble(number)[0])
    assert len(found) > 20
    np.testing.assert_array_equal(fingerprint(voxels), np.unique(found)[:512])


@pytest.mark.parametrize("values", [[0, 3, 3, 255], [-2, 0, 300], [256, 256], [7]])
def test_counts_are_those_of_sorting(values: list[int]) -> None:
    found = count_values(np.array(values))
    assert found == list(zip(*(each.tolist() for each in np.unique(values, return_counts=True)), strict=True))
