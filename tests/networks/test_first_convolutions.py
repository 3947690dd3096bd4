"""First convolutions of domains with different channels: whose weights see which image, and who owns them."""

import io

import pytest
import torch
from custom_components.errors import InputError
from custom_components.networks.federation import SharedLayers, domain_state, shared_state
from custom_components.networks.first_convolutions import FirstConvolutions, spread_channels
from custom_components.networks.folding import fold_network
from custom_components.networks.forwards import EmbeddingForward
from custom_components.networks.parameters import count_parameters
from custom_components.networks.unet import MultiDomainUNet
from torch.nn.functional import conv2d

FIRST = "encoder.0.conv1"


def make_network(in_channels: object = (1, 2), **settings: object) -> MultiDomainUNet:
    """A network of two domains whose norms have statistics of their own."""
    torch.manual_seed(0)
    given = in_channels if isinstance(in_channels, int) else list(in_channels)
    network = MultiDomainUNet([3, 2], widths=[4, 8], in_channels=given, domain_names=["ankle", "dixon"], **settings)
    with torch.no_grad():
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape))
    return network.eval()


def test_each_domain_has_its_own_by_hand() -> None:
    first = FirstConvolutions([2, 2], 3)
    images = torch.rand(5, 2, 6, 6)
    expected = [
        conv2d(images[part], own.weight, own.bias, padding=1)
        for part, own in zip((slice(0, 3), slice(3, 5)), first.convs, strict=True)
    ]
    torch.testing.assert_close(first(images, [(0, 3), (1, 2)]), torch.cat(expected))
    torch.testing.assert_close(first(images[:3], [(1, 3)]), conv2d(images[:3], *first.convs[1].parameters(), padding=1))


def test_slices_of_different_channels_pass_as_each_alone() -> None:
    network = make_network()
    images = [torch.rand(2, 1, 8, 8), torch.rand(3, 2, 8, 8)]
    logits, embedding = EmbeddingForward(network)(images, torch.tensor([0, 0, 1, 1, 1]))
    assert embedding.shape == (5, 8)
    for domain, (own, image) in enumerate(zip(logits, images, strict=True)):
        network.set_domain(domain)
        torch.testing.assert_close(own[:, : [3, 2][domain]], network(image))


def test_weights_of_one_domain_do_not_reach_another() -> None:
    network, image = make_network([2, 2]), torch.rand(2, 2, 8, 8)
    before = network(image, torch.tensor([0, 1]))
    with torch.no_grad():
        network.encoder[0].conv1.convs[1].weight.add_(1)
    after = network(image, torch.tensor([0, 1]))
    assert torch.equal(before[0], after[0])
    assert not torch.equal(before[1], after[1])


def test_they_count_as_the_domains_own() -> None:
    shared, own = make_network(1), make_network((1, 2))
    for domain, channels in enumerate((1, 2)):
        shared.set_domain(domain)
        own.set_domain(domain)
        more = 9 * channels * 4 + 4
        assert count_parameters(own)[1] == count_parameters(shared)[1] + more
    assert count_parameters(own)[0] == count_parameters(shared)[0] + 9 * 2 * 4 + 4


def test_a_network_is_built_again_from_its_settings_and_folds_and_scripts() -> None:
    network, image = make_network(), torch.rand(2, 2, 8, 8)
    again = MultiDomainUNet(**network.settings()).eval()
    again.load_state_dict(network.state_dict())
    for each in (network, again):
        each.set_domain("dixon")
    expected = network(image)
    assert torch.equal(again(image), expected)
    torch.testing.assert_close(fold_network(network)(image), expected, rtol=1e-4, atol=1e-4)
    stored = io.BytesIO()
    torch.jit.save(torch.jit.script(network), stored)
    stored.seek(0)
    torch.testing.assert_close(torch.jit.load(stored)(image), expected)


def test_sites_of_different_channels_share_all_but_their_first_convolutions() -> None:
    site = make_network()
    first = {name for name in site.state_dict() if name.startswith(FIRST)}
    assert len(first) == 4
    assert first <= domain_state(site).keys()
    assert not first & shared_state(site).keys()
    assert SharedLayers(widths=[4, 8], in_channels=[1]).state_dict().keys() == shared_state(site).keys()


@pytest.mark.parametrize("like", [0, 1])
def test_a_domain_with_other_channels_leaves_the_others_as_they_were(like: int) -> None:
    network, image = make_network(1), torch.rand(2, 1, 8, 8)
    before = [network(image, torch.tensor([domain, domain])) for domain in range(2)]
    weight = torch.rand(4, 2, 3, 3)
    index = network.add_domain(4, name="water-fat", like=like, first=weight)
    assert network.settings()["in_channels"] == [1, 1, 2]
    network.eval()
    for domain in range(2):
        after = network(image, torch.tensor([domain, domain]))
        assert torch.equal(after[:, : before[domain].shape[1]], before[domain])
    assert torch.equal(network.encoder[0].conv1.convs[index].weight, weight)
    network.set_domain(index)
    assert network(torch.rand(2, 2, 8, 8)).shape == (2, 4, 8, 8)
    network.add_domain(2, name="like it", like=index)
    assert network.settings()["in_channels"] == [1, 1, 2, 2]
    assert torch.equal(network.encoder[0].conv1.convs[3].weight, weight)


def test_alike_channels_keep_the_features_of_one() -> None:
    weight, image = torch.rand(3, 4, 3, 3), torch.rand(1, 3, 6, 6)
    position = torch.rand(1, 1, 6, 6)
    spread = spread_channels(weight, num_slices=3, num_positions=1, num_images=2)
    assert spread.shape == (3, 7, 3, 3)
    expected = conv2d(torch.cat([image, position], 1), weight)
    torch.testing.assert_close(conv2d(torch.cat([image, image, position], 1), spread), expected)
    back = spread_channels(spread, num_slices=3, num_positions=1, num_images=1)
    torch.testing.assert_close(back, weight)


def test_unfitting_arguments_are_refused() -> None:
    with pytest.raises(InputError, match="norm must be 'domain' for domains with different channels, got 'shared'"):
        make_network(norm="shared")
    with pytest.raises(InputError, match=r"in_channels must be one number for each of 2 domains, got \[1, 2, 3\]"):
        make_network([1, 2, 3])
