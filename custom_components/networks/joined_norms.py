"""Batch norm and ReLU of each domain's part of a batch, written in place of being concatenated afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

_through_norm = torch.ops.aten.native_batch_norm_backward.default
_through_relu = torch.ops.aten.threshold_backward.grad_input


def can_join(x: Tensor, norms: Sequence[nn.Module]) -> bool:
    """Whether `normalise_parts` gives the same bits as the norms one after another.

    On a GPU the norms are cuDNN's, which round otherwise. A compiler avoids the copies by itself.
    """
    return (
        x.device.type == "cpu"
        and x.shape[2] * x.shape[3] > 1  # else a part may be a single value, which nn.BatchNorm2d refuses
        and not torch.compiler.is_compiling()
        and all(type(norm) is nn.BatchNorm2d and norm.training for norm in norms)
    )


def normalise_parts(x: Tensor, sizes: Sequence[int], norms: Sequence[Any], *, relu: bool) -> Tensor:
    """Normalise each part of a batch (N, C, H, W) by the norm of its domain, with the same bits as part by part.

    `sizes` are the numbers of samples of the parts. Their norms, each an `nn.BatchNorm2d` in training mode, update
    their running statistics.
    """
    # The plain way, `torch.cat([norm(part) for ...])`, copies the whole batch at every layer, and its gradient in the
    # backward pass. Here PyTorch's own kernels write each part into its place in one output. The ReLU comes directly
    # after the norm of a part, while the part is still in the processor's cache.
    torch._foreach_add_([norm.num_batches_tracked for norm in norms], 1)
    weights = [norm.weight for norm in norms]
    return _NormaliseParts.apply(x, sizes, norms, relu, *weights, *(norm.bias for norm in norms))


class _NormaliseParts(Function):
    """The kernels of `nn.BatchNorm2d` and `nn.ReLU`, a part at a time."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, sizes: Sequence[int], norms: Sequence[Any], relu: bool, *weights_and_biases: Tensor
    ) -> Tensor:
        weights, biases = weights_and_biases[: len(norms)], weights_and_biases[len(norms) :]
        output = torch.empty_like(x)
        means, scales = weights[0].new_empty((2, len(norms), x.shape[1]))  # a scale is 1 / standard deviation
        parts = zip(
            *(x.split(sizes), output.split(sizes), norms, weights, biases),
            *(means.unbind(), scales.unbind()),
            strict=True,
        )
        for part, target, norm, weight, bias, mean, scale in parts:
            torch.native_batch_norm(
                *(part, weight, bias, norm.running_mean, norm.running_var, True, norm.momentum, norm.eps),
                out=(target, mean, scale),
            )
            if relu:
                target.relu_()
        ctx.save_for_backward(x, output if relu else None, means, scales, *weights)
        ctx.sizes, ctx.eps = sizes, [norm.eps for norm in norms]
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, output, means, scales, *weights = ctx.saved_tensors
        whole = torch.empty_like(x)
        outputs = [None] * len(weights) if output is None else output.split(ctx.sizes)
        to_weights, to_biases = [], []
        parts = zip(
            *(gradient.split(ctx.sizes), outputs, x.split(ctx.sizes), whole.split(ctx.sizes), weights),
            *(means.unbind(), scales.unbind(), ctx.eps),
            strict=True,
        )
        for above, out, part, target, weight, mean, scale, eps in parts:
            if out is not None:
                above = _through_relu(above, out, 0, grad_input=target)
            to_part, to_weight, to_bias = _through_norm(
                above, part, weight, None, None, mean, scale, True, eps, (True, True, True)
            )
            target.copy_(to_part)
            del to_part  # before the next one is made
            to_weights.append(to_weight)
            to_biases.append(to_bias)
        return whole, None, None, None, *to_weights, *to_biases
