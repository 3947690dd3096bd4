"""Int8 networks of a packaged bundle: one ONNX file for each domain, run by OpenVINO instead of the float32 network."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from custom_components.domains import find_domain
from custom_components.errors import InputError
from custom_components.system.files import file_digest
from torch import Tensor, nn

if TYPE_CHECKING:
    from custom_components.models.trained_model import TrainedModel

_ONE_THREAD_A_SLICE = {
    "PERFORMANCE_HINT": "THROUGHPUT",
    "INFERENCE_PRECISION_HINT": "f32",  # of the parts that are not int8; a processor's bfloat16 would give other labels
    "ENABLE_CPU_PINNING": False,  # two processes would sit on the same cores
}


def int8_path(checkpoint: str | Path, domain: str) -> Path:
    """File of a domain's int8 network, in `models/` of a packaged bundle.

    Example:
        >>> int8_path("bundle/models/model.pt", "ankle").as_posix()
        'bundle/models/ankle.int8.onnx'
    """
    checkpoint = Path(checkpoint)
    return (checkpoint / "models" if checkpoint.is_dir() else checkpoint.parent) / f"{domain}.int8.onnx"


class QuantisedNetwork(nn.Module):
    """Int8 networks of a model behind the interface of `MultiDomainUNet`: one domain at a time, CPU, no gradients.

    Each image is computed alone on one thread, with as many images in parallel as PyTorch had threads when the object
    was made. So the logits do not depend on the number of threads or on the batch, to the last bit. Files are read as
    data; `multijoint inspect` checks which operations they hold. OpenVINO is imported without its telemetry.

    Args:
        model: domains, image size and, if read from the bundle, the digest of the weights.
        checkpoint: the packaged bundle, or its `models/model.pt`.
        domain: name of the domain to set; the first if None.

    Shape:
        (N, in_channels, rows, columns) float32 to (N, classes, rows, columns); rows and columns are the model's.

    Raises:
        InputError: OpenVINO or the file is missing, the file is damaged, or was made for other weights, another
            domain or another size.
    """

    def __init__(self, model: TrainedModel, *, checkpoint: str | Path, domain: str | None = None) -> None:
        super().__init__()
        self.domain_names = [each.name for each in model.domains]
        self.domain = 0 if domain is None else find_domain(model.domains, domain)
        self._model = model
        self._checkpoint = Path(checkpoint)
        self._num_threads = torch.get_num_threads()
        self._lock = threading.Lock()
        self._compiled: dict[int, tuple[Any, list[Any]]] = {}
        self._graphs = {self.domain: self._read(self.domain)}  # a fault is reported before the first scan is read

    def set_domain(self, domain: int | str) -> None:
        """Choose the domain, by index or name, that `network(x)` answers for."""
        self.domain = find_domain(self._model.domains, domain) if isinstance(domain, str) else int(domain)

    def forward(self, images: Tensor) -> Tensor:
        """Logits; see the class for shapes."""
        if images.device.type != "cpu":
            raise InputError(f"images for an int8 network must be on the CPU, got {images.device}; set device: cpu")
        size = [
            self._model.in_channels(self.domain_names[self.domain]),
            *self._model.preprocessing.size_of(self.domain_names[self.domain]),
        ]
        if list(images.shape[1:]) != size:
            raise ValueError(
                f"images must be of size {size}, got {list(images.shape[1:])}; set roi_size to the model's"
            )
        return torch.cat([self._infer(image) for image in images.detach().float().split(1)])

    def _infer(self, image: Tensor) -> Tensor:
        compiled, idle = self._ready(self.domain)
        try:
            request = idle.pop()  # a thread's own while it runs
        except IndexError:
            request = compiled.create_infer_request()
        try:
            return torch.from_numpy(request.infer([image.contiguous().numpy()])[0])
        finally:
            idle.append(request)

    def _ready(self, index: int) -> tuple[Any, list[Any]]:
        """The compiled network of a domain, and its idle inference requests."""
        from custom_components.inference.openvino_runtime import openvino_core

        with self._lock:
            if index not in self._compiled:
                # Compiled at the first use: its threads would not survive the fork of the reading processes.
                options = _ONE_THREAD_A_SLICE | {
                    "NUM_STREAMS": self._num_threads,
                    "INFERENCE_NUM_THREADS": self._num_threads,
                }
                graph = self._graphs.pop(index, None) or self._read(index)
                compiled = openvino_core().compile_model(graph, "CPU", options)
                # The first inference runs on this thread alone. OpenVINO looks up NumPy in it and releases Python's
                # lock while it holds another, so the first calls of two threads can deadlock.
                first = compiled.create_infer_request()
                first.infer([np.zeros(compiled.input().shape, dtype=np.float32)])
                self._compiled[index] = compiled, [first]
            return self._compiled[index]

    def _read(self, index: int) -> Any:
        """The graph of a domain, checked to belong to this model."""
        from custom_components.inference.openvino_runtime import openvino_core
        from custom_components.models.digests import digest_path, read_checked

        domain, core = self._model.domains[index], openvino_core()
        path = int8_path(self._checkpoint, domain.name)
        if not path.is_file() or not digest_path(path).is_file():
            raise InputError(
                f"precision int8 must have {path.name} and its .sha256 in a packaged bundle's models, got none; "
                "make it with multijoint package --int8, or use float32"
            )
        data, _ = read_checked(path)
        remedy = "package again with --int8"
        try:
            graph = core.read_model(data)
            stated = {key: graph.get_rt_info(["framework", key]).value for key in ("domain", "model_sha256")}
            shapes = [port.get_partial_shape() for port in (graph.input(), graph.output())]
            inner = [[shape[axis].get_length() for axis in (1, 2, 3)] for shape in shapes]
        except RuntimeError as error:
            raise InputError(f"{path.name} must be an int8 network of this project, got another; {remedy}") from error
        size = list(self._model.preprocessing.size_of(domain.name))
        expected = [[self._model.in_channels(domain.name), *size], [domain.num_classes, *size]]
        if stated["domain"] != domain.name or inner != expected:
            raise InputError(
                f"{path.name} must be of domain {domain.name}, {expected[0]} to {expected[1]}, got {stated['domain']}, "
                f"{inner[0]} to {inner[1]}; {remedy}"
            )
        if stated["model_sha256"] != self._digest():
            raise InputError(f"{path.name} must be of the weights beside it, got of others (trained since?); {remedy}")
        graph.reshape([1, *inner[0]])
        return graph

    def _digest(self) -> str:
        """SHA-256 of the float32 weights."""
        if self._model.digest:
            return self._model.digest
        path = self._checkpoint / "models" / "model.pt" if self._checkpoint.is_dir() else self._checkpoint
        return file_digest(path)
