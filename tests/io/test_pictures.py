from typing import Any

import numpy as np
import pytest
from custom_components.domains import COLORS
from custom_components.io.pictures import draw_plane, draw_planes, find_outlines, write_text
from PIL import Image, ImageColor, ImageDraw

SPACING = (1.0, 1.0, 3.0)
SHAPE = (60, 60, 20)


def draw(classes: np.ndarray, spacing_mm: tuple[float, float, float], **how: Any) -> np.ndarray:
    picture = draw_planes(classes, spacing_mm, size=(960, 340), **how)
    return np.asarray(picture).astype(int)


def colored(image: np.ndarray, color: str) -> np.ndarray:
    return np.abs(image - np.array(ImageColor.getrgb(color))).max(axis=-1) < 60


@pytest.fixture
def classes() -> np.ndarray:
    classes = np.zeros(SHAPE, np.uint8)
    classes[40:52, 24:36, 4:16] = 1
    return classes


def test_planes_have_the_proportions_of_the_body(classes: np.ndarray) -> None:
    picture = draw(classes, SPACING, names={1: "1"})
    side = (960 - 2 * 8) / 3  # three squares of 60 mm
    assert picture.shape[:2] == pytest.approx((side, 960), abs=2)
    flat = draw(classes, (1.0, 1.0, 1.5), names={1: "1"})
    columns = flat[:, 500, :].max(axis=-1)  # coronal: half as high as wide, grey above and below
    assert (np.abs(columns - 72) < 12).mean() == pytest.approx(0.5, abs=0.06)


def test_the_right_of_the_patient_is_at_the_left(classes: np.ndarray) -> None:
    image = draw(classes, SPACING, names={1: ""}, voxels=np.zeros(SHAPE), limits=(0, 1))
    axial = colored(image[:, :314], COLORS[0])
    _, columns = np.nonzero(axial)
    assert (columns.min() / 314, columns.max() / 314) == pytest.approx((1 - 52 / 60, 1 - 40 / 60), abs=0.02)


def test_contours_follow_the_bone_and_the_reference_is_white(classes: np.ndarray) -> None:
    reference = np.roll(classes, -15, axis=0)
    how = {"names": {1: ""}, "voxels": np.zeros(SHAPE, np.float32), "limits": (0.0, 1.0)}
    alone, both = (draw(classes, SPACING, reference=each, **how)[:, :314] for each in (None, reference))
    more = colored(both, "white") & ~colored(alone, "white")
    _, columns = np.nonzero(more)
    # the reference lies 15 mm farther to the patient's left, that is to the right
    assert (columns.min() / 314, columns.max() / 314) == pytest.approx((1 - 37 / 60, 1 - 25 / 60), abs=0.03)


def test_without_a_scan_the_bones_are_areas(classes: np.ndarray) -> None:
    dimmed = "#" + "".join(f"{int(0.4 * part):02x}" for part in ImageColor.getrgb(COLORS[0]))
    image = draw(classes, SPACING, names={1: ""})[:, :314]
    inside = image[round(314 * 0.45) : round(314 * 0.55), round(314 * 0.18) : round(314 * 0.28)]
    assert np.abs(inside - np.array(ImageColor.getrgb(dimmed))).max() < 20


def test_numbers_tell_bones_apart_without_colour(classes: np.ndarray) -> None:
    named, plain = (draw(classes, SPACING, names={1: name}) for name in ("7", ""))
    changed = np.abs(named - plain).max(axis=-1) > 80
    rows, columns = np.nonzero(changed[:, :314])
    assert (columns.mean() / 314, rows.mean() / 314) == pytest.approx((1 - 46 / 60, 0.5), abs=0.03)


def test_a_volume_of_one_slice_is_drawn() -> None:
    classes = np.ones((50, 50, 1), np.uint8)
    picture = draw(classes, (0.5, 0.5, 4.0), names={1: "1"}, voxels=np.ones((50, 50, 1)), limits=(0, 2))
    assert len(picture) > 300


def test_a_plane_shows_the_class_over_the_reference() -> None:
    classes, reference = np.zeros((8, 16), int), np.zeros((8, 16), int)
    classes[2:6, 2:6] = 1
    reference[2:6, 9:13] = 1
    picture = np.asarray(draw_plane(np.zeros((8, 16)), classes, size=(256, 128), reference=reference)).astype(int)
    for color, left in ((COLORS[0], 32), ("white", 144)):
        rows, columns = np.nonzero(colored(picture, color))
        assert (rows.min(), rows.max(), columns.min(), columns.max()) == pytest.approx((32, 96, left, left + 64), abs=3)


def test_outlines_enclose_the_voxels_less_their_corners() -> None:
    mask = np.zeros((9, 12), bool)
    mask[2:5, 3:11] = True
    mask[0, 0] = True  # in the corner of the field of view, and closed there
    areas = []
    for line in find_outlines(mask):
        assert line[0].tolist() == line[-1].tolist()
        (x, y), (next_x, next_y) = line[:-1].T, line[1:].T
        areas.append(abs(float(x @ next_y - y @ next_x)) / 2)  # the shoelace formula
    assert sorted(areas) == [1 - 4 / 8, 24 - 4 / 8]


def test_names_that_the_font_lacks_are_written() -> None:
    plain, accented = (Image.new("RGB", (200, 40)) for _ in range(2))
    for picture, text in ((plain, "mmm"), (accented, "f\u00e9mur")):
        write_text(ImageDraw.Draw(picture), (5, 20), text, "lm", size=18)
        assert np.asarray(picture).max() > 200
