"""Running statistics measured anew, against a direct computation over all slices."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from custom_components.data.datasets import SliceDataset
from custom_components.data.manifests import load_manifests
from custom_components.data.preprocessing import Preprocessing
from custom_components.domains import Domain
from custom_components.models.checkpoints import load_checkpoint, load_model
from custom_components.networks.norms import DomainSpecificBatchNorm2d
from custom_components.networks.unet import MultiDomainUNet
from custom_components.training.norm_statistics import measure_domains, measure_norms
from support.bundles import SMALL, Run
from torch import Tensor, nn


class OneLayer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolution, self.norm = nn.Conv2d(1, 3, kernel_size=3), DomainSpecificBatchNorm2d(3, num_domains=2)

    def forward(self, x: Tensor, domains: Tensor) -> Tensor:
        return self.norm(self.convolution(x), domains)


def batches(images: Tensor, *, domain: int) -> Iterator[tuple[Tensor, Tensor]]:
    for part in images.split([4, 2, 1]):
        yield part, torch.full((len(part),), domain)


def test_norm_of_a_domain_is_that_of_all_its_features() -> None:
    network = OneLayer()
    images = 100 + torch.randn(7, 1, 8, 6) * torch.arange(1, 8)[:, None, None, None]
    other = {name: tensor.clone() for name, tensor in network.state_dict().items() if "norms.0" in name}
    measure_norms(network, batches(images, domain=1))
    features = network.convolution.double()(images.double()).transpose(0, 1).flatten(1)
    norm = network.norm.norms[1]
    torch.testing.assert_close(norm.running_mean.double(), features.mean(dim=1), rtol=1e-6, atol=0)
    torch.testing.assert_close(norm.running_var.double(), features.var(dim=1), rtol=1e-5, atol=0)
    assert norm.num_batches_tracked == 0
    assert all(torch.equal(network.state_dict()[name], tensor) for name, tensor in other.items())
    assert network.training


def test_measuring_does_not_depend_on_what_was_there_before() -> None:
    """In a deep network: every norm is reached, and a second pass comes to the same bits."""
    network = MultiDomainUNet([2, 2], widths=[2, 4], attention=True)
    images = torch.randn(7, 1, 8, 8)
    start = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    measure_norms(network, batches(images, domain=1))
    once = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    changed = {name for name, tensor in once.items() if not torch.equal(tensor, start[name])}
    assert changed == {name for name in once if "norms.1.running_" in name}
    measure_norms(network, batches(images, domain=1))
    assert all(torch.equal(tensor, once[name]) for name, tensor in network.state_dict().items())


def test_an_error_leaves_the_statistics_as_they_were() -> None:
    network = OneLayer()

    def broken() -> Iterator[tuple[Tensor, Tensor]]:
        yield torch.rand(2, 1, 8, 8), torch.zeros(2, dtype=torch.long)
        raise OSError("gone")

    start = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(OSError, match="gone"):
        measure_norms(network, broken())
    assert all(torch.equal(tensor, start[name]) for name, tensor in network.state_dict().items())
    assert not network.norm.norms[0]._forward_pre_hooks


@pytest.fixture(scope="module")
def slices(manifests: dict[str, str]) -> tuple[SliceDataset, list[Domain]]:
    datasets = load_manifests(list(manifests.values()))
    domains = [dataset.domain for dataset in datasets]
    cases = [case for dataset in datasets for case in dataset.cases[:2]]

    def fail(_: Any) -> None:
        raise AssertionError("slices must not be augmented")

    return SliceDataset(cases, domains=domains, preprocessing=Preprocessing((32, 32)), transform=fail), domains


@pytest.mark.parametrize("norm", ["domain", "shared"])
def test_each_domain_is_measured_on_its_slices_without_augmentation(
    norm: str, slices: tuple[SliceDataset, list[Domain]]
) -> None:
    dataset, domains = slices
    network = MultiDomainUNet([domain.num_classes for domain in domains], widths=[2, 4], norm=norm)
    measure_domains(network, dataset, batch_size=5)
    first = network.encoder[0]
    inputs = torch.cat([images for (images,), *_ in dataset._stacks])[:, None]
    owners = torch.tensor(dataset.sample_domains)
    for number, own in enumerate(first.norm1.norms):
        features = first.conv1(inputs if norm == "shared" else inputs[owners == number]).detach().double()
        torch.testing.assert_close(own.running_mean.double(), features.mean(dim=(0, 2, 3)), rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(own.running_var.double(), features.transpose(0, 1).flatten(1).var(dim=1))


def test_a_training_ends_with_norms_measured_anew(
    manifests: dict[str, str], run_bundle: Run, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    settings = {**SMALL, "manifests": list(manifests.values()), "device": "cpu", "tensorboard": False}
    run_bundle("multijoint", ["train.yaml"], output_dir=str(tmp_path / "off"), **settings)
    with caplog.at_level("INFO"):
        run_bundle("multijoint", ["train.yaml"], output_dir=str(tmp_path / "on"), reestimate_norms=True, **settings)
    off, on = (load_model(tmp_path / name / "model.pt") for name in ("off", "on"))
    changed = {name for name, tensor in on.weights.items() if not torch.equal(tensor, off.weights[name])}
    assert changed == {name for name in on.weights if "running_" in name}
    assert on.training["norms_reestimated"]
    assert "norms_reestimated" not in off.training
    (line,) = (line for line in caplog.messages if line.startswith("norms re-estimated"))
    before, after = off.training["validation_dice"], on.training["validation_dice"]
    assert line == f"norms re-estimated: validation Dice {before:.4f} before, {after:.4f} after"
    last = [load_checkpoint(tmp_path / name / "last.pt")["model"] for name in ("off", "on")]
    assert all(torch.equal(tensor, last[1][name]) for name, tensor in last[0].items())
    # A run that has nothing left to do measures the same statistics again.
    run_bundle(
        "multijoint", ["train.yaml"], output_dir=str(tmp_path / "on"), reestimate_norms=True, resume=True, **settings
    )
    again = load_model(tmp_path / "on" / "model.pt")
    assert all(torch.equal(tensor, again.weights[name]) for name, tensor in on.weights.items())
