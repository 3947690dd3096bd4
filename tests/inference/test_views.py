"""Views of slices at test time: the mean answer of networks whose answers are known."""

import pytest
import torch
from custom_components.data.preprocessing import Preprocessing
from custom_components.domains import Domain
from custom_components.errors import InputError
from custom_components.inference.inferers import SlicewiseInferer
from custom_components.inference.views import VIEWS, answer_views, choose_views
from custom_components.models.trained_model import TrainedModel
from torch import Tensor


def by_brightness(images: Tensor) -> Tensor:
    """Logits of a network that looks at each pixel alone."""
    return torch.cat([-images[:, :1], images[:, :1]], dim=1)


def test_no_view_changes_what_is_symmetrical() -> None:
    images = torch.zeros(2, 1, 16, 12)
    images[:, :, 4:12, 3:9] = torch.tensor([1.0, 2.0]).view(2, 1, 1, 1)
    plain = by_brightness(images).log_softmax(dim=1)
    torch.testing.assert_close(answer_views(by_brightness, images, views=[]), plain)
    flipped = answer_views(by_brightness, images, views=["flip-rows", "flip-columns"])
    torch.testing.assert_close(flipped, plain)


def test_a_view_is_brought_back_to_its_place() -> None:
    """A pixel-wise network answers alike in every view, but for the interpolation; a large block shows it."""
    images = torch.zeros(1, 1, 64, 64)
    images[:, :, 10:40, 20:60] = 3
    plain = by_brightness(images).argmax(dim=1)
    for view in VIEWS:
        found = answer_views(by_brightness, images, views=[view])[:, 1].exp()
        assert bool((found[:, 12:38, 22:58] > 0.98).all()), view
        assert bool((found[:, 45:] < 0.51).all()), view
        assert int(((found > 0.75) != (plain > 0)).sum()) < 250, view


def test_the_mean_is_that_of_probabilities() -> None:
    """A network that says "bone" at the top: half of the two views agree."""

    def top(images: Tensor) -> Tensor:
        logits = torch.zeros(len(images), 2, *images.shape[2:])
        logits[:, 1, :4] = 100
        logits[:, 0, 4:] = 100
        return logits

    mean = answer_views(top, torch.zeros(1, 1, 8, 8), views=["flip-rows"]).exp()
    torch.testing.assert_close(mean, torch.full_like(mean, 0.5))


def test_positions_stay_and_outside_is_air() -> None:
    seen: list[Tensor] = []

    def look(images: Tensor) -> Tensor:
        seen.append(images)
        return torch.zeros(len(images), 2, *images.shape[2:])

    images = torch.full((1, 2, 8, 8), 5.0)
    images[:, 0, 0, 0] = 1
    images[:, 1] = torch.arange(8.0)
    answer_views(look, images, views=["flip-columns", "smaller"], fixed_channels=1)
    assert torch.equal(seen[1][:, 1], images[:, 1])
    torch.testing.assert_close(seen[1][:, :1], images[:, :1].flip(3))
    assert seen[2][0, 0, 7, 7] < 5, "the border of a smaller view is mixed with air"
    assert seen[2].min() >= 0


def test_the_inferer_averages_views_and_refuses_unknown_ones() -> None:
    volume = torch.rand(1, 1, 16, 16, 3, generator=torch.Generator().manual_seed(0))
    how = {"roi_size": (16, 16), "spatial_dim": 2, "sw_batch_size": 2}
    found = SlicewiseInferer(**how, views=["flip-rows"]).classes(volume, by_brightness, size=(16, 16))
    expected = torch.stack([by_brightness(volume[..., k]).argmax(dim=1)[0] for k in range(3)], dim=-1)
    assert torch.equal(found[0, 0].long(), expected)
    with pytest.raises(InputError, match=r"must be auto or a list of flip-rows.*, got \['upside'\]"):
        SlicewiseInferer(**how, views=["upside"])
    with pytest.raises(InputError, match="got 'upside'; correct it"):
        SlicewiseInferer(**how, views="upside")


HIPS = Domain("hips", {1: "left femur", 2: "sacrum", 3: "right femur"}, "coronal")
ANKLE = Domain("ankle", {1: "talus"}, "axial")
ONE_SIDE = Domain("femurs", {1: "left femur"}, "axial")


def model_of(*domains: Domain, head: str = "domain", **training: object) -> TrainedModel:
    return TrainedModel(domains, Preprocessing((16, 16)), {"head": head}, {}, training)


