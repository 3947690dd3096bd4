import pytest
import torch
from custom_components.networks.blocks import AttentionGate, ConvBlock, OpenGate
from torch import Tensor, nn

TOLERANCE = {"atol": 1e-5, "rtol": 1e-5}


def randomise(module: nn.Module, *, seed: int = 0) -> nn.Module:
    """Give every weight and statistic a different value."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if tensor.is_floating_point():
                values = torch.rand(tensor.shape, generator=generator)
                tensor.copy_(0.5 + values if "running_var" in name else values - 0.4)
    return module


def conv_block_by_hand(block: ConvBlock, x: Tensor, domain: int) -> tuple[Tensor, Tensor]:
    """The block from plain functions, in evaluation mode: what follows the second convolution, and the end."""
    functional = nn.functional
    for conv, norm in ((block.conv1, block.norm1), (block.conv2, block.norm2)):
        own = norm.norms[domain]
        convolved = functional.conv2d(x, conv.weight, conv.bias, padding=1)
        scaled = (convolved - own.running_mean[:, None, None]) / torch.sqrt(own.running_var[:, None, None] + 1e-5)
        x = (scaled * own.weight[:, None, None] + own.bias[:, None, None]).clamp(min=0)
    return convolved, x


def test_conv_block_is_twice_convolution_norm_relu_of_the_own_domain() -> None:
    block = randomise(ConvBlock(2, 3, num_norms=2)).eval()
    images = torch.randn(3, 2, 5, 6, generator=torch.Generator().manual_seed(1))
    output = block(images, [(0, 1), (1, 2)])
    convolved = block.convolve(images, [(0, 1), (1, 2)])
    for rows, domain in ((slice(0, 1), 0), (slice(1, 3), 1)):
        expected_convolved, expected = conv_block_by_hand(block, images[rows], domain)
        torch.testing.assert_close(output[rows], expected, **TOLERANCE)
        torch.testing.assert_close(convolved[rows], expected_convolved, **TOLERANCE)


def test_attention_coefficient_by_hand() -> None:
    """One gate position over a 2x2 skip of one channel: the whole gate is arithmetic."""
    gate = AttentionGate(1, 1, num_norms=1).eval()
    with torch.no_grad():
        gate.theta.weight.copy_(torch.tensor([[[[1.0, 2], [3, 4]]]]))
        gate.phi.weight.fill_(10.0)
        gate.phi.bias.fill_(-5.0)
        gate.psi.weight.fill_(0.1)
        gate.psi.bias.fill_(-2.0)
        gate.output.weight.fill_(3.0)
        gate.output.bias.fill_(0.5)
        gate.norm.norms[0].weight.fill_(2.0)
        gate.norm.norms[0].bias.fill_(1.0)
    skip = torch.tensor([1.0, 0, 2, 1]).reshape(1, 1, 2, 2)
    # theta: 1 + 0 + 6 + 4 = 11; phi: 10 * 0.4 - 5 = -1; psi: 0.1 * 10 - 2 = -1; sigmoid(-1) = 0.2689414.
    attention = 0.2689414
    expected = [2 * (3 * attention * value + 0.5) / (1 + 1e-5) ** 0.5 + 1 for value in (1, 0, 2, 1)]
    output = gate(skip, torch.tensor([0.4]).reshape(1, 1, 1, 1), [(0, 1)])
    assert output.ravel().tolist() == pytest.approx(expected, abs=1e-5)


def test_attention_gate_equals_loops_over_pixels() -> None:
    gate = randomise(AttentionGate(2, 3, num_norms=2)).eval()
    generator = torch.Generator().manual_seed(2)
    skip, signal = torch.randn(2, 2, 4, 6, generator=generator), torch.randn(2, 3, 2, 3, generator=generator)
    output = gate(skip, signal, [(0, 1), (1, 1)])
    for sample in range(2):
        coarse = torch.zeros(2, 3)
        for row in range(2):
            for column in range(3):
                window = skip[sample, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
                projected = torch.stack([(gate.theta.weight[channel] * window).sum() for channel in range(2)])
                projected += gate.phi.weight[:, :, 0, 0] @ signal[sample, :, row, column] + gate.phi.bias
                squeezed = gate.psi.weight[0, :, 0, 0] @ projected.clamp(min=0) + gate.psi.bias[0]
                coarse[row, column] = 1 / (1 + torch.exp(-squeezed))
        own = gate.norm.norms[sample]
        for row in range(4):
            for column in range(6):
                # Twice as fine, pixel centres aligned: weights 3/4 and 1/4, the border repeated.
                near, far = (row // 2, column // 2), (row // 2 + 2 * (row % 2) - 1, column // 2 + 2 * (column % 2) - 1)
                far = (min(max(far[0], 0), 1), min(max(far[1], 0), 2))
                weight = (
                    9 * coarse[near] + 3 * coarse[near[0], far[1]] + 3 * coarse[far[0], near[1]] + coarse[far]
                ) / 16
                mixed = gate.output.weight[:, :, 0, 0] @ (skip[sample, :, row, column] * weight) + gate.output.bias
                expected = (mixed - own.running_mean) / torch.sqrt(own.running_var + 1e-5) * own.weight + own.bias
                torch.testing.assert_close(output[sample, :, row, column], expected, **TOLERANCE)


def test_open_gate_returns_the_skip() -> None:
    skip = torch.rand(1, 2, 4, 4)
    assert OpenGate()(skip, torch.rand(1, 4, 2, 2), [(0, 1)]) is skip
