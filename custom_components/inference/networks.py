"""The network of a trained model that segments, in the precision that was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from custom_components.errors import InputError
from custom_components.inference.int8 import QuantisedNetwork, int8_path
from custom_components.system.files import file_digest
from custom_components.system.number_formats import computes_bfloat16
from torch import nn

if TYPE_CHECKING:
    from custom_components.models.trained_model import TrainedModel
    from custom_components.networks.means import MeanNetwork
    from custom_components.networks.unet import MultiDomainUNet

PRECISIONS = ("float32", "bfloat16", "int8")


def build_inference_network(
    model: TrainedModel,
    *,
    checkpoint: str | Path | Sequence[str | Path],
    domain: str | None = None,
    precision: str = "float32",
    device: str | torch.device = "cpu",
    network: MultiDomainUNet | None = None,
) -> nn.Module:
    """Network of a trained model for inference: in evaluation mode, on `device`, set to `domain`.

    Args:
        model: the trained model, or the description that a packaged bundle holds.
        checkpoint: file or folder of the model: `model.pt` of a run, a packaged bundle, or its `models/model.pt`; or
            several of an ensemble.
        domain: name of a domain; the first if None.
        precision: "float32"; "bfloat16", with which convolutions are faster on devices that have it and the logits
            are less exact; or "int8" for the networks of a bundle packaged with `--int8`.
        device: device of the network; int8 networks run on a CPU only.
        network: float32 network that takes the checkpoint's weights, for a model that is only described; of an
            ensemble, the first one's.

    Returns:
        A `MultiDomainUNet`; a `MeanNetwork` for an ensemble or bfloat16; a `QuantisedNetwork` for int8.

    Raises:
        InputError: unknown precision or domain, a device without bfloat16, or see `QuantisedNetwork`.
    """
    if precision not in PRECISIONS:
        raise InputError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    if precision == "bfloat16" and not computes_bfloat16(torch.device(device)):
        raise InputError(
            "precision bfloat16 must run on a processor with AMX or AVX512-BF16, or a GPU of compute capability 8.0 or "
            f"later, got device {device} without; use float32"
        )
    if precision != "int8":
        if model.members:
            found: Any = _mean_network(model, checkpoint, domain, network).to(device)
        elif network is None:
            from custom_components.models.checkpoints import build_network

            found = build_network(model, domain=domain).to(device)
        else:
            from custom_components.models.checkpoints import load_weights

            found = load_weights(network, path=_only(checkpoint), device=device)
        return (found if precision == "float32" else _in_bfloat16(found)).eval()
    if model.members:
        raise InputError(f"precision int8 must be of one network, got an ensemble of {len(model.members)}; use float32")
    if torch.device(device).type != "cpu":
        raise InputError(f"precision int8 must run on a CPU, got device {device}; set device: cpu, or use float32")
    return QuantisedNetwork(model, checkpoint=_only(checkpoint), domain=domain)


def _mean_network(
    model: TrainedModel, checkpoint: str | Path | Sequence[str | Path], domain: str | None, first: nn.Module | None
) -> MeanNetwork:
    """The networks of an ensemble; described ones take their weights from the files of a packaged bundle."""
    from custom_components.models.checkpoints import build_network, load_weights, model_file
    from custom_components.networks.means import MeanNetwork
    from custom_components.networks.unet import MultiDomainUNet

    if first is None:
        return MeanNetwork([build_network(member, domain=domain) for member in model.members])
    networks: list[Any] = [first, *(MultiDomainUNet(**member.network) for member in model.members[1:])]
    for number, network in enumerate(networks, start=1):
        load_weights(network, path=model_file(_only(checkpoint), number))
    mean = MeanNetwork(networks)
    mean.set_domain(0 if domain is None else domain)
    return mean


def _in_bfloat16(network: MultiDomainUNet | MeanNetwork) -> MeanNetwork:
    from custom_components.networks.means import MeanNetwork

    members: Any = network.members if isinstance(network, MeanNetwork) else [network]
    return MeanNetwork(list(members), dtype=torch.bfloat16)


def precision_of(
    precision: str, *, model: TrainedModel, checkpoint: str | Path | Sequence[str | Path], domain: str | None = None
) -> str:
    """Precision as a record states it. For int8 it names the files by their digests, for calibrations differ."""
    if precision != "int8":
        return precision
    paths = [int8_path(_only(checkpoint), plane.name) for plane in model.planes(domain)]
    return " ".join(["int8", *(file_digest(path) for path in paths if path.is_file())])


def _only(checkpoint: str | Path | Sequence[str | Path]) -> str | Path:
    """The one path of a model that is no ensemble of files."""
    if isinstance(checkpoint, str | Path):
        return checkpoint
    if len(checkpoint) != 1:
        raise InputError(f"checkpoint must be one file here, got {len(checkpoint)}; give one, or float32 without int8")
    return checkpoint[0]