def sides(images: Tensor) -> Tensor:
    """Logits of a network that calls what is bright among the first rows the left femur, among the last the right."""
    logits = torch.zeros(len(images), 4, *images.shape[2:])
    half = images.shape[2] // 2
    logits[:, 1, :half], logits[:, 3, half:] = 9 * images[:, 0, :half], 9 * images[:, 0, half:]
    logits[:, 0] = 4
    return logits


def test_a_mirror_of_left_and_right_exchanges_their_channels() -> None:
    images = torch.zeros(1, 1, 16, 16)
    images[:, :, 2:6, 4:12] = 1
    plain = sides(images).log_softmax(dim=1)
    views = choose_views(["flip-rows"], model=model_of(HIPS), domain=None)
    assert views == {"flip-rows": [0, 3, 2, 1]}
    torch.testing.assert_close(answer_views(sides, images, views=views), plain, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(answer_views(sides, images, views=["flip-rows"]), plain, atol=0.1)
    joint = model_of(ANKLE, HIPS, head="shared")
    assert choose_views(["flip-rows"], model=joint, domain="hips") == {"flip-rows": [0, 1, 4, 3, 2]}
    assert choose_views(["flip-rows"], model=joint, domain="ankle") == {"flip-rows": None}
    assert choose_views(["flip-columns"], model=model_of(HIPS), domain=None) == {"flip-columns": None}


def test_the_inferer_exchanges_channels_for_the_domain_of_the_network() -> None:
    volume = torch.zeros(1, 1, 16, 16, 2)
    volume[:, :, 2:6, 4:12] = 1
    how = {"roi_size": (16, 16), "spatial_dim": 2, "sw_batch_size": 2, "views": ["flip-rows"]}

    class Network(torch.nn.Module):
        domain = 1

        def forward(self, images: Tensor) -> Tensor:
            return sides(images)

    found = SlicewiseInferer(**how, model=model_of(ANKLE, HIPS))(volume, Network())
    torch.testing.assert_close(found[..., 0], sides(volume[..., 0]).log_softmax(dim=1), atol=1e-4, rtol=1e-4)


def test_safe_views_mirror_where_labels_and_training_allow_it() -> None:
    rotations = ["rotate-left", "rotate-right"]
    mirrored = ["flip-rows", *rotations]
    sagittal = Domain("knee", {1: "femur"}, "sagittal")
    for expected, model in (
        (mirrored, model_of(HIPS)),
        (mirrored, model_of(ANKLE, flip_axes="sides")),
        (mirrored, model_of(ANKLE, flip_axes=[0, 2])),
        (rotations, model_of(ANKLE, flip_axes=[1])),
        (rotations, model_of(ONE_SIDE)),
        (rotations, model_of(sagittal)),
    ):
        assert list(choose_views("auto", model=model, domain=None)) == expected, model
    with pytest.raises(InputError, match=r"must not mirror left and right of femurs, got flip-rows: .*: left femur;"):
        choose_views(["flip-rows"], model=model_of(ONE_SIDE), domain=None)


def test_a_rotation_is_rigid_in_millimetres() -> None:
    """A disc in mm stays one: what the network sees of it is the disc, whatever the shape of a pixel."""
    seen: list[Tensor] = []

    def look(images: Tensor) -> Tensor:
        seen.append(images)
        return torch.zeros(len(images), 2, *images.shape[2:])

    rows, columns = torch.meshgrid(torch.arange(80) - 39.5, torch.arange(40) - 19.5, indexing="ij")
    images = ((rows * 1.0) ** 2 + (columns * 2.0) ** 2 < 30**2).float()[None, None]
    answer_views(look, images, views=["rotate-left", "rotate-right"], pixel_mm=(1.0, 2.0))
    for turned in seen[1:]:
        assert float((turned - images).abs().mean()) < 0.02
    bar = (rows.abs() < 3).float()[None, None]
    answer_views(look, bar, views=["rotate-left"], pixel_mm=(1.0, 2.0))
    centres = [(seen[-1][0, 0, :, column] * rows[:, 0]).sum() / seen[-1][0, 0, :, column].sum() for column in (4, 35)]
    slope = float((centres[1] - centres[0]).abs() / (31 * 2.0))
    assert slope == pytest.approx(0.0875, abs=0.01), "tangent of 5 degrees"
