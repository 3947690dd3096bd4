"""Whether a scan looks like a domain, and the choice of a domain."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from custom_components.errors import InputError
from custom_components.inference.domain_fit import (
    AUTO,
    FitDomaind,
    choose_domain,
    judge_fit,
    named_domain,
    norm_distance,
)
from custom_components.inference.inferers import spread_slices
from custom_components.inference.transforms import ReadVolumed, StackSlicesd
from custom_components.models.checkpoints import build_network
from custom_components.models.trained_model import QUALITY, TrainedModel
from custom_components.networks.folding import fold_network
from custom_components.networks.means import MeanNetwork
from custom_components.networks.norms import DomainSpecificBatchNorm2d
from custom_components.networks.unet import MultiDomainUNet
from custom_components.quality.calibration import DomainQuality
from support.models import make_model
from torch import Tensor, nn


def knowing(model: TrainedModel, **farthest: float) -> TrainedModel:
    quality = {name: DomainQuality(None, {}, 3, value).to_dict() for name, value in farthest.items()}
    return replace(model, training={QUALITY: quality})


@pytest.fixture
def model() -> TrainedModel:
    """Its norms know of each domain what white noise of another size makes of its features."""
    model = make_model()
    network = build_network(model)
    for number, domain in enumerate(model.domains):
        remember(network, domain.name, noise(number))
    return knowing(replace(model, weights=network.state_dict()), ankle=0.05, shoulder=0.05)


def noise(kind: int, seed: int = 0) -> Tensor:
    """Slices (1, 16, 16, 40) of deviation 1 at the finest resolution, coarse ones for kind 1."""
    size = (16, 16, 40) if kind == 0 else (4, 4, 40)
    fine = torch.randn(1, *size, generator=torch.Generator().manual_seed(seed))
    slices = nn.functional.interpolate(fine.movedim(-1, 0), size=(16, 16), mode="nearest").movedim(0, -1)
    return (slices - slices.mean()) / slices.std()


def remember(network: MultiDomainUNet, domain: str, slices: Tensor) -> None:
    """Set the domain's running statistics to those of the slices, by PyTorch's own training mode."""
    network.set_domain(domain)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    network.train()
    with torch.no_grad():
        network(slices.movedim(-1, 0))
    network.eval()


def test_distance_by_hand() -> None:
    """One feature map a norm, twice as spread as the norm remembers: (ln 4) squared at each of them."""
    torch.manual_seed(0)
    network = MultiDomainUNet([2, 2], widths=[2, 4], attention=False, domain_names=["ankle", "knee"]).eval()
    slices = torch.randn(1, 4, 4, 8, generator=torch.Generator().manual_seed(0))
    remember(network, "knee", slices)
    assert norm_distance(network, slices, domain="knee") == pytest.approx(
        0, abs=2e-3
    )  # PyTorch remembers n / (n - 1) of it
    network.set_domain("ankle")
    for module in network.decoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_var /= 4
            module.eps = 0.0
    last = network.decoder[-1].norm2.norms[1]
    assert isinstance(last, nn.BatchNorm2d)
    found = norm_distance(network, slices, domain="knee")
    assert found is not None
    assert found > np.log(4) ** 2 / 2  # exactly so at the first norm, and at least there
    assert network.domain == 0


def test_a_network_without_norms_tells_nothing(model: TrainedModel) -> None:
    assert norm_distance(fold_network(build_network(model)), noise(0), domain="ankle") is None
    assert norm_distance(nn.Identity(), noise(0), domain="ankle") is None


def test_the_distance_does_not_depend_on_the_scans_unit_or_the_number_of_its_slices(model: TrainedModel) -> None:
    network = build_network(model)
    once = norm_distance(network, noise(0, seed=1)[..., :8], domain="ankle")
    assert norm_distance(network, noise(0, seed=1)[..., :8].repeat_interleave(2, -1), domain="ankle") == once
    assert norm_distance(network, noise(0, seed=1)[..., :1], domain="ankle") is not None


@pytest.mark.parametrize(("size", "blocks"), [(192, [1] * 8), (100, [3, 3, 2])])
def test_large_slices_are_judged_in_blocks_and_give_the_variance_of_all(size: int, blocks: list[int]) -> None:
    torch.manual_seed(0)
    network = MultiDomainUNet([2, 2], widths=[2, 4], domain_names=["ankle", "knee"]).eval()
    slices = torch.randn(1, size, size, 8) * torch.arange(1, 9) + torch.arange(8)  # each of another mean and spread
    norms = [each.norms[1] for each in network.decoder.modules() if isinstance(each, DomainSpecificBatchNorm2d)]
    expected, sizes = [], []

    def take(norm: nn.Module, inputs: tuple[Tensor]) -> None:
        sizes.append(len(inputs[0]))
        logarithm = torch.log((inputs[0].var((0, 2, 3), correction=0) + 1e-5) / (1 + 1e-5))
        expected.append(logarithm.square().mean())

    hooks = [norm.register_forward_pre_hook(take) for norm in norms]
    network.set_domain("knee")
    with torch.no_grad():
        network(slices.movedim(-1, 0))
    assert sizes == [8] * len(norms)
    by_hand = float(torch.stack(expected).mean())
    found = norm_distance(network, slices, domain="knee")
    assert found == pytest.approx(by_hand, rel=1e-5)
    assert sizes[len(norms) :] == [number for number in blocks for _ in norms]
    for hook in hooks:
        hook.remove()
    torch.set_num_threads(2)
    try:
        assert norm_distance(network, slices, domain="knee") == found
    finally:
        torch.set_num_threads(1)


def test_what_fits_is_said_and_what_does_not(model: TrainedModel) -> None:
    near, far = judge_fit(model, "ankle", {"ankle": 0.0749}), judge_fit(model, "ankle", {"ankle": 0.0751})
    assert (near, far) == ({"times": 1.5, "fits": True}, {"times": 1.5, "fits": False})
    assert judge_fit(model, "ankle", {"ankle": 0.4, "shoulder": 0.02}) == {
        "times": 8.0, "fits": False, "like": "shoulder",
    }  # fmt: skip
    assert "like" not in judge_fit(model, "ankle", {"ankle": 0.4, "shoulder": 0.08})
    assert judge_fit(model, "ankle", {"ankle": None}) == {"times": None, "fits": None}
    old = [judge_fit(make_model(), "ankle", {"ankle": 0.4, "shoulder": other}) for other in (0.19, 0.21)]
    assert old == [{"times": None, "fits": False, "like": "shoulder"}, {"times": None, "fits": None}]


def test_the_nearest_domain_is_chosen_if_it_is_near_and_alone(model: TrainedModel) -> None:
    def choose(model: TrainedModel, ankle: float | None, shoulder: float | None) -> str:
        return choose_domain(model, {"ankle": ankle, "shoulder": shoulder}, scan="a.nii")

    assert choose(model, 0.03, 0.4) == "ankle"
    assert choose(model, 0.4, 0.07) == "shoulder"
    assert choose(knowing(model, ankle=0.01, shoulder=1.0), 0.014, 0.02) == "shoulder"  # as a share of its own
    with pytest.raises(InputError, match=r"scan a\.nii must look like a domain of the model, got none \(ankle 2\.00, "):
        choose(model, 0.1, 0.2)
    with pytest.raises(InputError, match=r"must look like one domain of the model, got ankle and shoulder alike"):
        choose(model, 0.03, 0.04)
    with pytest.raises(InputError, match=r"domain of a\.nii must be named, got auto for a network without norms"):
        choose(model, None, None)
    old = make_model()
    assert choose(old, 5.0, 10.1) == "ankle"
    with pytest.raises(InputError, match="got ankle and shoulder alike"):
        choose(old, 5.0, 9.9)


def test_a_name_goes_before_the_choice() -> None:
    model = make_model()
    assert named_domain(model, AUTO) is None
    assert named_domain(model, "ankle") == "ankle"
    with pytest.raises(InputError, match="domain must be one of ankle, shoulder, got 'knee'"):
        named_domain(model, "knee")
    with pytest.raises(InputError, match="domain must be one of ankle, shoulder, got None"):
        named_domain(model, None)
    called_auto = replace(model, domains=(model.domains[0], replace(model.domains[1], name=AUTO)))
    assert named_domain(called_auto, AUTO) == AUTO


@pytest.fixture
def scan(model: TrainedModel, tmp_path: Path) -> dict[str, Any]:
    """A file of the second domain's kind; both domains look at it alike."""
    voxels = noise(1, seed=5)[0].numpy()
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), tmp_path / "scan.nii")
    return ReadVolumed("image")({"image": tmp_path / "scan.nii", "name": "scan"})


