"""Batch norm of each domain with its statistics over several processes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from custom_components.distributed import sum_over_ranks
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable


def normalise_over_ranks(x: Tensor, groups: Sequence[tuple[int, int]], norms: Iterable[nn.Module]) -> Tensor:
    """Batch norm of each domain with the mean and variance of its samples in ALL processes.

    Running statistics are updated alike in all processes, also where a domain has no sample. Two small all-reduces
    forward, one backward, whatever the number of domains. `nn.SyncBatchNorm` knows no domains and no CPU. The batch
    (N, C, H, W) is contiguous by domain; `groups` are those of `norms.group_by_domain`, and `norms` hold an
    `nn.BatchNorm2d` of each domain, in training mode.

    Source:
        Chan, Golub and LeVeque 1979: squared deviations from a common mean, out of each image's own mean and variance.
    """
    every = [norm for norm in norms if isinstance(norm, nn.BatchNorm2d)]
    index = torch.tensor([domain for domain, count in groups for _ in range(count)], device=x.device)
    count, mean, variance = _statistics(x.detach(), index, len(every))
    for domain, norm in enumerate(every):
        _update_running(norm, count[domain], mean[domain], variance[domain])
    here = {domain for domain, _ in groups}  # a domain without a sample gets no gradient, instead of zeros
    weight, bias = (
        torch.stack([own if domain in here else own.detach() for domain, own in enumerate(weights)])
        for weights in ([norm.weight for norm in every], [norm.bias for norm in every])
    )
    return _Normalise.apply(x, weight, bias, index, count, mean, (variance + every[0].eps).rsqrt())


def _statistics(x: Tensor, index: Tensor, num_domains: int) -> tuple[Tensor, Tensor, Tensor]:
    """Number of values (K, 1), mean and biased variance (K, C) of each domain in all processes, in double precision."""
    # Each image is reduced to its mean and variance first, in its own precision. Only these few numbers are summed over
    # images and processes, in double precision, so that no sum of squares of pixels cancels.
    spread, center = (part.double() for part in torch.var_mean(_wide(x), dim=(2, 3), correction=0))
    pixels = x.shape[2] * x.shape[3]
    member = _membership(index, num_domains)
    sums = sum_over_ranks(pixels * torch.cat([member @ center, member.sum(dim=1, keepdim=True)], dim=1))
    count = sums[:, -1:]
    mean = sums[:, :-1] / count.clamp(min=1)
    squares = sum_over_ranks(pixels * (member @ (spread + (center - mean[index]).square())))
    return count, mean, squares / count.clamp(min=1)


def _update_running(norm: nn.BatchNorm2d, count: Tensor, mean: Tensor, variance: Tensor) -> None:
    present = count > 0  # stays on the device: asking here would wait for the GPU at every layer
    unbiased = variance * count / (count - 1).clamp(min=1)
    for running, newest in ((norm.running_mean, mean), (norm.running_var, unbiased)):
        assert running is not None  # our norms always track
        running.lerp_(torch.where(present, newest.to(running.dtype), running), norm.momentum or 0.0)
    if norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(present[0])


class _Normalise(Function):
    """weight (x - mean) scale + bias, whose mean and scale = 1 / sqrt(variance + eps) depend on x in all processes."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, index: Tensor, count: Tensor, mean: Tensor, scale: Tensor
    ) -> Tensor:
        ctx.save_for_backward(x, weight, index, count, mean, scale)
        slope = weight.double() * scale
        wide = _wide(x)  # first operand everywhere: the result takes its memory format
        return (wide * _each(slope, index, wide)).add_(_each(bias - mean * slope, index, wide)).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        # As for an ordinary batch norm: the part of the gradient along the mean and along the normalised input is taken
        # off, since both depend on every sample of the domain, in all processes.
        x, weight, index, count, mean, scale = ctx.saved_tensors
        member = _membership(index, len(count))
        wide = _wide(gradient)
        unit = (_wide(x) - _each(mean, index, wide)).mul_(_each(scale, index, wide))
        to_bias = member @ wide.sum(dim=(2, 3)).double()
        to_weight = member @ (wide * unit).sum(dim=(2, 3)).double()
        mean_bias, mean_weight = sum_over_ranks(torch.stack([to_bias, to_weight])) / count.clamp(min=1)
        to_x = (wide - _each(mean_bias, index, wide)).sub_(unit.mul_(_each(mean_weight, index, wide)))
        to_x.mul_(_each(weight.double() * scale, index, wide))
        return to_x.to(x.dtype), to_weight.to(weight.dtype), to_bias.to(weight.dtype), None, None, None, None


def _wide(x: Tensor) -> Tensor:
    """At least single precision."""
    return x if x.dtype == torch.float64 else x.float()


def _membership(index: Tensor, num_domains: int) -> Tensor:
    """(K, N), 1 where the sample is of the domain: a product with it adds up in a fixed order, unlike `index_add`."""
    return (index == torch.arange(num_domains, device=index.device)[:, None]).double()


def _each(table: Tensor, index: Tensor, like: Tensor) -> Tensor:
    """Rows (K, C) of a table for each sample, (N, C, 1, 1)."""
    return table[index].to(like.dtype)[:, :, None, None]
