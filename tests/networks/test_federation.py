from typing import Any

import pytest
import torch
from custom_components.errors import InputError
from custom_components.networks.federation import SharedLayers, domain_state, load_shared, shared_state
from custom_components.networks.unet import MultiDomainUNet
from torch import nn

WIDTHS = [4, 6, 8]


def make_network(num_classes: list[int], *, seed: int = 0, **settings: Any) -> MultiDomainUNet:
    """A small network none of whose tensors equals another's."""
    network = MultiDomainUNet(num_classes, **({"widths": WIDTHS} | settings))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=generator))
    return network


@pytest.mark.parametrize("num_classes", [[4], [4, 3]])
@pytest.mark.parametrize("attention", [False, True])
def test_shared_and_domain_tensors_are_disjoint_and_together_everything(
    attention: bool, num_classes: list[int]
) -> None:
    network = make_network(num_classes, attention=attention)
    shared, own = shared_state(network), domain_state(network)
    assert not shared.keys() & own.keys()
    assert shared.keys() | own.keys() == network.state_dict().keys()
    for name, tensor in (shared | own).items():
        assert torch.equal(tensor, network.state_dict()[name]), name


@pytest.mark.parametrize(("attention", "num_shared"), [(False, 24), (True, 38)])
def test_shared_are_the_convolutions_but_the_output_layer(attention: bool, num_shared: int) -> None:
    network = make_network([4, 3], attention=attention)
    convolutions = {
        f"{name}.{each}"
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and module not in set(network.heads)
        for each, _ in module.named_parameters()
    }
    assert shared_state(network).keys() == convolutions
    assert len(convolutions) == num_shared  # by hand: 5 blocks of 4 and 2 upsamplings of 2; 7 more for a gate


@pytest.mark.parametrize("attention", [False, True])
def test_sites_with_different_bones_share_names_and_shapes(attention: bool) -> None:
    shapes = [
        {name: tensor.shape for name, tensor in state.items()}
        for state in (
            shared_state(make_network([4], attention=attention)),
            shared_state(make_network([3], attention=attention)),
            shared_state(make_network([4, 3, 2], attention=attention)),
            SharedLayers(widths=WIDTHS, attention=attention).state_dict(),
        )
    ]
    assert all(each == shapes[0] for each in shapes)


def test_what_is_sent_is_a_copy() -> None:
    network = make_network([4])
    sent = shared_state(network)
    name = next(iter(sent))
    before = sent[name].clone()
    with torch.no_grad():
        network.get_parameter(name).add_(1)
    assert torch.equal(sent[name], before)
    assert not sent[name].requires_grad


def test_layers_of_a_network_in_another_memory_format_cross_alike() -> None:
    network = make_network([4])
    expected = shared_state(network)
    sent = shared_state(network.to(memory_format=torch.channels_last))
    assert all(tensor.is_contiguous() and torch.equal(tensor, expected[name]) for name, tensor in sent.items())
    load_shared(network, sent)
    assert network.get_parameter("bottleneck.conv1.weight").is_contiguous(memory_format=torch.channels_last)


def test_loading_changes_the_shared_layers_and_nothing_else() -> None:
    ankle, shoulder = make_network([4], seed=0), make_network([3], seed=1)
    parameters = [id(weight) for weight in shoulder.parameters()]
    own = domain_state(shoulder)
    load_shared(shoulder, shared_state(ankle))
    assert [id(weight) for weight in shoulder.parameters()] == parameters  # an optimizer still has them
    for name, tensor in shared_state(ankle).items():
        assert torch.equal(shoulder.state_dict()[name], tensor), name
    for name, tensor in own.items():
        assert torch.equal(shoulder.state_dict()[name], tensor), name


def test_average_of_two_sites_with_equal_norms_and_heads_is_the_average_of_their_networks() -> None:
    first, second = make_network([4], seed=0), make_network([4], seed=1)
    with torch.no_grad():
        for name, tensor in domain_state(first).items():
            second.state_dict()[name].copy_(tensor)
    mean = {name: (tensor + shared_state(second)[name]) / 2 for name, tensor in shared_state(first).items()}
    whole = {name: (tensor + second.state_dict()[name]) / 2 for name, tensor in first.state_dict().items()}
    load_shared(first, mean)
    images = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(2))
    expected = MultiDomainUNet([4], widths=WIDTHS)
    expected.load_state_dict(whole)
    assert torch.equal(first.eval()(images), expected.eval()(images))


def test_server_starts_from_a_seed_alone() -> None:
    state = torch.random.get_rng_state()
    first, again, other = (SharedLayers(widths=WIDTHS, seed=seed).state_dict() for seed in (3, 3, 4))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize("function", [shared_state, domain_state])
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"norm": "shared"}, "norm must be 'domain' .* got 'shared'.*; train with norm: domain"),
        ({"head": "shared"}, "head must be 'domain' .* got 'shared'.*; train with head: domain"),
        ({"norm": "shared", "head": "shared"}, "norm must be 'domain'"),
        ({"norm": "folded"}, "norm must be 'domain' .* got 'folded'"),
    ],
)
def test_network_without_parts_of_its_own_is_refused(function: Any, settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        function(make_network([4], **settings))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("bottleneck.conv1.bias"), r"got 1 too few \(bottleneck.conv1.bias\) and 0 too many"),
        (lambda state: state.update({"heads.0.bias": torch.zeros(4)}), r"0 too few \(none\) and 1 too many \(heads.0"),
        (lambda state: state.clear(), r"24 too few \(bottleneck.conv1.bias, .*, \.\.\.\)"),
        (lambda state: state.update({"bottleneck.conv1.bias": torch.zeros(9)}), r"must be \(8,\) .* got \(9,\)"),
        (lambda state: state.update({"bottleneck.conv1.bias": torch.zeros(8).half()}), "got .* of torch.float16"),
        (lambda state: state["bottleneck.conv1.bias"].fill_(torch.nan), "must be finite, got NaN"),
    ],
)
def test_what_does_not_fit_is_refused_whole(change: Any, message: str) -> None:
    network = make_network([4], seed=0)
    state = shared_state(make_network([3], seed=1))
    change(state)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(InputError, match=message):
        load_shared(network, state)
    assert all(torch.equal(network.state_dict()[name], tensor) for name, tensor in before.items())


def test_layers_of_other_widths_or_gates_are_refused() -> None:
    with pytest.raises(InputError, match="all sites need the same widths and attention"):
        load_shared(make_network([4]), SharedLayers(widths=[4, 6]).state_dict())
    with pytest.raises(InputError, match="14 too many"):
        load_shared(make_network([4]), SharedLayers(widths=WIDTHS, attention=True).state_dict())
