"""The public rules of a model zoo, applied to one bundle; a line `fault: ...` for each that it breaks.

Our own words for what Project-MONAI/model-zoo checks in ci/verify_bundle.py (commit 17e7879) and asks for in its guide.
Run in an environment that holds the bundle's requirements and the zoo's tools, without this project.
"""

import argparse
import contextlib
import importlib.util
import io
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
import yaml
from monai.bundle import ConfigWorkflow, ckpt_export, load, onnx_export, verify_metadata, verify_net_in_out

MOST_BYTES = 25 * 2**20
FAULTS: list[str] = []


def main() -> int:
    """Apply all rules, each whatever the others found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path)
    for name in ("schema", "scan", "manifest"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    options = parser.parse_args()
    root = options.root
    if importlib.util.find_spec("custom_components") is not None:
        raise SystemExit("custom_components must come from the bundle alone, got another that is installed")
    check_files(root)
    with tempfile.TemporaryDirectory() as scratch:
        check_metadata(root, options.schema, Path(scratch))
        check_code(root)
        check_exports(root, Path(scratch))
        check_workflows(root, Path(scratch), scan=options.scan, manifest=options.manifest)
    for fault in FAULTS:
        sys.stdout.write(f"fault: {fault}\n")
    return bool(FAULTS)


@contextlib.contextmanager
def rule(name: str) -> Iterator[None]:
    """Whatever goes wrong inside is a fault of that name."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    except Exception as error:
        reason = (str(error).strip().splitlines() or [""])[0]
        FAULTS.append(f"{name}: {type(error).__name__} {reason}")


def check_files(root: Path) -> None:
    """Names, necessary and preferred files, sizes."""
    if not re.fullmatch(r"[a-z0-9]+(_[A-Za-z0-9]+)+", root.name):
        FAULTS.append(f"name: {root.name} must be words joined by _")
    for name in ("LICENSE", "configs/metadata.json", "configs/inference.json", "models/model.pt", "docs/README.md"):
        if not (root / name).is_file():
            FAULTS.append(f"{name}: must be there")
    large = root / "large_files.yml"
    listed = {each["path"] for each in yaml.safe_load(large.read_text())["large_files"]} if large.is_file() else set()
    for path in root.rglob("*"):
        name = path.relative_to(root).as_posix()
        if path.is_file() and path.stat().st_size > MOST_BYTES and name not in listed:
            FAULTS.append(f"{name}: must be at most 25 MB or in large_files.yml")


def check_metadata(root: Path, schema: Path, scratch: Path) -> None:
    """The schema, and a version that the changelog knows."""
    path = root / "configs" / "metadata.json"
    metadata = json.loads(path.read_text())
    if metadata["version"] not in metadata["changelog"]:
        FAULTS.append(f"changelog: must have the version {metadata['version']}")
    saved = scratch / "schema.json"
    saved.write_bytes(schema.read_bytes())
    with rule("metadata"):
        verify_metadata(meta_file=str(path), filepath=str(saved))


def check_code(root: Path) -> None:
    """Style of what is shipped, at 120 columns; E203 is what black and flake8 disagree on."""
    for command in (
        ["black", "--check", "--quiet", "--line-length", "120"],
        ["isort", "--check-only", "--quiet", "--profile", "black", "--line-length", "120"],
        ["flake8", "--max-line-length", "120", "--extend-ignore", "E203"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", *command, "custom_components"], cwd=root, capture_output=True, text=True, check=False
        )
        if done.returncode:
            FAULTS.append(f"{command[0]}: {(done.stdout + done.stderr).strip()[:300] or 'would change files'}")


def check_exports(root: Path, scratch: Path) -> None:
    """The network's shapes, and its exports by MONAI."""
    common = {"net_id": "network_def", "bundle_root": str(root)}
    common |= {"meta_file": str(root / "configs/metadata.json"), "config_file": str(root / "configs/inference.json")}
    weights = str(root / "models/model.pt")
    sys.path.insert(0, str(root))  # as the zoo does
    with rule("verify_net_in_out"):
        verify_net_in_out(**common)
    with rule("ckpt_export"):
        ckpt_export(filepath=str(scratch / "model.ts"), ckpt_file=weights, **common)
        torch.jit.load(scratch / "model.ts")
    with rule("onnx_export"):
        onnx_export(filepath=str(scratch / "model.onnx"), ckpt_file=weights, **common)
    sys.path.remove(str(root))
    with rule("models/model.ts"):
        torch.jit.load(root / "models/model.ts")


def check_workflows(root: Path, scratch: Path, *, scan: Path, manifest: Path) -> None:
    """Properties that other applications ask for, and MONAI's own loader, which is told nothing but the name."""
    given = {"inference": {"images": [str(scan)]}, "train": {"manifests": [str(manifest)]}}
    for kind, settings in given.items():
        config = root / "configs" / f"{kind}.json"
        if config.is_file():
            with rule(f"check_properties of {kind}"):
                workflow = ConfigWorkflow(
                    config_file=str(config),
                    workflow_type=kind,
                    logging_file=False,
                    output_dir=str(scratch / kind),
                    **settings,
                )
                workflow.initialize()
                missing = workflow.check_properties()
                if missing:
                    raise ValueError(f"missing {', '.join(missing)}")
    with rule("monai.bundle.load"):
        load(root.name, bundle_dir=str(root.parent), workflow_type="inference")


if __name__ == "__main__":
    raise SystemExit(main())
