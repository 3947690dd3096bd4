from typing import Any

import numpy as np
import pytest
import torch
from custom_components.data.augmentation import (
    RandFlipRotateTranslated,
    RandIntensityd,
    _blur,
    _linear_part,
    _sampling_grid,
    _sampling_matrix,
)
from custom_components.domains import Domain
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import affine_grid

SQUARE = np.array([1.0, 1.0])
STILL = {"angle": 0.0, "shift": (0.0, 0.0), "signs": (1, 1), "scale": 1.0}


def make_item(shape: tuple[int, int] = (12, 12), spacing_mm: np.ndarray = SQUARE, *, seed: int = 0) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(seed)
    image = 5 + torch.randn((1, *shape), generator=generator)
    label = torch.randint(0, 4, (1, *shape), generator=generator, dtype=torch.uint8)
    return {"image": image, "label": label, "pixel_spacing": spacing_mm, "case": 7}


def fixed(**changed: Any) -> RandFlipRotateTranslated:
    """The transform with a chosen drawing instead of a random one: angle (degrees), shift, signs, scale."""
    drawn = {**STILL, **changed}
    transform = RandFlipRotateTranslated()
    signs = np.array(drawn["signs"], dtype=float)
    values = (float(np.deg2rad(drawn["angle"])), np.array(drawn["shift"]), signs, drawn["scale"])
    transform.randomize = lambda data=None: values  # type: ignore[method-assign]
    return transform


def check_equal(item: dict[str, Any], image: Tensor, label: Tensor) -> None:
    torch.testing.assert_close(item["image"], image, atol=1e-4, rtol=0)
    assert torch.equal(item["label"], label)
    assert item["label"].dtype == torch.uint8


@pytest.mark.parametrize("shape", [(12, 12), (9, 14)])
def test_zero_parameters_are_the_identity(shape: tuple[int, int]) -> None:
    item = make_item(shape, np.array([0.4, 1.3]))
    transform = RandFlipRotateTranslated(flip_axes=(), max_translation=0, max_rotation=0)
    for seed in range(3):
        moved = transform.set_random_state(seed=seed)(item)
        check_equal(moved, item["image"], item["label"])
    assert moved["case"] == 7
    assert moved["image"] is not item["image"]


@pytest.mark.parametrize(("signs", "axes"), [((-1, 1), (1,)), ((1, -1), (2,)), ((-1, -1), (1, 2))])
@pytest.mark.parametrize("shape", [(12, 12), (9, 14)])
def test_a_pure_flip_is_torch_flip(shape: tuple[int, int], signs: tuple[int, int], axes: tuple[int, ...]) -> None:
    item = make_item(shape, np.array([0.4, 1.3]))
    check_equal(fixed(signs=signs)(item), item["image"].flip(axes), item["label"].flip(axes))


@pytest.mark.parametrize(("angle", "quarters"), [(90, 1), (-90, -1), (180, 2)])
def test_quarter_turns_of_square_pixels_are_torch_rot90(angle: float, quarters: int) -> None:
    """A positive angle turns counter-clockwise as displayed, rows downwards, which is `torch.rot90`'s direction."""
    item = make_item()
    expected = [torch.rot90(item[key], quarters, dims=(1, 2)) for key in ("image", "label")]
    check_equal(fixed(angle=angle)(item), *expected)


def test_translation_by_hand_brings_in_air_and_background() -> None:
    item = make_item((8, 12))
    moved = fixed(shift=(0.25, -0.5))(item)  # 2 rows down, 6 columns to the left
    air = item["image"].min()
    image, label = torch.full_like(item["image"], air), torch.zeros_like(item["label"])
    image[:, 2:, :6], label[:, 2:, :6] = item["image"][:, :6, 6:], item["label"][:, :6, 6:]
    check_equal(moved, image, label)


def test_rotation_comes_first_then_flip_then_translation() -> None:
    item = make_item()
    moved = fixed(angle=90, shift=(0.25, 0), signs=(-1, 1))(item)
    turned = torch.rot90(item["label"], 1, dims=(1, 2)).flip(1)
    expected = torch.zeros_like(turned)
    expected[:, 3:] = turned[:, :-3]
    assert torch.equal(moved["label"], expected)


def centre_mm(label: Tensor, value: int, spacing_mm: np.ndarray) -> np.ndarray:
    return (np.argwhere(label[0].numpy() == value) + 0.5).mean(axis=0) * spacing_mm


