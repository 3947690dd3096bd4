"""How costs grow: the fitted law, the synthetic scans, and the benchmark from end to end, small."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from custom_components.networks.unet import MultiDomainUNet
from hypothesis import given, settings
from hypothesis import strategies as st

from multijoint.benchmarks.fixtures import Workplace
from multijoint.benchmarks.scaling import growth, scaling, workloads
from multijoint.benchmarks.scaling.growth import Curve, fit_growth
from multijoint.benchmarks.scaling.synthetic_scans import add_islands, make_labels
from multijoint.cli import main

SIZES = np.array([10, 32, 100, 316, 1000])
TINY = {"volumes": (3, 4, 5), "domains": (2, 3, 4), "slices": (5, 6, 7), "bones": (2, 5, 30)}


@settings(max_examples=30)
@given(constant=st.floats(0, 1), last=st.floats(10, 100), exponent=st.floats(0.5, 1) | st.floats(1.25, 2.5))
def test_the_exponent_is_found_beside_a_constant(constant: float, last: float, exponent: float) -> None:
    found = fit_growth(SIZES, constant + last * (SIZES / 1000) ** exponent)
    assert found.exponent == pytest.approx(exponent, abs=0.02)
    assert found.at(1000) == pytest.approx(constant + last, rel=0.05)


@settings(max_examples=30)
@given(st.lists(st.floats(-0.02, 0.02), min_size=5, max_size=5), st.floats(0, 0.1))
def test_noise_makes_no_steep_growth(noise: list[float], slope: float) -> None:
    assert fit_growth(SIZES, (5 + slope * SIZES) * (1 + np.array(noise))).exponent <= 1.1


def test_a_cost_that_does_not_grow_is_constant() -> None:
    assert fit_growth([1, 2, 3], [2.0, 2.1, 2.0]).exponent == 0
    assert fit_growth([1, 2, 3], [2.0, 2.1, 2.0]).at(7) == pytest.approx(2.03, abs=0.01)
    assert fit_growth([1, 10, 100], [5.0, 3.0, 2.0]).exponent == 0


@pytest.mark.parametrize(
    ("sizes", "costs"), [([1, 2], [1, 2]), ([1, 2, 2], [1, 2, 3]), ([1, 2, 3], [0, 1, 2]), ([1, 2, 3], [1, 2])]
)
def test_too_little_to_fit_is_refused(sizes: list[int], costs: list[float]) -> None:
    with pytest.raises(ValueError, match="3 or more ascending sizes and positive costs"):
        fit_growth(sizes, costs)


def test_growth_that_is_not_linear_misses() -> None:
    def verdicts(values: np.ndarray) -> list[tuple[str, str, float]]:
        curve = Curve("volumes", "segment", "s", 3, tuple(SIZES), tuple(values))
        return [(row.name, row.verdict, row.ours) for row in scaling.rows_of(curve)]

    linear = verdicts(5 + 0.02 * SIZES)
    assert linear == [
        ("scale volumes, segment time: growth", "met", pytest.approx(1.0)),
        ("scale volumes, segment time: one more", "", pytest.approx(0.02)),
    ]
    assert verdicts(5 + 0.02 * SIZES + 2e-5 * SIZES**2)[0][1] == "missed"


def test_curves_are_read_as_written(tmp_path: Path) -> None:
    curves = [Curve("slices", "segment", unit, 3, (1, 2, 5), (0.1, 1 / 3, 2.0)) for unit in ("s", "MiB")]
    growth.write_curves(tmp_path / "scale.csv", curves)
    assert growth.read_curves(tmp_path / "scale.csv") == curves


def test_bones_lie_apart_and_are_alike() -> None:
    few, many = make_labels((36, 30, 8), 3), make_labels((36, 30, 8), 30)
    assert np.bincount(many.ravel())[1:].tolist() == [np.bincount(few.ravel())[1]] * 30
    np.testing.assert_array_equal(few, np.where(many > 3, 0, many))
    assert np.count_nonzero(add_islands(many)) == np.count_nonzero(many) + 30
    with pytest.raises(ValueError, match="num_bones must be at most 30, got 31"):
        make_labels((36, 30, 8), 31)


def test_the_bytes_of_a_step_grow_with_the_weights_of_the_domains() -> None:
    two, four = (workloads.training_step(number)[1]() for number in (2, 4))
    networks = [MultiDomainUNet([3] * number, widths=[8, 16, 32, 64, 128]) for number in (2, 4)]
    few, many = (sum(each.numel() for each in network.parameters()) for network in networks)
    with_moments = 4 * 4 * (many - few)  # float32: weight, gradient, two moments
    assert with_moments < four - two < 2 * with_moments


def _in_this_process(command: Sequence[str]) -> tuple[float, float]:
    assert main(command[command.index("segment") :]) == 0
    return 5.0, 0.5


def test_the_benchmark_prints_rows_and_draws_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaling, "run_measured", _in_this_process)
    monkeypatch.setattr(scaling, "_LARGE", (36, 30))
    monkeypatch.setattr(scaling, "_BONY", (36, 30, 6))
    rows = list(scaling.scale(Workplace(tmp_path), sizes=TINY, repetitions=1))
    assert len({row.name for row in rows}) == len(rows) == 2 * 12
    segmented = [row for row in rows if "segment" in row.name]
    assert {row.ours for row in segmented} == {0.0}
    assert {row.verdict for row in segmented} == {"met", ""}
    assert (tmp_path / "scale.png").read_bytes().startswith(b"\x89PNG")
    curves = growth.read_curves(tmp_path / "scale.csv")
    assert {curve.axis: curve.sizes for curve in curves} == TINY


def test_other_labels_than_the_true_ones_end_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def segment_nothing(command: Sequence[str]) -> tuple[float, float]:
        return 1.0, 1.0

    monkeypatch.setattr(scaling, "run_measured", segment_nothing)
    with pytest.raises(RuntimeError, match=r"0000_seg.nii.gz must hold the labels of the scan, got others"):
        next(scaling.scale(Workplace(tmp_path), sizes=TINY, repetitions=1))


def test_cleaned_labels_must_be_the_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    truth = make_labels((18, 15, 6), 2)
    workloads.clean_and_score(truth)
    monkeypatch.setattr(workloads, "add_islands", lambda labels: np.where(labels == 1, 0, labels))
    with pytest.raises(RuntimeError, match="cleaned labels must be the truth, got 4 others"):
        workloads.clean_and_score(truth)
