"""Domain-specific norms against plain batch norms: time and memory of a training step of the whole network."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from custom_components.networks.unet import MultiDomainUNet

from multijoint.benchmarks.fixtures import Workplace, run_command
from multijoint.benchmarks.rows import Row, Target, interleave

_BATCH = 32  # as in paper.yaml


def domain_specific_norm(place: Workplace) -> Iterator[Row]:
    """Forward and backward pass of the default network on a batch of 2 and of 16 domains, against plain batch norms.

    Memory is the rise of a process's peak during a step, weights and gradients already allocated; each network has a
    separate process. A RuntimeError is raised if the two networks differ on a batch of one domain.
    """
    n, size = place.choose(5), place.choose(64, 32)  # in small images, norms take more of the time
    for num_domains, time_limit in ((2, 1.03), (16, 1.08)):
        name = f"dsbn K={num_domains}, {_BATCH} slices of {size} x {size}"
        networks = [_network(num_domains, norm) for norm in ("domain", "shared")]
        images, domains = torch.rand(2, 1, 32, 32), torch.zeros(2, dtype=torch.int64)
        with torch.no_grad():
            one, other = (network(images, domains) for network in networks)
        if not torch.equal(one, other):
            raise RuntimeError(f"on one domain both norms must agree, got a difference of {(one - other).abs().max()}")
        steps = [_step(network, num_domains, size) for network in networks]
        ours, peer = interleave(*steps, repetitions=n, warm_up=place.choose(2))
        yield Row(f"{name}, time", ours, peer, "s", n, Target(time_limit))
        # Freed memory must leave the process, or the peak depends on the order of the allocated sizes.
        env = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
        code = "from multijoint.benchmarks.norms import print_peak_memory as peak; peak({}, {!r}, {})"
        commands = [[sys.executable, "-c", code.format(num_domains, norm, size)] for norm in ("domain", "shared")]
        ours, peer = (float(run_command(command, env=env).split()[-1]) for command in commands)
        yield Row(f"{name}, memory", ours, peer, "MiB", 1, Target(1.05))


def print_peak_memory(num_domains: int, norm: str, size: int) -> None:
    """Print the rise of this process's peak memory in a training step, in MiB; to be run in a new process."""
    network = _network(num_domains, norm)
    _step(network, num_domains, size // 2)()  # allocates the gradients
    before = _peak_mib()
    _step(network, num_domains, size)()
    sys.stdout.write(f"{_peak_mib() - before}\n")


def _network(num_domains: int, norm: str) -> MultiDomainUNet:
    torch.manual_seed(0)
    network = MultiDomainUNet([3] * num_domains, norm=norm)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _step(network: MultiDomainUNet, num_domains: int, size: int) -> Callable[[], None]:
    """A forward and a backward pass on a batch sorted by domain, as the sampler makes it."""
    torch.manual_seed(0)
    images = torch.randn(_BATCH, 1, size, size).contiguous(memory_format=torch.channels_last)
    above = torch.randn(_BATCH, 3, size, size).contiguous(memory_format=torch.channels_last)
    domains, weights = torch.arange(_BATCH) * num_domains // _BATCH, list(network.parameters())

    def step() -> None:
        for weight in weights:
            weight.grad = None
        network(images, domains).backward(above)

    return step


def _peak_mib() -> float:
    """Peak memory of this program; that of `resource` includes the process that started it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 2**10
