"""The rules must be able to fail: each damaged copy of a bundle that passes must be refused for its cause."""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch


def edit(folder: Path, change: Callable[[dict], object]) -> None:
    """Change the metadata."""
    path = folder / "configs" / "metadata.json"
    metadata = json.loads(path.read_text())
    change(metadata)
    path.write_text(json.dumps(metadata, indent=2))


def drop_tensor(folder: Path) -> None:
    """Leave one tensor out of the weights."""
    path = folder / "models" / "model.pt"
    weights = torch.load(path, weights_only=True)
    del weights[next(iter(weights))]
    torch.save(weights, path)


def widen(metadata: dict) -> None:
    """Promise a channel that the network does not give."""
    metadata["network_data_format"]["outputs"]["pred"]["num_channels"] += 1


def append(folder: Path, name: str, text: str) -> None:
    """Add to a file."""
    path = folder / name
    path.write_text(path.read_text() + text)


# The damage, and how the line of the fault begins.
SPOILS: list[tuple[str, Callable[[Path], object], str]] = [
    ("a missing LICENSE", lambda folder: (folder / "LICENSE").unlink(), "files: LICENSE is missing"),
    ("no weights", lambda folder: (folder / "models" / "model.pt").unlink(), "files: models/model.pt is missing"),
    (
        "a version not in the changelog",
        lambda folder: edit(folder, lambda metadata: metadata.update(version="9.9.9")),
        "version: version 9.9.9 is not in the changelog",
    ),
    (
        "a field of a wrong type",
        lambda folder: edit(folder, lambda metadata: metadata.update(authors=["somebody"])),
        "verify_metadata: ValueError: ['somebody'] is not of type 'string'",
    ),
    (
        "a field left out",
        lambda folder: edit(folder, lambda metadata: metadata.pop("numpy_version")),
        "verify_metadata: ValueError: 'numpy_version' is a required property",
    ),
    ("a wrong channel count", lambda folder: edit(folder, widen), "verify_net_in_out: ValueError: output channel"),
    ("a broken state dict", drop_tensor, "load: "),
    (
        "a TorchScript file that is none",
        lambda folder: (folder / "models" / "model.ts").write_bytes(b"nothing"),
        "model.ts: ",
    ),
    (
        "a large file",
        lambda folder: (folder / "models" / "other.bin").write_bytes(bytes(26_000_000)),
        "files: models/other.bin has 26.0 MB",
    ),
    ("an unused import", lambda folder: append(folder, "custom_components/errors.py", "import os\n"), "style: "),
]


def main() -> None:
    """Spoil, verify, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path, help="the unpacked folder of a bundle that passes")
    parser.add_argument("--schema", type=Path, required=True)
    parser.add_argument("--phantoms", type=Path, required=True)
    options = parser.parse_args()
    given = ["--schema", str(options.schema), "--phantoms", str(options.phantoms), "--brief"]
    for what, spoil, cause in SPOILS:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / options.bundle.name
            shutil.copytree(options.bundle, folder)
            spoil(folder)
            script = Path(__file__).with_name("verify.py")
            command = [sys.executable, str(script), str(folder), "--work", str(Path(scratch) / "work"), *given]
            done = subprocess.run(command, capture_output=True, text=True)
        named = any(line.strip().startswith(cause) for line in done.stdout.splitlines())
        if done.returncode != 1 or not named:
            shown = (done.stdout + done.stderr)[-2000:]
            raise SystemExit(f"red: {what} must be refused with {cause!r}, got {done.returncode}:\n{shown}")
    print(f"green: {len(SPOILS)} spoilt copies refused, each for its cause: {', '.join(what for what, *_ in SPOILS)}")


if __name__ == "__main__":
    main()
