"""Check an unpacked bundle by the model zoo's public rules, with MONAI's own commands.

The rules are those of `ci/verify_bundle.py` and CONTRIBUTING.md of Project-MONAI/model-zoo at commit 17e7879c, in words
of our own; and three more of this project: ONNX export, the properties of both workflows, and loading from elsewhere.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from folder_rules import find, folder_faults, style_faults, version_faults
from monai.bundle import ckpt_export, create_workflow, onnx_export, verify_metadata, verify_net_in_out

NET = "network_def"
LOAD = """
import sys
from pathlib import Path
import torch
from monai.bundle import load
root, kind = Path(sys.argv[1]), sys.argv[2]
network = load(name=root.name, bundle_dir=str(root.parent), workflow_type=kind, device="cpu")
weights = torch.load(root / "models" / "model.pt", weights_only=True)
loaded = network.state_dict()
assert loaded.keys() == weights.keys(), "load must give a network of the names in models/model.pt"
assert all(torch.equal(loaded[name], each) for name, each in weights.items()), "load must give its weights"
"""


def main() -> int:
    """Run every rule on one bundle; a line a fault, and the first word of the last line says whether there was one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path, help="the unpacked folder; left as it was")
    parser.add_argument("--schema", type=Path, required=True, help="JSON schema of configs/metadata.json")
    parser.add_argument("--phantoms", type=Path, required=True, help="folder of `multijoint phantoms`")
    parser.add_argument("--work", type=Path, required=True, help="folder to write to")
    parser.add_argument("--brief", action="store_true", help="end with the first rule that finds something")
    options = parser.parse_args()
    started = time.monotonic()
    work = options.work.resolve()
    bundle = work / options.bundle.name
    shutil.copytree(options.bundle, bundle)
    phantoms, schema = options.phantoms.resolve(), options.schema.resolve()
    # MONAI takes a schema that lies there for the one that it would download.
    steps: list[tuple[str, Callable[[], Any]]] = [
        ("files", lambda: folder_faults(bundle)),
        ("version", lambda: version_faults(bundle)),
        ("style", lambda: style_faults(bundle)),
        ("verify_metadata", lambda: check_metadata(bundle, schema)),
        ("load", lambda: check_load(bundle, "inference", work)),
        ("load train", lambda: check_load(bundle, "train", work)),
        ("verify_net_in_out", lambda: verify_net_in_out(net_id=NET, device="cpu", **described(bundle))),
        ("ckpt_export", lambda: ckpt_export(**exported(bundle, "verify_model.ts"))),
        ("model.ts", lambda: check_torchscript(bundle)),
        ("onnx_export", lambda: onnx_export(**exported(bundle, "verify_model.onnx"))),
        ("inference properties", lambda: check_properties(bundle, "inference", phantoms, work)),
        ("train properties", lambda: check_properties(bundle, "train", phantoms, work)),
    ]
    sys.path.insert(0, str(bundle))  # as the zoo does; `load` runs in a process without it
    os.chdir(work)
    faults, passed = [], []
    for name, step in steps:
        found = list(outcome(step))
        faults += [f"{name}: {fault}" for fault in found]
        passed += [] if found else [name]
        if options.brief and found:
            break
    if faults:
        print(f"red: {bundle.name} by the zoo's rules\n" + "\n".join(f"  {fault}" for fault in faults))
        return 1
    minutes = (time.monotonic() - started) / 60
    print(f"green: {bundle.name} by the zoo's rules: {', '.join(passed)}; {minutes:.1f} min")
    return 0


def outcome(step: Callable[[], Any]) -> Iterator[str]:
    """The faults that a rule finds: the lines that it yields, or the error that it, MONAI or PyTorch raises."""
    try:
        found = step()
        if isinstance(found, Iterator):
            yield from found
    except Exception as error:  # whatever it is, the bundle does not pass
        yield f"{type(error).__name__}: {shorten(error)}" + (f"; {shorten(error.__cause__)}" if error.__cause__ else "")


def shorten(error: BaseException) -> str:
    """The first lines of an error in one line."""
    return " | ".join([line.strip() for line in str(error).splitlines() if line.strip()][:4])


def described(bundle: Path) -> dict[str, str]:
    """The bundle's files, as arguments of MONAI's commands."""
    return {
        "meta_file": str(bundle / "configs" / "metadata.json"),
        "config_file": str(find(bundle / "configs", "inference")),
        "bundle_root": str(bundle),
    }


def exported(bundle: Path, name: str) -> dict[str, str]:
    """The same for an export of the weights to `models/<name>`."""
    models = bundle / "models"
    return {"net_id": NET, "filepath": str(models / name), "ckpt_file": str(models / "model.pt"), **described(bundle)}


def check_metadata(bundle: Path, schema: Path) -> None:
    """Compare the metadata with the schema, as the zoo does where it has stored the schema before."""
    path = bundle / "eval" / "schema.json"
    path.parent.mkdir(exist_ok=True)
    shutil.copyfile(schema, path)
    verify_metadata(meta_file=str(bundle / "configs" / "metadata.json"), filepath=str(path))


def check_torchscript(bundle: Path) -> Iterator[str]:
    """The TorchScript file that the bundle ships must load, if there is one."""
    path = bundle / "models" / "model.ts"
    if path.is_file():
        torch.jit.load(str(path))
    return iter(())


def check_load(bundle: Path, kind: str, work: Path) -> Iterator[str]:
    """`monai.bundle.load` must give the network with its weights, in a process that does not know the folder."""
    if find(bundle / "configs", kind) is None:
        return
    command = [sys.executable, "-c", LOAD, str(bundle), kind]
    done = subprocess.run(command, cwd=work, capture_output=True, text=True)
    if done.returncode:
        yield " | ".join((done.stdout + done.stderr).strip().splitlines()[-3:])


def check_properties(bundle: Path, kind: str, phantoms: Path, work: Path) -> Iterator[str]:
    """A workflow must initialize, and have the properties of its kind under MONAI's names."""
    path = find(bundle / "configs", kind)
    if path is None:
        return
    if kind == "inference":
        given: dict[str, Any] = {"images": [str(each) for each in sorted(phantoms.glob("*/images/*.nii.gz"))[:1]]}
    else:
        given = {"manifests": [str(each) for each in sorted(phantoms.rglob("manifest.yaml"))]}
    workflow = create_workflow(
        config_file=str(path), workflow_type=kind, bundle_root=str(bundle), output_dir=str(work / kind), **given
    )
    missing = workflow.check_properties()
    if missing:
        yield f"missing or under a wrong name: {', '.join(missing)}"


if __name__ == "__main__":
    sys.exit(main())
