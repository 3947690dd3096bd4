"""Statistics over several processes equal those of one batch; threads stand for the processes."""

import copy
from collections.abc import Callable, Sequence

import pytest
import torch
from custom_components.networks.norms import DomainSpecificBatchNorm2d, group_by_domain
from custom_components.networks.synchronised_norms import normalise_over_ranks
from torch import Tensor

CHANNELS = 3


def make_norm(dtype: torch.dtype = torch.float32) -> DomainSpecificBatchNorm2d:
    """Three domains that differ in every weight and statistic."""
    torch.manual_seed(0)
    norm = DomainSpecificBatchNorm2d(CHANNELS, 3).to(dtype)
    with torch.no_grad():
        for tensor in (*norm.parameters(), *norm.buffers()):
            if tensor.is_floating_point():
                tensor.copy_(0.5 + torch.rand(tensor.shape))
    return norm


def make_images(domains: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    scale = domains[:, None, None, None]
    return (torch.randn(len(domains), CHANNELS, 4, 5) * (1 + scale) + 3 * scale).to(dtype)


def test_two_processes_by_hand(in_threads: Callable) -> None:
    def work(rank: int) -> tuple[Tensor, Tensor, Tensor]:
        norm = DomainSpecificBatchNorm2d(1, 1, eps=1e-9)
        output = norm(torch.tensor([[0.0, 2.0], [4.0]][rank]).reshape(-1, 1, 1, 1), torch.zeros(2 - rank).long())
        return output, norm.norms[0].running_mean, norm.norms[0].running_var

    (first, *statistics), (second, *others) = in_threads(work, 2)
    # Values 0, 2 and 4: mean 2, biased variance 8/3, unbiased 4.
    assert [*first.ravel().tolist(), *second.ravel().tolist()] == pytest.approx([-(1.5**0.5), 0, 1.5**0.5], abs=1e-6)
    assert [value.item() for value in statistics] == pytest.approx([0.2, 1.3])
    assert statistics == others


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(
    "shares",
    [
        [[0, 0, 1, 1], [0, 0, 1]],
        [[0, 1, 0, 2], [1], [2, 2, 0]],  # a domain that some processes lack
        [[1, 1], [1]],  # domains that all lack
    ],
)
def test_shares_together_equal_the_whole_batch(
    shares: Sequence[list[int]], memory_format: torch.memory_format, in_threads: Callable
) -> None:
    domains = torch.tensor([domain for share in shares for domain in share])
    whole, norm = make_images(domains).requires_grad_(), make_norm()
    weight = torch.randn(whole.shape)
    expected = norm(whole, domains)
    (expected * weight).sum().backward()
    copies = [copy.deepcopy(make_norm()) for _ in shares]
    sizes = [len(share) for share in shares]
    parts = [part.detach().contiguous(memory_format=memory_format).requires_grad_() for part in whole.split(sizes)]

    def work(rank: int) -> Tensor:
        output = copies[rank](parts[rank], torch.tensor(shares[rank]))
        (output * weight.split(sizes)[rank]).sum().backward()
        return output.detach()

    outputs = in_threads(work, len(shares))
    torch.testing.assert_close(torch.cat(outputs), expected.detach())
    torch.testing.assert_close(torch.cat([part.grad for part in parts]), whole.grad)
    for rank, own in enumerate(copies):
        torch.testing.assert_close(dict(own.named_buffers()), dict(norm.named_buffers()))
        for domain, each in enumerate(own.norms):
            assert (each.weight.grad is None) == (domain not in shares[rank])
    for name, parameter in norm.named_parameters():
        grads = [own.get_parameter(name).grad for own in copies if own.get_parameter(name).grad is not None]
        assert bool(grads) == (parameter.grad is not None)
        if grads:
            torch.testing.assert_close(sum(grads), parameter.grad)


def test_memory_format_is_kept() -> None:
    domains = torch.tensor([0, 0, 1])
    images = make_images(domains).contiguous(memory_format=torch.channels_last).requires_grad_()
    output = normalise_over_ranks(images, group_by_domain(domains, 3)[1], make_norm().norms)
    output.backward(torch.ones_like(output))
    assert output.is_contiguous(memory_format=torch.channels_last)
    assert images.grad.is_contiguous(memory_format=torch.channels_last)


def test_statistics_stay_accurate_far_from_zero() -> None:
    domains = torch.tensor([0, 0, 1])
    images, norm = make_images(domains) + 1000, make_norm()
    normalise_over_ranks(images, group_by_domain(domains, 3)[1], norm.norms)
    expected = images[:2].double().transpose(0, 1).flatten(1).var(dim=1)
    before = make_norm().norms[0].running_var
    torch.testing.assert_close((norm.norms[0].running_var - 0.9 * before) / 0.1, expected.float(), rtol=1e-5, atol=1e-5)


def test_gradients_are_those_of_finite_differences() -> None:
    domains = torch.tensor([0, 0, 2])
    norm, groups = make_norm(torch.float64), group_by_domain(domains, 3)[1]
    images = make_images(domains, torch.float64)[:, :, :2, :2].requires_grad_()
    assert torch.autograd.gradcheck(lambda x: normalise_over_ranks(x, groups, norm.norms), images)


def test_half_precision_is_normalised_in_single() -> None:
    domains = torch.tensor([0, 1, 1])
    images, groups = make_images(domains).bfloat16(), group_by_domain(domains, 3)[1]
    half = images.clone().requires_grad_()
    output = normalise_over_ranks(half, groups, make_norm().norms)
    output.float().square().sum().backward()
    expected = normalise_over_ranks(images.float(), groups, make_norm().norms)
    assert half.grad.dtype == output.dtype == torch.bfloat16
    assert torch.equal(output, expected.bfloat16())


def test_evaluation_is_not_synchronised(in_threads: Callable) -> None:
    domains = torch.tensor([0, 1, 2])
    images = make_images(domains)

    def work(rank: int) -> Tensor | None:  # the second process does not come: a sum would wait for it
        return None if rank else make_norm().eval()(images, domains)

    assert torch.equal(in_threads(work, 2)[0], make_norm().eval()(images, domains))
