"""Int8 networks for `quantised.QuantisedNetwork`, calibrated on slices that the network was trained on."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from custom_components.data.cases import Case
from custom_components.data.channels import network_channels, read_channels, stack_channels
from custom_components.domains import find_domain
from custom_components.errors import needs_extra, show_path
from custom_components.models.trained_model import TrainedModel
from torch import Tensor

from multijoint.sharing.packaging.exports import export_onnx, plain_bytes, quiet

NUM_SLICES = 32
"""Slices that a domain is calibrated on."""

_AT_ONCE = 4  # slices whose features are in memory together
_PERCENTILE = 99.999  # of what flows between two layers, by its absolute value
_GOLDEN = 0.6180339887498949  # its multiples spread over 0..1 without a period


def calibration_slices(model: TrainedModel, cases: Sequence[Case], *, domain: str) -> list[Tensor]:
    """`NUM_SLICES` preprocessed slices, spread over the cases and over the height of each; always the same ones.

    The cases, at least one, are of `domain` and the model was trained on them.

    Returns:
        Tensors (1, in_channels, rows, columns), float32.
    """
    plane, settings = model.domains[find_domain(model.domains, domain)].plane, model.preprocessing.for_domain(domain)
    places: dict[int, list[int]] = {}
    for number in range(NUM_SLICES):
        places.setdefault(number * len(cases) // NUM_SLICES, []).append(number)
    chosen: list[Tensor] = []
    for index, numbers in places.items():
        channels = read_channels(cases[index].images)
        arrays, affine = [channel.array for channel in channels], channels[0].affine
        name = show_path(cases[index].image)
        stacks = stack_channels(arrays, affine, plane=plane, settings=settings, name=name)
        slices = network_channels(stacks, affine=affine, shape=arrays[0].shape, plane=plane, settings=settings)
        chosen += [slices[int(number * _GOLDEN % 1 * len(slices))][None] for number in numbers]
    return chosen


def quantise(model: TrainedModel, *, domain: str, slices: Sequence[Tensor], digest: str) -> bytes:
    """An ONNX file of one domain that computes in int8; the same model and slices give the same bytes.

    Weights have one scale per channel. The values between two layers share one scale, which leaves out the largest of a
    hundred thousand values. The first convolution and the output layer stay float32: they cost nothing, and rounding
    the image and the logits moved the boundaries most. The file is used only beside float32 weights whose file has the
    SHA-256 `digest`.

    Shape:
        As `exports.export_onnx`.

    Raises:
        InputError: packages of `multijoint[onnx]` are missing.

    Source:
        Measured on lumbar spines and hippocampi, see `docs/how-to/int8.md`.
    """
    floating = export_onnx(model, domain=domain)
    with needs_extra("a network in int8", "onnx"):
        import onnx
        from onnxruntime.quantization import (
            CalibrationDataReader,
            CalibrationMethod,
            QuantFormat,
            QuantType,
            quantize_static,
        )

    class Slices(CalibrationDataReader):
        """Hands the slices out, a few at a time."""

        def __init__(self) -> None:
            self._left: Iterator[Tensor] = iter(slices)

        def __len__(self) -> int:
            return len(slices)

        def set_range(self, start_index: int, end_index: int) -> None:
            self._left = iter(slices[start_index:end_index])

        def get_next(self) -> dict[str, Any] | None:
            image = next(self._left, None)
            return None if image is None else {"image": image.numpy()}

    graph = onnx.ModelProto.FromString(floating).graph
    outer = {port.name for port in (*graph.input, *graph.output)}
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "float32.onnx"), Path(folder, "int8.onnx")
        source.write_bytes(floating)
        # Neither the progress of the calibration nor advice to optimise what has been folded concerns the user.
        with quiet("root"):
            quantize_static(
                source,
                target,
                Slices(),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.Percentile,
                nodes_to_exclude=[node.name for node in graph.node if outer & {*node.input, *node.output}],
                extra_options={"CalibPercentile": _PERCENTILE, "CalibStridedMinMax": _AT_ONCE},
            )
        quantised = onnx.ModelProto.FromString(target.read_bytes())
    plain = onnx.ModelProto.FromString(plain_bytes(quantised))
    for each in [each for each in plain.opset_import if each.domain]:  # none of their operators is used
        plain.opset_import.remove(each)
    onnx.helper.set_model_props(plain, {"domain": domain, "model_sha256": digest})
    return bytes(plain.SerializeToString(deterministic=True))
