"""Random shapes: reproducible, in one piece, known by form and place and never by their signal."""

from __future__ import annotations

import time
import zlib
from functools import cache
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import yaml
from custom_components.data.manifests import load_manifests
from custom_components.data.preprocessing import Preprocessing, stack_labels
from scipy.ndimage import binary_dilation
from scipy.ndimage import label as label_components
from scipy.stats import spearmanr

from multijoint.checks import check_manifests
from multijoint.phantoms import PHANTOM_DOMAINS, write_phantoms
from multijoint.phantoms.random_shapes import BALL, BOTTOM, COLUMN, MIDDLE, SHEET, TOP
from multijoint.phantoms.recipes import Phantom, make_phantom

SHAPES = PHANTOM_DOMAINS["shapes"]
NUMBER = 40


@cache
def phantoms() -> list[Phantom]:
    return [make_phantom(SHAPES, index=index, size=64, rng=np.random.default_rng(index)) for index in range(NUMBER)]


def extent_mm(phantom: Phantom, value: int) -> np.ndarray:
    """Lengths of a shape along its own axes, longest first: those of an ellipsoid of the same moments."""
    where = nib.affines.apply_affine(phantom.affine, np.argwhere(phantom.label == value))
    return np.sqrt(5 * np.linalg.eigvalsh(np.cov(where.T)))[::-1] * 2


def test_a_case_depends_on_seed_and_number_alone(tmp_path: Path) -> None:
    for name, number in (("some", 2), ("more", 3)):
        write_phantoms(tmp_path / name, domains=["shapes"], num_cases=number, seed=3, size=48)
    write_phantoms(tmp_path / "other", domains=["shapes"], num_cases=1, seed=4, size=48)
    for kind in ("images", "labels"):
        for index in range(2):
            name = f"shapes/{kind}/shapes_{index:03d}.nii.gz"
            assert (tmp_path / "some" / name).read_bytes() == (tmp_path / "more" / name).read_bytes()
        name = f"shapes/{kind}/shapes_000.nii.gz"
        assert (tmp_path / "some" / name).read_bytes() != (tmp_path / "other" / name).read_bytes()


def test_case_zero_is_made_of_its_own_stream(tmp_path: Path) -> None:
    write_phantoms(tmp_path, domains=["shapes"], num_cases=1, seed=5, size=48)
    rng = np.random.default_rng(np.random.SeedSequence([5, zlib.crc32(b"shapes"), 0]))
    made = make_phantom(SHAPES, index=0, size=48, rng=rng)
    label = nib.load(tmp_path / "shapes" / "labels" / "shapes_000.nii.gz")
    assert np.array_equal(np.asarray(label.dataobj), made.label)


def test_labels_are_a_random_choice_each_in_one_piece() -> None:
    sets = [frozenset(np.unique(phantom.label).tolist()) - {0} for phantom in phantoms()]
    assert len(set(sets)) > 5
    for first in (sets[:20], sets[20:]):
        assert frozenset().union(*first) == set(SHAPES.labels), "20 cases have all"
    for phantom, labels in zip(phantoms(), sets, strict=True):
        assert labels, "no case is empty"
        assert len(labels & {TOP, MIDDLE, BOTTOM}) in (0, 3), "a row is whole"
        for value in labels:
            assert label_components(phantom.label == value)[1] == 1
            assert (phantom.label == value).sum() > 20


def test_shapes_are_known_by_their_form() -> None:
    proportions: dict[int, list[np.ndarray]] = {}
    for phantom in phantoms():
        for value in np.unique(phantom.label)[1:]:
            proportions.setdefault(int(value), []).append(extent_mm(phantom, value))
    longest, middle, shortest = (
        {value: np.median([each[axis] for each in own]) for value, own in proportions.items()} for axis in range(3)
    )
    assert longest[BALL] < 1.6 * shortest[BALL]
    assert longest[COLUMN] > 3.5 * middle[COLUMN]
    assert middle[SHEET] > 2.5 * shortest[SHEET]
    assert longest[SHEET] < 2 * middle[SHEET]


def test_a_row_stands_one_above_the_other_in_a_slice() -> None:
    seen = 0
    for phantom in phantoms():
        if TOP not in phantom.label:
            continue
        settings = Preprocessing((64, 64))
        stack = stack_labels(phantom.label, phantom.affine, plane=SHAPES.plane, settings=settings).numpy()
        where = [np.argwhere(stack == value).mean(0) for value in (TOP, MIDDLE, BOTTOM)]
        along_up = [place[2] for place in where]  # sagittal slices hold y in rows and z in columns, both ascending
        assert along_up == sorted(along_up, reverse=True)
        both = ((stack == TOP).any((1, 2)) & (stack == BOTTOM).any((1, 2))).sum()
        seen += both >= 0.5 * (stack == MIDDLE).any((1, 2)).sum()
    assert seen >= 20, "most slices of a row show all of it"


def test_the_signal_says_nothing_about_the_class() -> None:
    rows, around = [], []
    for phantom in phantoms():
        for value in np.unique(phantom.label)[1:]:
            shape = phantom.label == value
            ring = binary_dilation(shape, iterations=4) & ~binary_dilation(shape, iterations=1)
            rows.append((value, phantom.image[shape].mean()))
            around.append(rows[-1][1] - phantom.image[ring].mean())
    values, means = np.array(rows).T
    assert abs(spearmanr(values, means).statistic) < 0.15
    assert abs(spearmanr(values, around).statistic) < 0.15
    by_class = [means[values == value] for value in SHAPES.labels]
    assert all(np.ptp(own) > 500 for own in by_class), "every class is dark here and bright there"
    assert np.ptp([np.median(own) for own in by_class]) < 0.7 * np.mean([own.std() for own in by_class])
    assert 0.3 < np.mean(np.array(around) > 0) < 0.7


def test_scanners_and_storage_differ() -> None:
    spacing = np.array([nib.affines.voxel_sizes(phantom.affine) for phantom in phantoms()])
    assert np.ptp(spacing[:, 0]) > 1
    assert np.allclose(spacing[:, 0], spacing[:, 1])
    thickness = spacing[:, 2] / spacing[:, 0]
    assert 1.5 <= thickness.min() < 2 < 4 < thickness.max() <= 4.5
    assert {nib.aff2axcodes(phantom.affine) for phantom in phantoms()} == {("A", "S", "R"), ("P", "I", "R")}
    for phantom in phantoms():
        assert phantom.image.shape == phantom.label.shape
        assert phantom.image.shape[:2] == (64, 64)
        assert phantom.image.dtype == np.int16
        assert 0 <= phantom.image.min() < phantom.image.max() <= 1500
        assert set(np.unique(phantom.label)) <= {0, *SHAPES.labels}


def test_a_case_takes_well_under_a_second() -> None:
    start = time.process_time()
    for index in range(5):
        make_phantom(SHAPES, index=index, size=64, rng=np.random.default_rng(index))
    assert time.process_time() - start < 5


@pytest.mark.parametrize("seed", [0, 1])
def test_check_finds_no_error(seed: int, tmp_path: Path) -> None:
    [path] = write_phantoms(tmp_path, domains=["shapes"], num_cases=8, seed=seed, size=48)
    [manifest] = load_manifests([path])
    assert manifest.domain.plane == "sagittal"
    assert manifest.domain.num_classes == 7
    assert {row["group"] for row in yaml.safe_load(path.read_text())["cases"]} == {"synthetic"}
    assert [finding for finding in check_manifests([path]).findings if finding.level == "error"] == []
