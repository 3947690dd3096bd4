"""The mean of several networks, worked out by hand from their own answers."""

import torch
from custom_components.inference.inferers import SlicewiseInferer
from custom_components.networks.means import MeanNetwork
from custom_components.networks.unet import MultiDomainUNet
from support.networks import BATCHES, THREADS, make_network


def members() -> tuple[list[MultiDomainUNet], torch.Tensor]:
    """Two networks of different widths, unlike each other, and a volume."""
    (first, volume), (second, _) = (make_network(size=16, widths=widths) for widths in ([4, 8], [6, 8]))
    return [first, second], volume


def test_the_mean_is_that_of_the_members_probabilities_in_each_domain() -> None:
    networks, volume = members()
    mean = MeanNetwork(networks)
    images = volume[0].movedim(-1, 0)[:3]
    for domain, classes in enumerate((4, 3)):
        mean.set_domain(domain)
        assert mean.domain == domain
        answers = []
        for network in networks:
            network.set_domain(domain)
            answers.append(network(images).softmax(dim=1))
        assert answers[0].shape[1] == classes
        torch.testing.assert_close(mean(images).exp(), (answers[0] + answers[1]) / 2)
        torch.testing.assert_close(mean.folded()(images), mean(images), atol=1e-4, rtol=1e-4)
    assert mean.domain_names == networks[0].domain_names


def test_an_impossible_class_has_a_finite_logarithm() -> None:
    network = make_network(size=16, widths=[4, 8])[0]
    with torch.no_grad():
        network.heads[0].bias[1] = -1000
    assert bool(MeanNetwork([network, network])(torch.zeros(1, 1, 8, 8)).isfinite().all())


def test_the_inferer_gives_the_same_bits_for_every_number_of_threads_and_batches() -> None:
    networks, volume = members()
    found = []
    try:
        for threads in THREADS:
            torch.set_num_threads(threads)
            for batch in BATCHES:
                inferer = SlicewiseInferer(roi_size=(16, 32), spatial_dim=2, sw_batch_size=batch)
                found.append(inferer(volume, MeanNetwork(networks)))
    finally:
        torch.set_num_threads(1)
    assert all(torch.equal(found[0], each) for each in found[1:])
