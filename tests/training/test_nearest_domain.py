"""Which domain a new data set is nearest to, by least squares on the features of each."""

import logging

import numpy as np
import pytest
import torch
from custom_components.networks.unet import MultiDomainUNet
from custom_components.training.nearest_domain import explained_variance, find_nearest_domain


def network() -> MultiDomainUNet:
    torch.manual_seed(0)
    made = MultiDomainUNet([4, 3], widths=[4, 8], domain_names=["ankle", "shoulder"])
    for name, buffer in made.named_buffers():
        if name.endswith("running_mean"):
            buffer.uniform_(-0.1, 0.1)
    return made.train()


def slices(count: int) -> list[dict]:
    """A bright square to be found on noise, and a second one that is as dark as the noise."""
    generator = np.random.default_rng(0)
    made = []
    for _ in range(count):
        image = generator.normal(size=(1, 16, 16)).astype(np.float32)
        label = np.zeros((1, 16, 16), np.uint8)
        label[:, 2:8, 3:9], label[:, 10:14, 10:14] = 1, 2
        image[label == 1] += 3
        made.append({"image": torch.as_tensor(image), "label": torch.as_tensor(label)})
    return made


def test_it_is_what_least_squares_on_all_pixels_explain() -> None:
    made, data = network(), slices(11)
    images = torch.stack([item["image"] for item in data])
    with torch.no_grad():
        (features, *_), _ = made.eval()._features(images, [(1, len(data))])
    rows = features.movedim(1, -1).flatten(end_dim=-2).double().numpy()
    rows = np.column_stack([rows, np.ones(len(rows))])
    labels = torch.stack([item["label"] for item in data]).flatten().numpy()
    expected = []
    for bone in (1, 2):
        mask = (labels == bone).astype(float)
        weights, *_ = np.linalg.lstsq(rows, mask, rcond=None)
        expected.append(1 - ((mask - rows @ weights) ** 2).mean() / mask.var())
    assert explained_variance(made, data, domain=1) == pytest.approx(np.mean(expected), abs=1e-4)
    assert expected[0] > 2 * expected[1], "the bright one is easier"


def test_the_domain_with_blind_features_is_not_taken(caplog: pytest.LogCaptureFixture) -> None:
    for blind, seeing in ((0, "shoulder"), (1, "ankle")):
        made = network()
        with torch.no_grad():
            for norm in (module for name, module in made.named_modules() if name.endswith(f"norms.{blind}")):
                norm.weight.zero_()
        before = {name: value.clone() for name, value in made.state_dict().items()}
        with caplog.at_level(logging.INFO):
            assert find_nearest_domain(made, slices(5)) == seeing
        assert made.training
        assert made.domain == 0
        assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())
        assert explained_variance(made, slices(5), domain=blind) == pytest.approx(0, abs=1e-6)
        assert f"start from those of {seeing}" in caplog.text


def test_no_bone_explains_nothing_and_an_only_domain_is_the_nearest() -> None:
    empty = [{"image": item["image"], "label": torch.zeros(1, 16, 16, dtype=torch.uint8)} for item in slices(3)]
    assert explained_variance(network(), empty, domain=0) == 0
    assert find_nearest_domain(network(), empty) == "ankle", "the first of equals"
    assert find_nearest_domain(MultiDomainUNet([4], widths=[4, 8], domain_names=["hip"]), []) == "hip"


def test_many_slices_are_sampled_evenly() -> None:
    asked = []

    class Counted(list):
        def __getitem__(self, index: int) -> dict:
            asked.append(index)
            return super().__getitem__(0)

    find_nearest_domain(network(), Counted(slices(1) * 640))
    assert len(asked) == 64
    assert (asked[0], asked[-1]) == (0, 639)
    assert max(np.diff(asked)) <= 11
