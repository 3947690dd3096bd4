"""Names in order: rows of blocks on a grid, whose right names are known."""

import itertools

import numpy as np
import pytest
from custom_components.errors import InputError
from custom_components.postprocessing.rows import find_row, name_in_order
from hypothesis import given
from hypothesis import strategies as st

NAMES = 5


def column(*bones: list[int], gap: int = 4) -> np.ndarray:
    """Blocks of 8 x 8 x 8 mm one above the other; each list names the layers of a block from its top."""
    layers = []
    for bone in bones:
        thick = 8 // len(bone)
        layers += [np.pad(np.full((thick, 8, 8), name, np.uint8), ((0, 0), (4, 4), (4, 4))) for name in bone]
        layers.append(np.zeros((gap, 16, 16), np.uint8))
    return np.concatenate([layers[-1], *layers])


def named(volume: np.ndarray, row: tuple[int, ...] = (1, 2, 3, 4, 5)) -> list[int]:
    """Name of each block from the top, after the volume was put in order; each must have one."""
    result = name_in_order(volume, num_classes=NAMES + 1, row=row, spacing_mm=(1.0, 1.0, 1.0))
    assert result.dtype == volume.dtype
    profile = result[:, 8, 8]
    assert np.array_equal((result > 0) & (volume == 0), np.zeros(volume.shape, bool))
    solid = volume[:, 8, 8] > 0
    runs = [
        profile[list(group)] for inside, group in itertools.groupby(range(len(solid)), lambda k: solid[k]) if inside
    ]
    assert all(len(set(run.tolist())) == 1 for run in runs)
    return [int(run[0]) for run in runs]


def test_right_names_stay() -> None:
    volume = column([1], [2], [3], [4], [5])
    assert np.array_equal(name_in_order(volume, num_classes=6, row=[1, 2, 3, 4, 5], spacing_mm=(1, 1, 1)), volume)


@pytest.mark.parametrize(
    ("votes", "expected"),
    [
        ([[1], [2], [3, 3, 3, 4], [4], [5]], [1, 2, 3, 4, 5]),
        ([[1], [2, 2, 2, 1], [2, 2, 3, 3], [4], [5]], [1, 2, 3, 4, 5]),
        ([[1], [3], [3], [4], [5]], [1, 2, 3, 4, 5]),
        ([[1], [1], [2], [3], [4], [5]], [0, 1, 2, 3, 4, 5]),
        ([[2], [3], [3, 4], [5]], [2, 3, 4, 5]),
        ([[1], [2], [3], [4], [5], [5, 5, 5, 4]], [1, 2, 3, 4, 5, 0]),
        ([[1], [2], [2], [3], [4], [5]], [0, 1, 2, 3, 4, 5]),  # T12 taken for L1, and L1 for L2
    ],
)
def test_one_name_a_component_in_order_and_ends_that_fit_none_are_dropped(
    votes: list[list[int]], expected: list[int]
) -> None:
    assert named(column(*votes)) == expected
    assert named(column(*votes)[::-1].copy()) == expected[::-1], "from foot to head"
    backwards = column(*[[NAMES + 1 - name for name in bone] for bone in votes])
    assert named(backwards, row=(5, 4, 3, 2, 1)) == [NAMES + 1 - name if name else 0 for name in expected]


def test_a_missed_bone_leaves_a_gap_in_the_names() -> None:
    volume = column([1], [2], [3], [4], [5])
    volume[volume == 3] = 0
    assert named(volume) == [1, 2, 4, 5]
    volume[volume == 4] = 5
    assert named(volume) == [1, 2, 4, 5], "by its distance"


def test_bones_that_touch_are_cut_at_the_neck_or_by_their_names() -> None:
    volume = column([1], [2], [3], [4], [5])
    neck = np.argwhere(volume[:, 8, 8] == 2).max() + 1
    volume[neck : neck + 4, 7:9, 7:9] = 2
    result = name_in_order(volume, num_classes=6, row=[1, 2, 3, 4, 5], spacing_mm=(1, 1, 1))
    assert result[neck, 8, 8] == 2
    assert result[neck + 4 :][volume[neck + 4 :] == 3].min() == 3
    fused = column([1], [2, 3], [4], [5])
    thick = np.repeat(fused, np.where((fused[:, 8, 8] == 2) | (fused[:, 8, 8] == 3), 2, 1), axis=0)  # as two bones
    assert np.array_equal(name_in_order(thick, num_classes=6, row=[1, 2, 3, 4, 5], spacing_mm=(1, 1, 1)), thick)


@pytest.mark.parametrize("together", [3, 4, 5, 6])
def test_bones_that_hang_together_do_not_all_get_one_name(together: int) -> None:
    """In coarse slices the gaps between bones vanish, of most bones or of all."""
    merged = column(*[[name] for name in range(1, together + 1)], gap=0)
    alone = column(*[[name] for name in range(together + 1, 8)], gap=2)
    volume = np.concatenate([merged, alone])
    assert np.array_equal(name_in_order(volume, num_classes=8, row=range(1, 8), spacing_mm=(1, 1, 1)), volume)


def test_other_bones_and_maps_without_a_row_stay() -> None:
    volume = column([1], [4], [3])
    kept = name_in_order(volume, num_classes=6, row=[1, 2, 3], spacing_mm=(1, 1, 1))
    assert np.array_equal(kept == 4, volume == 4)
    for empty in (np.zeros((3, 3, 3), np.uint8), column([2])):
        assert np.array_equal(name_in_order(empty, num_classes=6, row=[1, 2, 3], spacing_mm=(1, 1, 1)), empty)


@given(st.lists(st.lists(st.integers(1, NAMES), min_size=1, max_size=4), min_size=2, max_size=7))
def test_names_rise_whatever_the_votes(votes: list[list[int]]) -> None:
    kept = [name for name in named_freely(column(*votes)) if name]
    assert kept in (sorted(set(kept)), sorted(set(kept), reverse=True))
    assert kept


def named_freely(volume: np.ndarray) -> list[int]:
    result = name_in_order(volume, num_classes=NAMES + 1, row=range(1, NAMES + 1), spacing_mm=(1, 1, 1))
    again = name_in_order(result, num_classes=NAMES + 1, row=range(1, NAMES + 1), spacing_mm=(1, 1, 1))
    assert np.array_equal(result, again), "what is in order stays"
    return [name for name, _ in itertools.groupby(result[:, 8, 8].tolist()) if name]


def test_rows_are_found_by_the_names_of_vertebrae() -> None:
    assert find_row(["T11", "T12", "L1", "L2", "L3", "L4", "L5"]) == [1, 2, 3, 4, 5, 6, 7]
    assert find_row(["vertebra L3", "vertebra_l2", "background fat", "vertebra-L1", "sacrum"]) == [4, 2, 1]
    assert find_row(["C6", "C7", "T1"]) == [1, 2, 3]
    assert find_row(["T12", "T13", "L1"]) == [1, 2, 3]
    assert find_row(["L1", "L2"]) == find_row(["T10", "L1", "L2"]) == find_row(["L1 left", "L2 left", "L3 left"]) == []


def test_bad_rows_are_refused() -> None:
    with pytest.raises(InputError, match=r"row must be different classes from 1 to 5, got \[1, 6\]"):
        name_in_order(column([1]), num_classes=6, row=[1, 6], spacing_mm=(1, 1, 1))
