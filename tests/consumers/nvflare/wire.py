"""What crosses between a site and the server: written down at both ends, and stopped at the site if it must not go."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from custom_components.networks.federation import SharedLayers
from nvflare.apis.dxo import DXO
from nvflare.apis.filter import ContentBlockedException, Filter
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable

RECORD = "wire.jsonl"  # in the folder of the job, of the site or of the server


class SharedLayersOnly(Filter):
    """Write down every array in a message, wherever in it, and let none pass but the shared layers.

    At a site it stands behind everything that makes a message, so that what it lets pass is what leaves; at the server
    before everything that reads one. A hospital would set it in its own `privacy.json`, out of reach of a job.

    Args:
        end: "sent" at a site or "received" at the server.
        layers: arguments of `SharedLayers`, whose names and shapes may pass.
    """

    def __init__(self, end: str, layers: dict[str, Any]) -> None:
        super().__init__()
        self.end = end
        self.layers = layers

    def process(self, shareable: Shareable, fl_ctx: FLContext) -> Shareable:
        """Record the message and pass it on.

        Raises:
            ContentBlockedException: there is an array in it that is not a shared layer.
        """
        site = fl_ctx.get_identity_name() if self.end == "sent" else fl_ctx.get_peer_context().get_identity_name()
        task = fl_ctx.get_prop("__task_name__") or shareable.get_header("__task_name__")
        arrays = list(find_arrays(shareable))
        run = Path(fl_ctx.get_engine().get_workspace().get_run_dir(fl_ctx.get_job_id()))
        with (run / RECORD).open("a") as file:
            message = {"end": self.end, "site": site, "task": task, "arrays": [describe(*each) for each in arrays]}
            file.write(json.dumps(message) + "\n")
        self.refuse_others(arrays)
        return shareable

    def refuse_others(self, arrays: list[tuple[str, Any]]) -> None:
        """Raise where an array is not a shared layer."""
        allowed = {name: tuple(tensor.shape) for name, tensor in SharedLayers(**self.layers).state_dict().items()}
        foreign = [name for name, array in arrays if allowed.get(name) != tuple(np.shape(array))]
        if foreign:
            raise ContentBlockedException(f"only shared layers may cross, got {', '.join(foreign)}")


def find_arrays(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every array, tensor and string of bytes in a message, with the key it stands under."""
    if isinstance(value, torch.Tensor | np.ndarray | np.generic | bytes | bytearray | memoryview):
        yield name, value
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from find_arrays(each, str(key))
    elif isinstance(value, list | tuple | set):
        for each in value:
            yield from find_arrays(each, name)
    elif isinstance(value, DXO):
        yield from find_arrays(vars(value), name)


def describe(name: str, array: Any) -> dict[str, Any]:
    """Name, shape, type and digest of an array."""
    tensor = isinstance(array, torch.Tensor)
    return {
        "name": name,
        "shape": list(np.shape(array)),
        "dtype": str(array.dtype) if tensor else type(array).__name__,
        "digest": digest(array),
    }


def digest(array: Any) -> str:
    """SHA-256 of the values alone, whatever their shape."""
    data = array.detach().cpu().contiguous().numpy() if isinstance(array, torch.Tensor) else np.asarray(array)
    return hashlib.sha256(data.tobytes()).hexdigest()