def test_a_scan_is_cut_as_before_and_judged(model: TrainedModel, scan: dict[str, Any]) -> None:
    network = build_network(model)
    sure = knowing(model, ankle=1e9, shoulder=1e9)
    named = FitDomaind("image", model=sure, network=network, domain="shoulder")(scan)
    plain = StackSlicesd("image", model=model, domain="shoulder")(scan)
    assert torch.equal(named["image"], plain["image"])
    assert named["domain_fit"] == {"times": 0.0, "fits": True}
    far = knowing(model, ankle=1e9, shoulder=1e-9)
    fit = FitDomaind("image", model=far, network=network, domain="shoulder")(scan)["domain_fit"]
    assert (fit["fits"], fit["like"]) == (False, "ankle")


@pytest.mark.parametrize("domain", ["shoulder", AUTO])
def test_logits_of_the_judged_slices_are_passed_on(model: TrainedModel, scan: dict[str, Any], domain: str) -> None:
    sure = knowing(model, ankle=1e-9, shoulder=1e9)
    for num_threads in (1, 2):
        torch.set_num_threads(num_threads)
        network = build_network(sure, domain="ankle")
        item = FitDomaind("image", model=sure, network=network, domain=domain)(scan)
        network.set_domain("shoulder")
        images = item["image"][..., spread_slices(item["image"].shape[-1])].movedim(-1, 0).contiguous()
        with torch.no_grad():
            torch.testing.assert_close(item["answers"], network(images))
        several = FitDomaind("image", model=sure, network=MeanNetwork([network, network]), domain=domain)(scan)
        assert "answers" not in several
    torch.set_num_threads(1)


def test_auto_sets_the_domain_of_the_item(model: TrainedModel, scan: dict[str, Any]) -> None:
    sure = knowing(model, ankle=1e9, shoulder=1e-9)
    item = FitDomaind("image", model=sure, network=build_network(model), domain=AUTO)(scan)
    assert item["domain"] == "ankle"
    assert item["domain_fit"]["asked"] == AUTO
    assert torch.equal(item["image"], StackSlicesd("image", model=model, domain="ankle")(scan)["image"])
    with pytest.raises(InputError, match=r"scan scan\.nii must look like a domain of the model, got none"):
        FitDomaind("image", model=knowing(model, ankle=1e-9, shoulder=1e-9), network=build_network(model), domain=AUTO)(
            scan
        )


def test_an_older_model_says_once_that_it_cannot_judge(scan: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    old = make_model()
    item = FitDomaind("image", model=old, network=build_network(old), domain="shoulder")(scan)
    assert item["domain_fit"]["times"] is None
    [line] = caplog.messages
    assert line.startswith("this model does not state how far its own scans are from shoulder: a scan is flagged only ")
