import copy
from functools import partial

import pytest
import torch
from custom_components.networks.joined_norms import can_join, normalise_parts
from custom_components.networks.norms import DomainSpecificBatchNorm2d
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

CHANNELS = 5


def make_norms(count: int, dtype: torch.dtype = torch.float32) -> list[nn.BatchNorm2d]:
    """Norms that differ in every weight and statistic."""
    generator = torch.Generator().manual_seed(0)
    norms = [nn.BatchNorm2d(CHANNELS, momentum=0.2).to(dtype) for _ in range(count)]
    with torch.no_grad():
        for norm in norms:
            for tensor in (*norm.parameters(), norm.running_mean, norm.running_var):
                tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
    return norms


def run(
    function: object, x: Tensor, sizes: list[int], norms: list[nn.BatchNorm2d], above: Tensor
) -> dict[str, Tensor | None]:
    """Output, gradients and statistics."""
    x = x.clone().requires_grad_()
    output = function(x, sizes, norms)  # type: ignore[operator]
    output.backward(above)
    found = {"output": output.detach(), "x": x.grad}
    for number, norm in enumerate(norms):
        found |= {f"{number} {name}": weight.grad for name, weight in norm.named_parameters()}
        found |= {f"{number} {name}": buffer for name, buffer in norm.named_buffers()}
    return found


def one_after_another(x: Tensor, sizes: list[int], norms: list[nn.BatchNorm2d], *, relu: bool) -> Tensor:
    outputs = [norm(part) for norm, part in zip(norms, x.split(sizes), strict=True)]
    return torch.cat([torch.relu(output) if relu else output for output in outputs])


@given(
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=5),
    shape=st.sampled_from([(1, 2), (3, 4), (8, 8), (17, 5)]),
    memory_format=st.sampled_from([torch.contiguous_format, torch.channels_last]),
    # The norm of a half precision image has weights in single precision, as under autocast.
    dtypes=st.sampled_from([(torch.float32,) * 2, (torch.float64,) * 2, (torch.bfloat16, torch.float32)]),
    relu=st.booleans(),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60)
def test_to_the_bit_what_the_norms_give_one_after_another(
    sizes: list[int],
    shape: tuple[int, int],
    memory_format: torch.memory_format,
    dtypes: tuple[torch.dtype, torch.dtype],
    relu: bool,
    seed: int,
) -> None:
    generator = torch.Generator().manual_seed(seed)
    x, above = (
        torch.randn((sum(sizes), CHANNELS, *shape), generator=generator).to(dtypes[0], memory_format=memory_format)
        for _ in range(2)
    )
    norms = make_norms(len(sizes), dtypes[1])
    expected = run(partial(one_after_another, relu=relu), 3 + x, sizes, copy.deepcopy(norms), above)
    found = run(partial(normalise_parts, relu=relu), 3 + x, sizes, norms, above)
    for name, tensor in expected.items():
        assert torch.equal(tensor, found[name]), name
        assert tensor.dtype == found[name].dtype, name


def test_memory_format_is_kept() -> None:
    x = torch.randn(4, CHANNELS, 3, 4).contiguous(memory_format=torch.channels_last).requires_grad_()
    output = normalise_parts(x, [1, 3], make_norms(2), relu=True)
    output.backward(torch.ones_like(output))
    assert output.is_contiguous(memory_format=torch.channels_last)
    assert x.grad.is_contiguous(memory_format=torch.channels_last)


def test_gradients_are_those_of_finite_differences() -> None:
    norms = make_norms(2, torch.float64)
    x = torch.randn(3, CHANNELS, 2, 2, dtype=torch.float64, requires_grad=True)
    weights = [weight for norm in norms for weight in norm.parameters()]
    assert torch.autograd.gradcheck(lambda x, *_: normalise_parts(x, [2, 1], norms, relu=False), (x, *weights))


def test_images_and_weights_may_be_frozen() -> None:
    x, norms = torch.randn(3, CHANNELS, 2, 2), make_norms(2)
    norms[0].requires_grad_(False)
    normalise_parts(x, [1, 2], norms, relu=False).sum().backward()
    assert norms[0].weight.grad is None
    assert norms[1].bias.grad.tolist() == [8.0] * CHANNELS


def test_only_ordinary_norms_in_training_are_joined() -> None:
    x, norms = torch.rand(2, CHANNELS, 2, 2), make_norms(2)
    assert can_join(x, norms)
    assert not can_join(x[:, :, :1, :1], norms)
    assert not can_join(x.to("meta"), norms)
    assert not can_join(x, [norms[0], norms[1].eval()])
    assert not can_join(x, [norms[0], nn.SyncBatchNorm(CHANNELS)])


def test_a_norm_that_stands_still_uses_and_keeps_its_statistics_beside_one_that_learns() -> None:
    norm = DomainSpecificBatchNorm2d(CHANNELS, 2)
    norm.norms[0].eval()
    x = 7 + torch.randn(4, CHANNELS, 3, 3)
    output = norm(x, torch.tensor([0, 0, 1, 1]))
    torch.testing.assert_close(output[:2], x[:2], atol=1e-3, rtol=0)
    assert output[2:].mean().item() == pytest.approx(0, abs=1e-5)
    assert not norm.norms[0].running_mean.any()


def test_a_single_value_has_no_variance() -> None:
    with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
        DomainSpecificBatchNorm2d(CHANNELS, 2)(torch.rand(3, CHANNELS, 1, 1), torch.tensor([0, 1, 1]))
