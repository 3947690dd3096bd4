"""Labels held against their image: each fault of one case is noticed among clean ones, which are left alone."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from custom_components.data.manifests import Manifest, load_manifest
from scipy import ndimage

from multijoint.checks.checked_case import CheckedCase
from multijoint.checks.cuts import CUT_RULES
from multijoint.checks.duplicates import find_duplicates
from multijoint.checks.examining import examine
from multijoint.checks.findings import find
from multijoint.checks.fingerprints import find_sharing, fingerprint
from multijoint.checks.measures import find_quantum
from multijoint.checks.outlines import measure_outline
from multijoint.checks.placement import EDGES, NUM_SIDES, agreement, layer_means, layer_sums, merge_sides, swap_sides
from multijoint.phantoms import write_phantoms

NUMBER, SPOILT, OTHER = 8, 3, 1
RNG = np.random.default_rng(0)
Pair = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module", params=["knee", "ankle"])
def clean(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Manifest, list[CheckedCase]]:
    [path] = write_phantoms(tmp_path_factory.mktemp("set"), domains=[request.param], num_cases=NUMBER, seed=3, size=64)
    manifest = load_manifest(path)
    return manifest, [examine(case, manifest.domain) for case in manifest.cases]


def read(manifest: Manifest, number: int) -> Pair:
    """Image and labels in RAS order."""
    case = manifest.cases[number]
    assert case.label is not None
    return tuple(np.asarray(nib.as_closest_canonical(nib.load(path)).dataobj) for path in (case.image, case.label))  # type: ignore[return-value]


def moved(labels: np.ndarray, axis: int, number: int) -> np.ndarray:
    return ndimage.shift(labels, [number * (axis == each) for each in range(3)], order=0)


def halved(labels: np.ndarray, axis: int) -> np.ndarray:
    """The upper half of each bone erased."""
    places = np.indices(labels.shape)[axis]
    boxes = ndimage.find_objects(labels)
    for value, box in enumerate(boxes, start=1):
        labels = np.where((labels == value) & (places >= (box[axis].start + box[axis].stop) // 2), 0, labels)
    return labels.astype(np.uint8)


def cropped(pair: Pair) -> Pair:
    image, labels = (each[tuple(slice(size // 10, -(size // 10)) for size in each.shape)] for each in pair)
    return image[::-1], labels[::-1]


FAULTS: dict[str, tuple[Callable[[Pair, Pair], Pair], str]] = {
    **{
        f"moved by {number} along {axis}": (lambda own, _, a=axis, n=number: (own[0], moved(own[1], a, n)), "placement")
        for axis, number in ((0, 5), (0, -10), (1, -5), (1, 10), (1, 20), (2, -5))
    },
    "label of another": (lambda own, other: (own[0], other[1]), "placement"),
    "inverted": (lambda own, _: (own[0].max() - own[0], own[1]), "placement"),
    "noise": (lambda own, _: (RNG.normal(100, 20, own[0].shape).astype(np.float32), own[1]), "placement"),
    "label mirrored": (lambda own, _: (own[0], own[1][:, ::-1]), "placement"),
    "image mirrored": (lambda own, _: (own[0][:, ::-1], own[1]), "placement"),
    "both mirrored": (lambda own, _: (own[0][:, :, ::-1], own[1][:, :, ::-1]), "swapped or arrangement"),
    "halves along x": (lambda own, _: (own[0], halved(own[1], 0)), "cut-bone"),
    "halves along y": (lambda own, _: (own[0], halved(own[1], 1)), "cut-bone"),
    "ten times": (lambda own, _: (10 * own[0], own[1]), "intensity"),
    "cropped and mirrored copy": (lambda _, other: cropped(other), "duplicate"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_noticed(clean: tuple[Manifest, list[CheckedCase]], fault: str, tmp_path: Path) -> None:
    manifest, cases = clean
    make, rule = FAULTS[fault]
    affine = nib.as_closest_canonical(nib.load(manifest.cases[SPOILT].image)).affine
    files = [tmp_path / "image.nii", tmp_path / "label.nii"]
    for path, array in zip(files, make(read(manifest, SPOILT), read(manifest, OTHER)), strict=True):
        nib.save(nib.Nifti1Image(np.ascontiguousarray(array), affine), path)
    case = examine(replace(manifest.cases[SPOILT], image=files[0], label=files[1]), manifest.domain)
    spoilt = [case if number == SPOILT else each for number, each in enumerate(cases)]
    found = [*find(spoilt, manifest.domain), *find_duplicates(spoilt)]
    told = {each.rule for each in found if each.case == case.name and each.level != "note"}
    assert told & set(rule.split(" or "))


def test_nothing_is_said_against_clean_cases(clean: tuple[Manifest, list[CheckedCase]]) -> None:
    manifest, cases = clean
    for some in (cases, cases[:6], cases[::-1][:7]):
        assert [each for each in (*find(some, manifest.domain), *find_duplicates(some)) if each.level != "note"] == []


def ball(shape: tuple[int, int, int] = (30, 30, 30), radius: float = 7) -> np.ndarray:
    centre = (np.array(shape) - 1) / 2
    return (np.linalg.norm(np.moveaxis(np.indices(shape), 0, -1) - centre, axis=-1) <= radius).astype(np.uint8)


def test_layers_of_a_ball_hold_its_points_and_agree_only_in_place() -> None:
    labels = ball()
    sums = layer_sums(100.0 * labels, labels, np.ones(3), num_bones=2, limits=(0, 100))
    assert not sums[:, 1].any()
    inside, outside = sums[0, 0, : 5 * NUM_SIDES], sums[0, 0, 5 * NUM_SIDES :]
    assert len(sums[0, 0]) == len(EDGES) * NUM_SIDES
    assert inside[:, 0].sum() == pytest.approx(labels.sum() / 2, rel=0.1)  # thinned out to at most 6000 points
    np.testing.assert_array_equal(inside[:, 0], inside[:, 1])
    assert not outside[:, 1].any()
    usual = layer_means(sums[0])
    agreed = agreement(sums, usual)[:, 0]
    assert agreed[0] == pytest.approx(1)
    assert np.nanmax(agreed[1:49]) < 0.95
    inverted = layer_sums(100.0 * (1 - labels), labels, np.ones(3), num_bones=2, limits=(0, 100))
    assert agreement(inverted, usual)[0, 0] == pytest.approx(-1)


def test_sides_are_swapped_and_merged() -> None:
    sums = RNG.uniform(size=(2, len(EDGES) * NUM_SIDES, 3))
    for axis in range(3):
        np.testing.assert_array_equal(swap_sides(swap_sides(sums, axis), axis), sums)
    merged = merge_sides(sums)
    np.testing.assert_allclose(merged, merge_sides(swap_sides(sums, 0)))
    np.testing.assert_allclose(merged[:, 0], sums[:, 0] + sums[:, 1])
    np.testing.assert_allclose(merged.sum(axis=1), sums.sum(axis=1))


def test_a_cut_ball_is_flat_by_hand() -> None:
    labels = ball()
    labels[15:] = 0
    noise = RNG.normal(size=labels.shape).astype(np.float32)
    box = ndimage.find_objects(labels)[0]
    outline = measure_outline(noise + 50 * ball(), labels, 1, box, np.ones(3))
    assert outline.faces[1] == 1  # its widest cross-section, at the cut
    assert max(outline.faces[:1] + outline.faces[2:]) < 0.3
    assert outline.steps[1] < 1.4 < min(outline.steps[:1] + outline.steps[2:])
    assert outline.extents_mm[0] < 0.6 * outline.extents_mm[1]
    whole = np.ones((4, 4, 4), np.uint8)  # up to the edges of the field of view: no end is seen
    assert measure_outline(noise[:4, :4, :4], whole, 1, (slice(0, 4),) * 3, np.ones(3)).faces == (0,) * 6


def test_cuts_need_other_cases(clean: tuple[Manifest, list[CheckedCase]]) -> None:
    manifest, cases = clean
    assert list(CUT_RULES["cut-bone"](cases[:1], manifest.domain)) == []


def test_fingerprints_survive_cropping_and_turning() -> None:
    noise = RNG.integers(0, 1000, (40, 36, 30)).astype(np.int16)
    own = fingerprint(noise)
    assert len(own) == 512
    for copy in (noise[::-1, :, ::-1], noise.transpose(2, 0, 1), noise.astype(np.float32)):
        np.testing.assert_array_equal(fingerprint(np.ascontiguousarray(copy)), own)
    part = fingerprint(noise[5:, 4:, 3:])
    others = [fingerprint(RNG.integers(0, 1000, noise.shape).astype(np.int16)) for _ in range(3)]
    assert list(find_sharing([others[0], own, others[1], part, others[2]])) == [(1, 3)]
    assert len(fingerprint(np.zeros((9, 9, 9), np.float32))) == 0
    assert len(fingerprint(noise[:, :, :3])) == 0


@pytest.mark.parametrize(
    ("levels", "quantum"), [([0, 1, 2, 7], 1), ([0, 10, 30], 10), ([-0.5, 0.0, 1.5], 0.5), ([0, 0.3, 1.0], 0), ([5], 0)]
)
def test_steps_of_intensities(levels: list[float], quantum: float) -> None:
    assert find_quantum(np.array(levels)) == quantum
