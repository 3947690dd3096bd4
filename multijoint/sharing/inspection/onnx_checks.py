"""Foreign ONNX files: files outside the bundle that they would read, and operators other than plain ONNX."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from multijoint.sharing.inspection.archives import open_plain
from multijoint.sharing.inspection.report import Concern

_MOST_BYTES = 2**28
_DOMAINS = {"", "ai.onnx"}
_MOST_NODES = 200_000
_MOST_NUMBERS = 2**32  # of one tensor
_MOST_SIDES = 16  # numbers of a tensor that may be a shape
_END = 2**62
_BITS = {"FLOAT": 32, "INT32": 32, "INT64": 64, "DOUBLE": 64, "FLOAT16": 16, "BFLOAT16": 16, "INT8": 8, "UINT8": 8}
_SCALED = ("Resize", "Upsample")
_INT8 = ".int8.onnx"
# Of this project's networks in int8, attention gates included: no branches, loops or functions.
_INT8_OPERATORS = {
    "Add", "Concat", "Conv", "ConvTranspose", "DequantizeLinear", "MaxPool", "Mul", "QuantizeLinear", "Relu", "Resize",
    "Sigmoid",
}  # fmt: skip


def check_onnx(path: Path, *, name: str) -> Iterator[Concern]:
    """Concerns about an ONNX file, which is parsed by the `onnx` package if that is installed, and never run.

    A file named `*.int8.onnx`, which `segment --precision int8` would run, may hold only operators of this project's
    networks.
    """
    with open_plain(path) as file:
        data = file.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        yield Concern("unsafe", "bomb", name, f"size bomb: over {_MOST_BYTES} bytes of ONNX")
        return
    try:
        import onnx
    except ImportError:
        yield from _check_bytes(data, name)
        return
    try:
        model = onnx.ModelProto.FromString(data)
        yield from _check_model(model, name)
    except Exception as error:  # protobuf raises other errors than ValueError
        yield Concern("unsafe", "onnx", name, f"not readable as ONNX: {type(error).__name__}")


def _check_model(model: Any, name: str) -> Iterator[Concern]:
    if not model.graph.node:
        yield Concern("unsafe", "onnx", name, "not an ONNX model: no operators")
    own = {function.domain for function in model.functions}
    if name.endswith(_INT8) and (own or model.training_info):
        yield Concern("unsafe", "onnx", name, "functions or training steps, which no int8 network of this project has")
    waiting: list[Any] = [model.graph, *model.functions, *(each.initialization for each in model.training_info)]
    counted = 0
    while waiting:
        graph = waiting.pop()
        tensors = list(getattr(graph, "initializer", ()))
        scales = {name for node in graph.node if node.op_type in _SCALED for name in node.input[1:]}
        quantised = {node.input[0] for node in graph.node if node.op_type == "DequantizeLinear"}
        quantised -= {name for node in graph.node for name in node.input[node.op_type == "DequantizeLinear" :]}
        for sparse in getattr(graph, "sparse_initializer", ()):
            tensors += [sparse.values, sparse.indices]
        for node in graph.node:
            counted += 1
            if counted > _MOST_NODES:
                yield Concern("unsafe", "bomb", name, f"size bomb: over {_MOST_NODES} operators")
                return
            if node.domain not in _DOMAINS | own or node.op_type.lower().startswith(("pyop", "python")):
                message = f"operator {node.op_type!r} of domain {node.domain!r} would run code that is not ONNX's"
                yield Concern("unsafe", "onnx", name, message)
            elif name.endswith(_INT8) and node.op_type not in _INT8_OPERATORS:
                message = f"operator {node.op_type!r}, which no int8 network of this project has"
                yield Concern("unsafe", "onnx", name, message)
            for attribute in node.attribute:
                for tensor in (*([attribute.t] if attribute.HasField("t") else []), *attribute.tensors):
                    tensor.name = tensor.name or "".join(node.output[:1])
                    tensors.append(tensor)
                if _product(attribute.ints) > _MOST_NUMBERS or _product(attribute.floats) > _MOST_NUMBERS:
                    message = f"size bomb: {attribute.name} of operator {node.op_type!r}"
                    yield Concern("unsafe", "bomb", name, message)
                waiting += [each for each in (attribute.g, *attribute.graphs) if each.node or each.initializer]
        for tensor in tensors:
            if tensor.external_data or tensor.data_location == 1:
                where = next((each.value for each in tensor.external_data if each.key == "location"), "?")
                yield Concern("unsafe", "onnx", name, f"tensor {tensor.name!r} is read from another file, {where!r}")
            elif problem := _size_problem(
                tensor, is_scale=tensor.name in scales, is_quantised=tensor.name in quantised
            ):
                yield Concern("unsafe", "bomb", name, f"{problem}: tensor {tensor.name!r} of {list(tensor.dims)[:8]}")
        for port in (*graph.input, *graph.output, *getattr(graph, "value_info", ())):
            sides = [] if isinstance(port, str) else [each.dim_value for each in port.type.tensor_type.shape.dim]
            if _product(sides) > _MOST_NUMBERS:
                yield Concern("unsafe", "bomb", name, f"size bomb: {port.name!r} has the shape {sides[:8]}")
    yield Concern(
        "note", "onnx", name, "ONNX is a program of plain operators: its results are whatever its maker chose"
    )


def _size_problem(tensor: Any, *, is_scale: bool, is_quantised: bool) -> str:
    """Fault of the size of a tensor, "" for none: more numbers than are there, or numbers that are a giant's shape.

    Shapes are data in ONNX: `ConstantOfShape`, `Expand` or `Resize` make what a few whole numbers say. Quantised
    weights, which only become fractions, are none.
    """
    from onnx import TensorProto, numpy_helper

    count = math.prod(tensor.dims)
    typed = (tensor.float_data, tensor.int32_data, tensor.int64_data, tensor.double_data, tensor.uint64_data)
    held = 8 * len(tensor.raw_data) // _BITS.get(TensorProto.DataType.Name(tensor.data_type), 2)
    if any(side < 0 for side in tensor.dims) or count > max(held, 8 * sum(map(len, typed)), len(tensor.string_data)):
        return "size lie"
    if count > _MOST_SIDES or tensor.data_type not in (TensorProto.INT64, TensorProto.INT32, TensorProto.FLOAT):
        return ""
    if is_quantised or (tensor.data_type == TensorProto.FLOAT and not is_scale):
        return ""
    return "size bomb" if _product(numpy_helper.to_array(tensor).reshape(-1)) > _MOST_NUMBERS else ""


def _product(numbers: Iterable[float]) -> float:
    """Product of what may be sides of a tensor; the end of a slice without end is none."""
    return math.prod(float(number) for number in numbers if 1 < number < _END)


def _check_bytes(data: bytes, name: str) -> Iterator[Concern]:
    if b"location" in data:
        yield Concern(
            "unsafe", "onnx", name, "speaks of a location, as weights in another file do; install onnx to see"
        )
    runs = name.endswith(_INT8) and importlib.util.find_spec("openvino") is not None
    remedy = "; `segment` could run it: pip install onnx" if runs else ""
    message = f"not looked into: the onnx package is not installed{remedy}"
    yield Concern("unsafe" if runs else "warning", "onnx", name, message)
