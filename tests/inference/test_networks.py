"""A network that segments in bfloat16: near float32, the same for any number of threads, refused where it is slow."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from custom_components.data.preprocessing import Preprocessing
from custom_components.domains import Domain
from custom_components.errors import InputError
from custom_components.inference import networks
from custom_components.inference.inferers import SlicewiseInferer
from custom_components.inference.networks import build_inference_network, precision_of
from custom_components.models.trained_model import TrainedModel
from custom_components.networks.unet import MultiDomainUNet

DOMAINS = (Domain("ankle", {1: "talus", 2: "tibia"}, "axial"), Domain("shoulder", {1: "humerus"}, "axial"))


@pytest.fixture(scope="module")
def model() -> TrainedModel:
    """Random weights, and norms that are not trivial."""
    torch.manual_seed(0)
    network = MultiDomainUNet([3, 2], widths=[4, 8, 16], domain_names=["ankle", "shoulder"])
    for _ in range(20):
        network(torch.randn(4, 1, 32, 32), torch.tensor([0, 0, 1, 1]))
    return TrainedModel(DOMAINS, Preprocessing((32, 32)), network.settings(), network.state_dict(), training={})


@pytest.fixture
def has_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every processor computes in bfloat16, some of them slowly."""
    monkeypatch.setattr(networks, "computes_bfloat16", lambda device: True)


@pytest.fixture
def num_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def _probabilities(network: torch.nn.Module, volume: torch.Tensor, domain: str) -> torch.Tensor:
    inferer = SlicewiseInferer(roi_size=(32, 32), spatial_dim=2, sw_batch_size=16, domain=domain)
    return inferer(volume, network).softmax(dim=1)


@pytest.mark.usefixtures("has_bfloat16", "num_threads")
def test_bfloat16_is_near_float32_for_each_domain_and_the_same_for_any_number_of_threads(model: TrainedModel) -> None:
    volume = torch.randn(1, 1, 32, 32, 19)
    exact, rounded = (build_inference_network(model, checkpoint="", precision=each) for each in ("float32", "bfloat16"))
    for domain, classes in (("shoulder", 2), ("ankle", 3)):
        expected = _probabilities(exact, volume, domain)
        torch.set_num_threads(1)
        found = _probabilities(rounded, volume, domain)
        torch.set_num_threads(2)
        assert torch.equal(_probabilities(rounded, volume, domain), found)
        assert found.shape == (1, classes, 32, 32, 19)
        assert found.dtype == torch.float32
        assert 0 < float((found - expected).abs().max()) < 0.05
    assert not rounded.training  # so that the inferer folds it
    weights = [weight.dtype for weight in rounded.folded().parameters()]
    assert set(weights) == {torch.bfloat16}
    assert {weight.dtype for weight in rounded.parameters()} == {torch.float32}


@pytest.mark.usefixtures("has_bfloat16")
def test_an_ensemble_averages_probabilities_in_float32(model: TrainedModel) -> None:
    torch.manual_seed(1)
    other = MultiDomainUNet([3, 2], widths=[4, 8, 16], domain_names=["ankle", "shoulder"])
    members = [model, replace(model, weights=other.state_dict())]
    ensemble = replace(model, members=tuple(members))
    network = build_inference_network(ensemble, checkpoint="", precision="bfloat16")
    assert not network.training
    volume = torch.randn(1, 1, 32, 32, 3)
    each = [build_inference_network(member, checkpoint="", precision="bfloat16") for member in members]
    expected = sum(_probabilities(member, volume, "ankle") for member in each) / 2
    torch.testing.assert_close(_probabilities(network, volume, "ankle"), expected, rtol=0, atol=1e-6)


def test_a_device_without_bfloat16_and_an_unknown_precision_are_refused(
    model: TrainedModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict, raising=False)
    with pytest.raises(InputError, match=r"bfloat16 must run on .*, got device cpu without; use float32"):
        build_inference_network(model, checkpoint=tmp_path, precision="bfloat16")
    with pytest.raises(InputError, match="precision must be one of float32, bfloat16, int8, got 'half'"):
        build_inference_network(model, checkpoint=tmp_path, precision="half")
    assert precision_of("bfloat16", model=model, checkpoint=tmp_path) == "bfloat16"
