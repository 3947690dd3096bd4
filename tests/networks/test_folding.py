"""One domain taken out of a joint network, and its norms folded: the same logits."""

import pytest
import torch
from custom_components.errors import InputError
from custom_components.models.checkpoints import build_network, describe_model
from custom_components.models.single_domain import fold_domain, select_domain
from custom_components.models.trained_model import TrainedModel
from custom_components.networks.norms import DomainSpecificBatchNorm2d
from custom_components.networks.unet import MultiDomainUNet

DOMAINS = [
    {"name": "ankle", "labels": [[1, "calcaneus"], [2, "talus"], [3, "tibia"]], "plane": "axial", "modality": "MR"},
    {"name": "shoulder", "labels": [[1, "humerus"], [4, "scapula"]], "plane": "coronal", "modality": "MR"},
]


def make_model(**settings: object) -> TrainedModel:
    """A network whose norms have seen something, so that no statistic is 0 or 1."""
    torch.manual_seed(0)
    network = MultiDomainUNet([4, 3], widths=[4, 8, 8], domain_names=["ankle", "shoulder"], **settings)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 2)
            torch.nn.init.normal_(module.bias)
    network.train()
    for _ in range(3):
        network(3 * torch.randn(4, 1, 16, 16) + 1, torch.tensor([0, 1, 1, 0]))
    preprocessing = {"image_size": [16, 16], "normalization": "slice"}
    weights = network.state_dict()
    return describe_model(domains=DOMAINS, preprocessing=preprocessing, network=network.settings(), weights=weights)


@pytest.mark.parametrize("attention", [False, True])
@pytest.mark.parametrize("norm", ["domain", "shared"])
@pytest.mark.parametrize("domain", ["ankle", "shoulder"])
def test_logits_stay(norm: str, attention: bool, domain: str) -> None:
    model = make_model(norm=norm, attention=attention)
    x = torch.randn(5, 1, 16, 16)
    expected = build_network(model, domain=domain)(x)
    selected, folded = select_domain(model, domain), fold_domain(model, domain)
    assert torch.equal(build_network(selected)(x), expected)
    torch.testing.assert_close(build_network(folded)(x), expected, rtol=0, atol=1e-4)
    assert torch.equal(build_network(folded)(x).argmax(1), expected.argmax(1))
    for alone in (selected, folded):
        assert [each.name for each in alone.domains] == [domain]
        assert alone.preprocessing == model.preprocessing
    network = build_network(folded)
    assert not any(isinstance(module, DomainSpecificBatchNorm2d) for module in network.modules())
    assert set(network.state_dict()) == {name for name in selected.weights if "norm" not in name}


def test_what_is_alone_or_folded_already_is_left_as_it_is() -> None:
    selected = select_domain(make_model(), "shoulder")
    assert select_domain(selected, None) is selected
    folded = fold_domain(selected, None)
    assert fold_domain(folded, "shoulder") is folded


def test_errors() -> None:
    with pytest.raises(InputError, match="domain must be one of ankle, shoulder, got 'knee'"):
        fold_domain(make_model(), "knee")
    with pytest.raises(InputError, match="must have a head for each, got one for all; train head: domain"):
        select_domain(make_model(norm="shared", head="shared"), "ankle")
    with pytest.raises(InputError, match="norm 'folded' must have one domain, got 2; fold each by itself"):
        MultiDomainUNet([4, 3], widths=[4, 8], norm="folded")