@pytest.mark.parametrize("angle", [-45, 30, 80])
def test_rotation_is_rigid_in_millimetres(angle: float) -> None:
    """Three discs on pixels of 1 x 0.5 mm keep their distances, areas and corner; the centre of the slice stays."""
    shape, spacing_mm = (120, 200), np.array([1.0, 0.5])
    rows, columns = (np.indices(shape).reshape(2, *shape).T + 0.5).T
    centres = {1: (60, 50), 2: (60, 78), 3: (40, 50)}  # mm; 28 mm and 20 mm apart at a right angle
    label = np.zeros(shape, dtype=np.uint8)
    for value, (row, column) in centres.items():
        label[(rows * 1.0 - row) ** 2 + (columns * 0.5 - column) ** 2 < 5**2] = value
    item = {
        "image": torch.from_numpy(label).float()[None],
        "label": torch.from_numpy(label)[None],
        "pixel_spacing": spacing_mm,
    }
    moved = fixed(angle=angle)(item)["label"]
    first, second, third = (centre_mm(moved, value, spacing_mm) for value in (1, 2, 3))
    assert np.linalg.norm(second - first) == pytest.approx(28, abs=0.15)
    assert np.linalg.norm(third - first) == pytest.approx(20, abs=0.15)
    assert (second - first) @ (third - first) == pytest.approx(0, abs=3)
    np.testing.assert_allclose(first, (60, 50), atol=0.1)
    radians = np.deg2rad(angle)
    np.testing.assert_allclose(second - first, (-28 * np.sin(radians), 28 * np.cos(radians)), atol=0.15)
    for value in (1, 2, 3):
        assert (moved == value).sum().item() * 0.5 == pytest.approx(np.pi * 5**2, rel=0.05)


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=30)
def test_image_and_label_stay_aligned_and_no_value_is_invented(seed: int) -> None:
    label = torch.zeros(1, 40, 30, dtype=torch.uint8)
    label[:, 8:30, 10:24] = 7
    label[:, 20:26, 4:12] = 3
    item = {"image": label.float() - 2, "label": label, "pixel_spacing": np.array([0.7, 1.1])}
    moved = RandFlipRotateTranslated().set_random_state(seed=seed)(item)
    assert set(moved["label"].unique().tolist()) <= {0, 3, 7}
    # Where the image is still exactly a label's intensity, the label says so.
    for value in (0, 3, 7):
        pure = (moved["image"] + 2 - value).abs() < 1e-4
        inner = -torch.nn.functional.max_pool2d(-pure.float(), 3, stride=1, padding=1) > 0
        assert bool((moved["label"][inner] == value).all())
    assert moved["image"].min() >= -2 - 1e-4
    assert moved["image"].max() <= 5 + 1e-4


@given(shape=st.tuples(st.integers(1, 70), st.integers(1, 70)), seed=st.integers(0, 2**32 - 1), ratio=st.floats(0.5, 2))
@settings(max_examples=60)
def test_grid_is_that_of_affine_grid(shape: tuple[int, int], seed: int, ratio: float) -> None:
    """Up to rounding, which differs between processors."""
    drawn = RandFlipRotateTranslated().set_random_state(seed=seed).randomize()
    angle, shift, signs, scale = drawn
    theta = _sampling_matrix(_linear_part(angle, signs, scale, np.array([1.0, ratio]), shape), shift)
    expected = affine_grid(theta[None], [1, 1, *shape], align_corners=False)
    torch.testing.assert_close(_sampling_grid(theta, shape), expected, rtol=1e-6, atol=1e-6)


def test_outside_is_the_minimum_of_the_slice_even_if_positive() -> None:
    item = {"image": torch.full((1, 10, 10), 9.0), "label": torch.ones(1, 10, 10, dtype=torch.uint8)}
    item["image"][0, 5, 5] = 4.0
    moved = fixed(shift=(1.0, 0.0))({**item, "pixel_spacing": SQUARE})
    assert torch.equal(moved["image"], torch.full((1, 10, 10), 4.0))
    assert not moved["label"].any()


def test_same_state_same_result() -> None:
    item = make_item()
    transform = RandFlipRotateTranslated().set_random_state(seed=3)
    first, second = transform(item), transform(item)
    again = RandFlipRotateTranslated().set_random_state(seed=3)(item)
    assert torch.equal(first["image"], again["image"])
    assert torch.equal(first["label"], again["label"])
    assert not torch.equal(first["image"], second["image"])


