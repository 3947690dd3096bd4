import io
from collections.abc import Sequence

import pytest
import torch
from custom_components.networks.norms import DomainSpecificBatchNorm2d, group_by_domain
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

CHANNELS = 3
TOLERANCE = {"atol": 1e-5, "rtol": 1e-5}


def make_norm(num_domains: int, *, seed: int = 0) -> DomainSpecificBatchNorm2d:
    """A norm whose domains differ in every weight and statistic."""
    generator = torch.Generator().manual_seed(seed)
    norm = DomainSpecificBatchNorm2d(CHANNELS, num_domains)
    with torch.no_grad():
        for tensor in (*norm.parameters(), *norm.buffers()):
            if tensor.is_floating_point():
                tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
    return norm


def make_batch(domains: Sequence[int], *, seed: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(len(domains), CHANNELS, 4, 5, generator=generator)
    indices = torch.tensor(domains)
    return images * (1 + indices[:, None, None, None]) + indices[:, None, None, None], indices


def separate_norms(norm: DomainSpecificBatchNorm2d) -> list[nn.BatchNorm2d]:
    """Ordinary batch norms with the same weights and statistics, built without the module's own code."""
    separate = []
    for own in norm.norms:
        ordinary = nn.BatchNorm2d(CHANNELS, eps=1e-5, momentum=0.1)
        ordinary.load_state_dict(own.state_dict())
        separate.append(ordinary.train(norm.training))
    return separate


def check_against_separate_norms(num_domains: int, domains: Sequence[int], *, training: bool = True) -> None:
    norm = make_norm(num_domains).train(training)
    separate = separate_norms(norm)
    images, indices = make_batch(domains)
    weight = torch.randn(images.shape, generator=torch.Generator().manual_seed(2))
    mixed = images.clone().requires_grad_()
    output = norm(mixed, indices)
    (output * weight).sum().backward()

    apart = images.clone().requires_grad_()
    for domain in set(domains):
        mine = indices == domain
        expected = separate[domain](apart[mine])
        torch.testing.assert_close(output[mine], expected, **TOLERANCE)
        (expected * weight[mine]).sum().backward()
    torch.testing.assert_close(mixed.grad, apart.grad, **TOLERANCE)
    for own, ordinary in zip(norm.norms, separate, strict=True):
        torch.testing.assert_close(dict(own.named_buffers()), dict(ordinary.named_buffers()), **TOLERANCE)
        assert (own.weight.grad is None) == (ordinary.weight.grad is None)
        if own.weight.grad is not None:
            torch.testing.assert_close(own.weight.grad, ordinary.weight.grad, **TOLERANCE)
            torch.testing.assert_close(own.bias.grad, ordinary.bias.grad, **TOLERANCE)


def test_two_domains_by_hand() -> None:
    norm = DomainSpecificBatchNorm2d(1, 2, eps=1e-9)
    images = torch.tensor([0.0, 10, 2, 30]).reshape(4, 1, 1, 1)
    output = norm(images, torch.tensor([0, 1, 0, 1]))
    assert output.ravel().tolist() == pytest.approx([-1, -1, 1, 1])
    # Running mean: 0.9 * 0 + 0.1 * mean; running variance: 0.9 * 1 + 0.1 * unbiased variance (2 and 200).
    assert [own.running_mean.item() for own in norm.norms] == pytest.approx([0.1, 2.0])
    assert [own.running_var.item() for own in norm.norms] == pytest.approx([1.1, 20.9])


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("num_domains", [1, 2, 5, 64])
def test_every_sample_is_normalised_by_its_own_domain(num_domains: int, training: bool) -> None:
    domains = torch.arange(2 * num_domains + 1) % num_domains
    shuffled = domains[torch.randperm(len(domains), generator=torch.Generator().manual_seed(3))]
    check_against_separate_norms(num_domains, shuffled.tolist(), training=training)


@given(domains=st.lists(st.integers(0, 3), min_size=1, max_size=8), training=st.booleans())
@settings(max_examples=40)
def test_any_mixture_in_any_order_equals_separate_norms(domains: list[int], training: bool) -> None:
    check_against_separate_norms(5, domains, training=training)


@given(order=st.permutations(range(6)))
@settings(max_examples=20)
def test_permuting_the_batch_permutes_the_output(order: list[int]) -> None:
    images, domains = make_batch([0, 1, 1, 2, 0, 1])
    first, second = make_norm(3), make_norm(3)
    torch.testing.assert_close(
        first(images[order], domains[order]), second(images, domains)[order], atol=1e-5, rtol=1e-5
    )


def test_an_absent_domain_keeps_its_statistics_and_gets_no_gradient() -> None:
    norm = make_norm(3)
    before = {name: tensor.clone() for name, tensor in norm.norms[1].state_dict().items()}
    norm(*make_batch([0, 2, 2])).square().sum().backward()
    for name, tensor in norm.norms[1].state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert all(weight.grad is None for weight in norm.norms[1].parameters())
    assert all(weight.grad is not None for own in (norm.norms[0], norm.norms[2]) for weight in own.parameters())


def test_momentum_of_earlier_steps_does_not_move_an_absent_domain() -> None:
    norm = make_norm(2)
    optimizer = torch.optim.Adam(norm.parameters(), lr=0.1, weight_decay=0.1)

    def step(domains: Sequence[int]) -> None:
        optimizer.zero_grad(set_to_none=True)
        images, indices = make_batch(domains)
        (norm(images, indices) - images).square().sum().backward()
        optimizer.step()

    start = norm.norms[1].weight.detach().clone()
    step([0, 1, 0, 1])
    after_momentum = [weight.detach().clone() for weight in norm.norms[1].parameters()]
    assert not torch.equal(after_momentum[0], start)
    present = norm.norms[0].weight.detach().clone()
    for _ in range(3):
        step([0, 0, 0])
    for weight, before in zip(norm.norms[1].parameters(), after_momentum, strict=True):
        assert torch.equal(weight, before)
    assert not torch.equal(norm.norms[0].weight, present)


@pytest.mark.parametrize("unknown", [-1, 2, 100])
def test_an_unknown_domain_is_refused(unknown: int) -> None:
    norm = make_norm(2)
    images, _ = make_batch([0, 1, 0])
    before = {name: tensor.clone() for name, tensor in norm.state_dict().items()}
    with pytest.raises(ValueError, match=rf"domain index must be 0\.\.1, got {unknown}; add the domain"):
        norm(images, torch.tensor([0, unknown, 0]))
    torch.testing.assert_close(dict(norm.state_dict()), before, rtol=0, atol=0)


def test_other_errors() -> None:
    images, _ = make_batch([0, 1, 0])
    with pytest.raises(ValueError, match=r"domains must hold one index a sample \(3\), got 2"):
        make_norm(2)(images, torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="num_domains must be at least 1, got 0"):
        DomainSpecificBatchNorm2d(CHANNELS, 0)


def test_weights_travel_through_a_safe_load() -> None:
    norm = make_norm(3)
    buffer = io.BytesIO()
    torch.save(norm.state_dict(), buffer)
    buffer.seek(0)
    loaded = DomainSpecificBatchNorm2d(CHANNELS, 3)
    loaded.load_state_dict(torch.load(buffer, weights_only=True))
    images, domains = make_batch([2, 0, 1, 2])
    assert torch.equal(loaded.eval()(images, domains), norm.eval()(images, domains))


def test_an_added_domain_copies_one_and_leaves_the_others() -> None:
    norm = make_norm(2).eval()
    images, domains = make_batch([0, 1, 1, 0])
    before = norm(images, domains)
    assert norm.add_domain(like=1) == 2
    assert torch.equal(norm(images, domains), before)
    ones = torch.ones(4, dtype=torch.int64)
    assert torch.equal(norm(images, 2 * ones), norm(images, ones))
    with torch.no_grad():
        norm.norms[2].weight.mul_(2)
    assert torch.equal(norm(images, domains), before), "the copy must not share memory"


@pytest.mark.parametrize("training", [True, False])
def test_memory_format_does_not_change_values(training: bool) -> None:
    images, domains = make_batch([1, 0, 1, 0])
    channels_last = images.contiguous(memory_format=torch.channels_last)
    outputs = [make_norm(2).train(training)(form, domains) for form in (images, channels_last)]
    torch.testing.assert_close(outputs[0], outputs[1], atol=1e-5, rtol=1e-5)


@given(domains=st.lists(st.integers(0, 4), min_size=1, max_size=12))
def test_groups_are_stable_and_complete(domains: list[int]) -> None:
    order, groups = group_by_domain(torch.tensor(domains), 5)
    assert order.tolist() == sorted(range(len(domains)), key=lambda index: domains[index])
    assert groups == [(domain, domains.count(domain)) for domain in sorted(set(domains))]


def test_grouped_forward_takes_groups_in_batch_order() -> None:
    images, domains = make_batch([1, 1, 0])
    torch.testing.assert_close(make_norm(2).forward_grouped(images, [(1, 2), (0, 1)]), make_norm(2)(images, domains))
