"""Make a TorchScript file; `exports.export_torchscript` runs this module in a separate process."""

from __future__ import annotations

import io
import sys
import warnings
from pathlib import Path

import torch
from custom_components.models.checkpoints import build_network, load_model

_LEFT_OUT = (".data/serialization_id", "byteorder", "version")  # which the writer adds by itself


def script(folder: Path, domain: str, names: list[str]) -> None:
    """Write `model.ts` into a folder with a `model.pt`, with some files of that folder inside."""
    network = build_network(load_model(folder / "model.pt"), domain=domain)
    files = {name: (folder / name).read_bytes() for name in names}
    stored = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # MONAI's consumers still ask for TorchScript
        torch.jit.save(torch.jit.script(network), stored, _extra_files=files)
    reader = torch._C.PyTorchFileReader(io.BytesIO(stored.getvalue()))
    # By its path, for tools look for what is inside under the name of the file.
    writer = torch._C.PyTorchFileWriter(str(folder / "model.ts"))
    for name in reader.get_all_records():
        if not name.endswith(".debug_pkl") and name not in _LEFT_OUT:
            content = reader.get_record(name)
            writer.write_record(name, content, len(content))
    writer.write_end_of_file()


if __name__ == "__main__":
    script(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
