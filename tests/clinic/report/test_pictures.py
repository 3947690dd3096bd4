import io

import numpy as np
import pytest
from custom_components.domains import COLORS
from PIL import Image, ImageColor

from multijoint.clinic.report.pictures import Picture, draw_picture

SPACING = (1.0, 1.0, 3.0)
SHAPE = (60, 60, 20)


def pixels(picture: Picture) -> np.ndarray:
    image = Image.open(io.BytesIO(picture.data))
    assert image.format == "WEBP"
    assert image.size == (picture.width, picture.height)
    return np.asarray(image.convert("RGB")).astype(int)


def colored(image: np.ndarray, color: str) -> np.ndarray:
    """Pixels near a colour; WebP keeps hue at half the resolution."""
    return np.abs(image - np.array(ImageColor.getrgb(color))).max(axis=-1) < 60


@pytest.fixture
def classes() -> np.ndarray:
    classes = np.zeros(SHAPE, np.uint8)
    classes[40:52, 24:36, 4:16] = 1
    return classes


def test_planes_have_the_proportions_of_the_body(classes: np.ndarray) -> None:
    picture = draw_picture(classes, SPACING, names={1: "1"})
    side = (960 - 2 * 8) / 3  # three squares of 60 mm
    assert picture.height == pytest.approx(side, abs=1)
    assert picture.width == pytest.approx(960, abs=2)
    flat = draw_picture(classes, (1.0, 1.0, 1.5), names={1: "1"})
    columns = pixels(flat)[:, 500, :].max(axis=-1)  # coronal: half as high as wide, grey above and below
    assert (np.abs(columns - 72) < 12).mean() == pytest.approx(0.5, abs=0.06)


def test_the_right_of_the_patient_is_at_the_left(classes: np.ndarray) -> None:
    image = pixels(draw_picture(classes, SPACING, names={1: ""}, voxels=np.zeros(SHAPE), limits=(0, 1)))
    axial = colored(image[:, :314], COLORS[0])
    _, columns = np.nonzero(axial)
    assert (columns.min() / 314, columns.max() / 314) == pytest.approx((1 - 52 / 60, 1 - 40 / 60), abs=0.02)


def test_contours_follow_the_bone_and_the_reference_is_white(classes: np.ndarray) -> None:
    reference = np.roll(classes, -15, axis=0)
    how = {"names": {1: ""}, "voxels": np.zeros(SHAPE, np.float32), "limits": (0.0, 1.0)}
    alone, both = (pixels(draw_picture(classes, SPACING, reference=each, **how))[:, :314] for each in (None, reference))
    more = colored(both, "white") & ~colored(alone, "white")
    _, columns = np.nonzero(more)
    # the reference lies 15 mm farther to the patient's left, that is to the right
    assert (columns.min() / 314, columns.max() / 314) == pytest.approx((1 - 37 / 60, 1 - 25 / 60), abs=0.03)


def test_without_a_scan_the_bones_are_areas(classes: np.ndarray) -> None:
    dimmed = "#" + "".join(f"{int(0.4 * part):02x}" for part in ImageColor.getrgb(COLORS[0]))
    image = pixels(draw_picture(classes, SPACING, names={1: ""}))[:, :314]
    inside = image[round(314 * 0.45) : round(314 * 0.55), round(314 * 0.18) : round(314 * 0.28)]
    assert np.abs(inside - np.array(ImageColor.getrgb(dimmed))).max() < 20


def test_numbers_tell_bones_apart_without_colour(classes: np.ndarray) -> None:
    named, plain = (draw_picture(classes, SPACING, names={1: name}) for name in ("7", ""))
    changed = np.abs(pixels(named) - pixels(plain)).max(axis=-1) > 80
    rows, columns = np.nonzero(changed[:, :314])
    assert (columns.mean() / 314, rows.mean() / 314) == pytest.approx((1 - 46 / 60, 0.5), abs=0.03)


def test_noise_does_not_make_it_heavy() -> None:
    voxels = np.random.default_rng(0).uniform(0, 1, (128, 128, 128)).astype(np.float32)
    picture = draw_picture(np.zeros(voxels.shape, np.uint8), (1.0, 1.0, 1.0), names={}, voxels=voxels)
    assert len(picture.data) <= 40_000


def test_a_volume_of_one_slice_is_drawn() -> None:
    classes = np.ones((50, 50, 1), np.uint8)
    picture = draw_picture(classes, (0.5, 0.5, 4.0), names={1: "1"}, voxels=np.ones((50, 50, 1)), limits=(0, 2))
    assert picture.height > 300
