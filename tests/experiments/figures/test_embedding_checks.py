from typing import Any

import numpy as np
import pytest
from custom_components.errors import InputError
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from multijoint.experiments.figures.embedding_checks import EmbeddingChecks, check_embeddings, choose_slices

DOMAIN = np.array([0] * 20 + [1] * 20)
TRAINING = np.tile([True, True, True, False], 10)


def check(by_norm: np.ndarray, convolution: np.ndarray | None = None, **changes: Any) -> EmbeddingChecks:
    given = {"domain": DOMAIN, "training": TRAINING} | changes
    return check_embeddings(by_norm, by_norm if convolution is None else convolution, **given)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape)


def silhouette_by_hand(vectors: np.ndarray, labels: np.ndarray) -> float:
    distances = cdist(vectors, vectors, "cosine")
    values = []
    for index, label in enumerate(labels):
        means = {other: distances[index, labels == other] for other in np.unique(labels)}
        within = means.pop(label).sum() / (np.sum(labels == label) - 1)
        nearest = min(distance.mean() for distance in means.values())
        values.append((nearest - within) / max(nearest, within))
    return float(np.mean(values))


def test_norms_that_change_nothing_keep_every_image_in_place() -> None:
    images = noise(40, 1, 6)
    checks = check(np.repeat(images, 2, axis=1))
    assert checks.norm_cosine_same_image == pytest.approx(1)
    assert checks.silhouette_shuffled_true == pytest.approx(checks.silhouette)
    assert checks.silhouette == pytest.approx(silhouette_by_hand(images[:, 0], DOMAIN))
    assert checks.probe_own_norm == checks.probe_one_norm


def test_clusters_that_the_norms_make_are_exposed() -> None:
    # Every image lands on the axis of the norm it passes, whatever it shows: perfect clusters, and no information.
    by_norm = np.tile(np.eye(2)[None], (40, 1, 1))
    checks = check(by_norm, np.zeros((40, 2, 3)))
    assert checks.norm_cosine_same_image == pytest.approx(0)
    assert checks.norm_cosine_other_image == pytest.approx(1)
    assert checks.silhouette == pytest.approx(1)
    assert checks.silhouette_shuffled == pytest.approx(1)
    assert abs(checks.silhouette_shuffled_true) < 0.2
    assert checks.probe_one_norm == 0.5  # constant features: chance


def test_clusters_that_the_images_make_survive_the_controls() -> None:
    images = np.eye(2)[DOMAIN] + 0.05 * noise(40, 2)
    checks = check(np.repeat(images[:, None], 2, axis=1))
    assert checks.silhouette > 0.9
    assert checks.silhouette_shuffled < 0.1
    assert checks.silhouette_shuffled_true > 0.9
    assert (checks.probe_own_norm, checks.probe_one_norm) == (1, 1)


def test_probe_tells_the_norms_from_the_images() -> None:
    # The earlier norms write the domain into the features, the image does not.
    convolution = np.tile(np.array([[0.0], [1.0]])[None], (40, 1, 1))
    checks = check(noise(40, 2, 3), convolution)
    assert (checks.probe_own_norm, checks.probe_one_norm) == (1, 0.5)


def test_cosines_worked_by_hand() -> None:
    by_norm = np.array(
        [
            [[1, 0], [0, 1]],  # own norm first: cosine 0 to the other
            [[1, 1], [2, 2]],  # 1
            [[1, 1], [0, 1]],  # own norm second: 0.7071
        ],
        float,
    )
    checks = check(by_norm, domain=np.array([0, 0, 1]), training=np.array([True, True, True]))
    assert checks.norm_cosine_same_image == pytest.approx((0 + 1 + 0.5**0.5) / 3)
    assert checks.norm_cosine_other_image == pytest.approx(0.5**0.5)  # the third has no other of its data set


def test_three_domains_agree_with_a_direct_computation() -> None:
    by_norm = noise(30, 3, 5)
    domain = np.arange(30) % 3
    checks = check(by_norm, domain=domain, training=np.arange(30) < 20)
    same, other = [], []
    for index, own in enumerate(domain):
        cosines = 1 - cdist(by_norm[index], by_norm[index], "cosine")
        same += [cosines[own, norm] for norm in range(3) if norm != own]
        mates = [mate for mate in range(30) if domain[mate] == own and mate != index]
        other.append((1 - cdist(by_norm[index, own][None], by_norm[mates, own], "cosine")).mean())
    assert checks.norm_cosine_same_image == pytest.approx(np.mean(same))
    assert checks.norm_cosine_other_image == pytest.approx(np.mean(other))
    dealt = np.random.default_rng(0).permutation(domain)
    shuffled = by_norm[np.arange(30), dealt]
    assert checks.silhouette_shuffled == pytest.approx(silhouette_by_hand(shuffled, dealt))
    assert checks.silhouette_shuffled_true == pytest.approx(silhouette_by_hand(shuffled, domain))


@pytest.mark.parametrize(
    ("changes", "undefined"),
    [
        ({"training": np.full(40, True)}, {"probe_own_norm", "probe_one_norm"}),
        ({"training": np.full(40, False)}, {"probe_own_norm", "probe_one_norm"}),
        ({"training": DOMAIN == 0}, {"probe_own_norm", "probe_one_norm"}),
        (
            {"domain": np.zeros(40, int)},
            {"silhouette", "silhouette_shuffled", "silhouette_shuffled_true", "probe_own_norm", "probe_one_norm"},
        ),
    ],
)
def test_what_cannot_be_computed_is_nan(changes: dict[str, Any], undefined: set[str]) -> None:
    checks = vars(check(noise(40, 2, 4), **changes))
    assert {name for name, value in checks.items() if np.isnan(value)} == undefined


def test_no_slices_at_all_give_nan() -> None:
    checks = check(np.zeros((0, 2, 4)), domain=np.zeros(0, int), training=np.zeros(0, bool))
    assert all(np.isnan(value) for value in vars(checks).values())


def test_same_input_gives_same_numbers_also_when_sampled() -> None:
    domain = np.arange(3200) % 2
    by_norm = noise(3200, 2, 3)
    first, second = (check(by_norm, domain=domain, training=domain == domain) for _ in range(2))
    np.testing.assert_equal(vars(first), vars(second))
    chosen = choose_slices(3200)
    assert len(np.unique(chosen)) == 3000
    assert (np.diff(chosen) > 0).all()


@settings(max_examples=10)
@given(st.floats(0.1, 100))
def test_length_of_an_embedding_does_not_matter(scale: float) -> None:
    by_norm = noise(40, 2, 4)
    by_norm_scaled = by_norm * np.where(np.arange(40) % 3 == 0, scale, 1)[:, None, None]
    np.testing.assert_allclose(list(vars(check(by_norm_scaled, by_norm)).values()), list(vars(check(by_norm)).values()))


def test_slices_that_do_not_match_are_refused() -> None:
    with pytest.raises(InputError, match=r"one row a slice everywhere, got \[39, 40\]"):
        check(noise(40, 2, 4), domain=DOMAIN[1:])
    with pytest.raises(InputError, match=r"domain of a slice must be 0\.\.1, got 2"):
        check(noise(40, 2, 4), domain=DOMAIN + 1)
