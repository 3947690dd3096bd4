"""Weights in the forms that other programs run: TorchScript with the configurations inside, and ONNX a domain."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from custom_components.errors import InputError, needs_extra
from custom_components.models.checkpoints import build_network, save_checkpoint
from custom_components.models.single_domain import fold_domain
from custom_components.models.trained_model import TrainedModel

_OPSET = 20


def export_torchscript(model: TrainedModel, *, domain: str, files: Mapping[str, bytes]) -> bytes:
    """A TorchScript file whose module answers for `domain`; the same model and files give the same bytes.

    Attributes `domain` (an index) and `domain_names` let a program choose another. What TorchScript keeps for debugging
    is left out: it holds paths of the machine. A separate process makes the file, because the order of some lines in it
    depends on how Python hashes text and on what has been compiled before.
    `files` are kept inside by name, such as `inference.json`.
    """
    environment = os.environ | {"PYTHONHASHSEED": "0", "PYTHONPATH": str(Path(__file__).parents[3])}
    with tempfile.TemporaryDirectory() as folder:
        save_checkpoint(Path(folder, "model.pt"), model)
        for name, content in files.items():
            Path(folder, name).write_bytes(content)
        command = [sys.executable, "-m", "multijoint.sharing.packaging.scripting", folder, domain, *files]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise InputError(f"network must be exportable as TorchScript, got {reason}; report it")
        return Path(folder, "model.ts").read_bytes()


def export_onnx(model: TrainedModel, *, domain: str) -> bytes:
    """An ONNX file of one domain, its norms folded into the convolutions; the same model gives the same bytes.

    Shape:
        `image` (batch, in_channels, rows, columns) float32 to `pred` (batch, classes, rows, columns), logits; the image
        size is the model's, the batch is free.

    Raises:
        InputError: the packages of `multijoint[onnx]` are missing.
    """
    with needs_extra("an export to ONNX", "onnx"):
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    network = build_network(fold_domain(model, domain))
    example = torch.zeros(2, model.in_channels(domain), *model.preprocessing.size_of(domain))
    with warnings.catch_warnings(), quiet("torch.onnx", "onnxscript", "onnx_ir"):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network,
            (example,),
            dynamo=True,
            opset_version=_OPSET,
            input_names=["image"],
            output_names=["pred"],
            dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
            verbose=False,
        )
    if program is None:
        raise InputError("network must be exportable to ONNX, got nothing from the exporter; report it")
    return plain_bytes(program.model_proto)


def plain_bytes(proto: Any) -> bytes:
    """An ONNX model as bytes, without names of source files and other metadata."""
    graph = proto.graph
    ports = [*graph.input, *graph.output]
    for part in (proto, graph, *graph.node, *graph.initializer, *graph.value_info, *ports):
        del part.metadata_props[:]
    for part in (*graph.node, *ports):
        part.doc_string = ""
    return bytes(proto.SerializeToString(deterministic=True))


@contextlib.contextmanager
def quiet(*names: str) -> Iterator[None]:
    """Keep what these loggers say below an error, and all that is printed, from the user."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