def test_drawings_fill_the_papers_ranges() -> None:
    transform = RandFlipRotateTranslated().set_random_state(seed=0)
    angles, shifts, signs, scales = (
        np.array(values) for values in zip(*(transform.randomize() for _ in range(500)), strict=True)
    )
    for values, limit in ((np.rad2deg(angles), 45), (shifts[:, 0], 0.25), (shifts[:, 1], 0.25)):
        assert -limit <= values.min() < -0.95 * limit
        assert 0.95 * limit < values.max() <= limit
    assert {tuple(pair) for pair in signs} == {(-1, -1), (-1, 1), (1, -1), (1, 1)}
    assert np.abs((signs < 0).mean(axis=0) - 0.5).max() < 0.1
    assert set(scales.tolist()) == {1.0}
    transform = RandFlipRotateTranslated(scaling=(0.8, 1.25)).set_random_state(seed=0)
    factors = np.array([transform.randomize()[3] for _ in range(500)])
    assert 0.8 <= factors.min() < 0.81 < 1.24 < factors.max() <= 1.25
    assert np.median(factors) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("axis", [0, 1])
def test_only_the_named_axis_flips(axis: int) -> None:
    transform = RandFlipRotateTranslated(flip_axes=[axis]).set_random_state(seed=0)
    signs = np.array([transform.randomize()[2] for _ in range(50)])
    assert set(signs[:, axis]) == {-1, 1}
    assert set(signs[:, 1 - axis]) == {1}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"flip_axes": (0, 3)}, r"flip_axes must be sides or within \[0, 1, 2\] .*, got \(0, 3\)"),
        ({"flip_axes": "rows"}, "flip_axes must be sides or within .*, got 'rows'"),
        ({"scaling": (1.2, 0.8)}, "scaling must be the smallest and the largest factor"),
        ({"flip_axes": 0}, "flip_axes must be sides or within"),
        ({"scaling": ("a", "b")}, "scaling must be the smallest and the largest factor"),
        ({"scaling": 1}, "scaling must be the smallest and the largest factor, 0.1 to 10, got 1"),
        ({"keep_labels": 0.5}, "keep_labels must be null or a margin"),
        ({"max_translation": 25}, "max_translation must be a fraction from 0 to 1, got 25"),
        ({"max_translation": -0.1}, "max_translation must be a fraction"),
        ({"max_rotation": 181}, "max_rotation must be from 0 to 180 degrees, got 181"),
        ({"max_rotation": float("nan")}, "max_rotation must be from 0 to 180 degrees, got nan"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RandFlipRotateTranslated(**settings)


def test_scaling_is_about_the_centre_and_alike_for_neighbouring_slices() -> None:
    image = torch.zeros(3, 8, 8)
    image[:, 2:6, 2:6] = torch.tensor([1.0, 2.0, 3.0])[:, None, None]
    item = {"image": image, "label": (image[:1] > 0).to(torch.uint8), "pixel_spacing": SQUARE}
    moved = fixed(scale=2.0)(item)
    assert moved["label"].sum() == 64
    torch.testing.assert_close(moved["image"][:, 2:6, 2:6], image[:, 2:6, 2:6])
    smaller = fixed(scale=0.5)(item)["label"][0]
    assert smaller.sum() == 4
    assert bool(smaller[3:5, 3:5].all())


def test_looks_change_by_chance_and_leave_the_slice_and_its_label_alone() -> None:
    item = make_item((16, 16))
    before, transform = item["image"].clone(), RandIntensityd()
    changed = [transform.set_random_state(seed=seed)(item) for seed in range(40)]
    assert torch.equal(item["image"], before)
    assert all(torch.equal(each["label"], item["label"]) for each in changed)
    assert 0 < sum(torch.equal(each["image"], before) for each in changed) < 8, "a chance of 0.03 that nothing happens"
    again = transform.set_random_state(seed=3)(item)
    assert torch.equal(again["image"], changed[3]["image"])
    assert torch.equal(RandIntensityd(strength=0.0)(item)["image"], before)


def test_looks_keep_the_order_of_intensities_but_for_field_blur_and_noise() -> None:
    """Gain, offset and gamma are monotonous; all channels change alike."""
    transform, ramp = RandIntensityd(), torch.linspace(-1, 3, 32).expand(2, 1, 32)
    chances = iter([True, True, False, False, False, False] * 9)
    transform._happens = lambda chance: next(chances)  # type: ignore[method-assign]
    for seed in range(9):
        changed = transform.set_random_state(seed=seed)({"image": ramp})["image"]
        assert bool((changed.diff(dim=2) > 0).all())
        assert torch.equal(changed[0], changed[1])


def test_blur_of_a_point_is_a_gaussian() -> None:
    point = torch.zeros(1, 9, 9)
    point[0, 4, 4] = 1
    blurred = _blur(point, deviation=0.8)[0]
    assert blurred.sum().item() == pytest.approx(1, abs=1e-5)
    assert (blurred[4, 5] / blurred[4, 4]).item() == pytest.approx(np.exp(-0.5 / 0.8**2), rel=1e-4)
    torch.testing.assert_close(_blur(torch.full((2, 5, 5), 3.0), deviation=1.0), torch.full((2, 5, 5), 3.0))


@pytest.mark.parametrize("margin", [0.0, 0.1])
def test_labels_stay_inside_and_shifts_use_all_the_room(margin: float) -> None:
    item = make_item((40, 40), np.array([1.0, 2.0]))
    item["label"] = torch.zeros(1, 40, 40, dtype=torch.uint8)
    item["label"][0, 4:24, 12:28] = 1
    item["label_box"] = np.array([[4 / 40, 24 / 40], [12 / 40, 28 / 40]])
    settings: dict[str, Any] = {"flip_axes": (0, 1), "max_rotation": 0.0, "scaling": (0.7, 1.0)}
    transform = RandFlipRotateTranslated(**settings, max_translation=1.0, keep_labels=margin)
    places = []
    for seed in range(60):
        moved = transform.set_random_state(seed=seed)(item)["label"][0]
        rows, columns = moved.any(dim=1).nonzero()[:, 0], moved.any(dim=0).nonzero()[:, 0]
        places.append([rows.min(), 39 - rows.max(), columns.min(), 39 - columns.max()])
    nearest = torch.tensor(places).amin(dim=0)
    assert bool((nearest >= 40 * margin - 1).all()), "a nearest pixel's width"
    assert bool((nearest <= 40 * margin + 2).all())


@pytest.mark.parametrize("flip_axes", [(), (1,)])
@pytest.mark.parametrize(
    ("names", "plane", "head_leaves"),
    [
        (("L1", "L2", "L3"), "sagittal", True),
        (("L1", "L2", "L3"), "coronal", True),
        (("L1", "L2", "L3"), "axial", False),
        (("L1", "L2", "tibia"), "sagittal", False),
    ],
)
def test_a_row_of_vertebrae_may_leave_by_its_head_alone(
    names: tuple[str, ...], plane: str, head_leaves: bool, flip_axes: tuple[int, ...]
) -> None:
    item = make_item((40, 40)) | {"domain": 0, "side_axis": 2, "label_box": np.array([[0.2, 0.8], [0.2, 0.8]])}
    label = torch.zeros(1, 40, 40, dtype=torch.uint8)
    label[0, 8:32, 8:32] = 1
    label[0, 8:32, 8:12] = 2  # the foot: columns rise towards the head
    domain = Domain("spine", dict(enumerate(names, start=1)), plane)
    transform = RandFlipRotateTranslated(
        flip_axes=flip_axes, max_rotation=0.0, max_translation=0.5, keep_labels=0.05, domains=[domain]
    )
    moved = [transform.set_random_state(seed=seed)(item | {"label": label})["label"] for seed in range(30)]
    assert all(int((each == 2).sum()) > 0.9 * 24 * 4 for each in moved), "the foot stays"
    assert (min(int((each == 1).sum()) for each in moved) < 0.7 * 24 * 20) == head_leaves


def test_a_box_that_does_not_fit_is_centred() -> None:
    item = make_item((8, 8)) | {"label_box": np.array([[0.5, 1.0], [0.0, 1.0]])}
    moved = RandFlipRotateTranslated(
        flip_axes=(), max_rotation=0.0, scaling=(2.0, 2.0), max_translation=0.5, keep_labels=0.1
    )
    shift = moved._keep_inside(np.array([0.3, 0.3]), np.diag([0.5, 0.5]), item["label_box"])
    np.testing.assert_allclose(shift, [-0.5, 0.0])


@pytest.mark.parametrize(("flip_axes", "side_axis"), [((2,), 0), ("sides", 2)])
def test_mirroring_the_slices_swaps_the_neighbours(flip_axes: Any, side_axis: int) -> None:
    item = make_item() | {"image": torch.rand(3, 12, 12), "side_axis": side_axis}
    transform = RandFlipRotateTranslated(flip_axes=flip_axes, max_translation=0, max_rotation=0)
    found = [transform.set_random_state(seed=seed)(item) for seed in range(20)]
    mirrored = [bool(torch.allclose(each["image"], item["image"].flip(0), atol=1e-5)) for each in found]
    assert 4 < sum(mirrored) < 16
    assert all(torch.equal(each["label"], item["label"]) for each in found)
    plain = [torch.allclose(each["image"], item["image"], atol=1e-5) for each in found]
    assert all(one != other for one, other in zip(mirrored, plain, strict=True))


def test_sides_of_other_planes_are_the_rows() -> None:
    item = make_item() | {"side_axis": 0}
    transform = RandFlipRotateTranslated(flip_axes="sides", max_translation=0, max_rotation=0)
    labels = [transform.set_random_state(seed=seed)(item)["label"] for seed in range(10)]
    expected = [item["label"], item["label"].flip(1)]
    assert {next(k for k in (0, 1) if torch.equal(label, expected[k])) for label in labels} == {0, 1}


SIDED = Domain("ankles", {1: "left talus", 2: "right talus", 3: "sacrum"}, "axial")
ONE_SIDED = Domain("foot", {1: "left talus", 2: "left tibia", 3: "cuboid"}, "axial")


@pytest.mark.parametrize("flip_axes", ["sides", (0, 1)])
def test_a_mirror_from_left_to_right_exchanges_the_labels_of_the_sides(flip_axes: Any) -> None:
    item = make_item() | {"side_axis": 0, "domain": 1}
    how: dict[str, Any] = {"flip_axes": flip_axes, "max_translation": 0, "max_rotation": 0}
    plain = RandFlipRotateTranslated(**how)
    exchanging = RandFlipRotateTranslated(**how, domains=[ONE_SIDED, SIDED])
    exchanged = torch.tensor([0, 2, 1, 3], dtype=torch.uint8)
    counts = [0, 0]
    for seed in range(20):
        before, after = (each.set_random_state(seed=seed)(item) for each in (plain, exchanging))
        assert torch.equal(before["image"], after["image"])
        turned = [item["image"].flip(1), item["image"].flip(1, 2)]
        mirrored = any(torch.allclose(after["image"], each, atol=1e-4) for each in turned)
        counts[mirrored] += 1
        check_equal(after, before["image"], exchanged[before["label"].long()] if mirrored else before["label"])
    assert min(counts) > 4


@pytest.mark.parametrize("flip_axes", ["sides", (0, 1)])
def test_labels_of_one_side_alone_are_not_mirrored(flip_axes: Any, caplog: pytest.LogCaptureFixture) -> None:
    item = make_item() | {"side_axis": 0, "domain": 0}
    how: dict[str, Any] = {"flip_axes": flip_axes, "max_translation": 0, "max_rotation": 0}
    transform = RandFlipRotateTranslated(**how, domains=[ONE_SIDED, SIDED])
    assert caplog.messages == [
        "foot: not mirrored from left to right, for these labels have no other side: left talus, left tibia"
    ]
    as_it_is = [item["image"], item["image"].flip(2)]
    for seed in range(10):
        image = transform.set_random_state(seed=seed)(item)["image"]
        assert any(torch.allclose(image, each, atol=1e-4) for each in as_it_is)
    careless = RandFlipRotateTranslated(**how, domains=[ONE_SIDED, SIDED], exchange_sides=False)
    images = [careless.set_random_state(seed=seed)(item)["image"] for seed in range(10)]
    mirrors = [item["image"].flip(1), item["image"].flip(1, 2)]
    assert any(torch.allclose(image, each, atol=1e-4) for image in images for each in mirrors)


@pytest.mark.parametrize("channels", [1, 3])
def test_across_sagittal_slices_sides_are_exchanged_where_neighbours_show_them(channels: int) -> None:
    item = make_item() | {"image": torch.rand(channels, 12, 12), "side_axis": 2, "domain": 0, "mirrored": False}
    transform = RandFlipRotateTranslated(flip_axes="sides", max_translation=0, max_rotation=0, domains=[SIDED])
    exchanged = torch.tensor([0, 2, 1, 3], dtype=torch.uint8)[item["label"].long()]
    found = [transform.set_random_state(seed=seed)(item) for seed in range(20)]
    assert {each["mirrored"] for each in found} == {False, True}
    for each in found:
        expected = exchanged if each["mirrored"] and channels > 1 else item["label"]
        check_equal(each, item["image"].flip(0) if each["mirrored"] else item["image"], expected)
