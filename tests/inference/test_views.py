"""Views of slices at test time: the mean answer of networks whose answers are known."""

import pytest
import torch
from custom_components.errors import InputError
from custom_components.inference.inferers import SlicewiseInferer
from custom_components.inference.views import VIEWS, answer_views
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
        assert int(((found > 0.75) != (plain > 0)).sum()) < 150, view


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
    with pytest.raises(InputError, match=r"must be a list of flip-rows.*, got \['upside'\]"):
        SlicewiseInferer(**how, views=["upside"])
