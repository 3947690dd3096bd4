"""Check a packaged zip as a model zoo and a stranger would: alone, in fresh environments, from another folder."""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

HERE = Path(__file__).parent


def main() -> int:
    """Run the bundle, apply the rules, and see that the rules can fail."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path, metavar="ZIP", help="dist/<name>_v<version>.zip of `multijoint package`")
    parser.add_argument("--venv", type=Path, required=True, metavar="FOLDER", help="where the environments go")
    parser.add_argument("--schema", type=Path, required=True, metavar="FILE", help="of metadata.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        with zipfile.ZipFile(options.bundle) as archive:
            archive.extractall(work / "unpacked")
        (root,) = (work / "unpacked").iterdir()
        metadata = json.loads((root / "configs" / "metadata.json").read_text())
        alone = environment(options.venv, requirements(metadata))
        zoo = environment(options.venv, [*requirements(metadata), "-r", str(HERE / "requirements.txt")])
        described = json.loads((root / "configs" / "inference.json").read_text())["model"]
        domains = [each["name"] for each in described["domains"]]
        project("phantoms", str(work / "phantoms"), "--domains", *domains, "--cases", "3", "--size", "64")
        started = time.monotonic()
        for domain in domains:
            compare(alone, root, work, domain=domain, several=len(domains) > 1, bundle=options.bundle)
        faults = apply_rules(zoo, root, work, domain=domains[0], schema=options.schema)
        if faults:
            sys.stderr.write(f"red: {root.name}\n" + "".join(f"  {fault}\n" for fault in faults))
            return 1
        num_spoilt = check_rules(zoo, root, work, domain=domains[0], schema=options.schema)
        minutes = (time.monotonic() - started) / 60
    sys.stdout.write(
        f"green: {root.name} {metadata['version']} segmented {', '.join(domains)} from its zip alone, byte for byte as "
        f"`multijoint segment` does; the zoo's rules find nothing, and each of {num_spoilt} spoilt copies is refused "
        f"({minutes:.1f} min)\n"
    )
    return 0


def requirements(metadata: dict[str, Any]) -> list[str]:
    """What the bundle declares, and nothing else."""
    versions = {"monai": "monai_version", "torch": "pytorch_version", "numpy": "numpy_version"}
    named = {package: metadata[key] for package, key in versions.items()} | metadata["required_packages_version"]
    return [f"{package}=={version}" for package, version in named.items()]


def environment(folder: Path, packages: list[str]) -> Path:
    """The python of an environment that holds these packages only; made if it is not there whole."""
    pins = "".join(Path(each).read_text() if Path(each).is_file() else each for each in packages)
    place = folder / hashlib.sha256(pins.encode()).hexdigest()[:12]
    python = place / "bin" / "python"
    if not (place / "ready").exists():
        shutil.rmtree(place, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *packages], check=True)
        (place / "ready").touch()
    return python


def project(*arguments: str) -> None:
    """This project's own command."""
    subprocess.run([sys.executable, "-m", "custom_components.cli", *arguments], check=True, stdout=subprocess.DEVNULL)


def compare(python: Path, root: Path, work: Path, *, domain: str, several: bool, bundle: Path) -> None:
    """The plain MONAI command on one scan, in a folder of its own, against `multijoint segment`."""
    scan = work / "phantoms" / domain / "images" / f"{domain}_000.nii.gz"
    name = f"{domain}_000_seg.nii.gz"
    elsewhere = work / "elsewhere"
    elsewhere.mkdir(exist_ok=True)
    choice = ["--domain", domain] if several else []
    command = [str(python), "-m", "monai.bundle", "run", "inference", "--output_dir", "out", *choice]
    command += ["--config_file", str(root / "configs" / "inference.json"), "--images", str([str(scan)])]
    done = subprocess.run(command, cwd=elsewhere, capture_output=True, text=True, check=False)
    require(done.returncode == 0, f"the bundle must run alone, got {done.stderr[-2000:]}")
    project("segment", str(scan), "--bundle", str(bundle), "--output", str(work / "ours"), *choice)
    found, ours = elsewhere / "out" / name, work / "ours" / name
    require(found.read_bytes() == ours.read_bytes(), f"label map of {domain} must be that of `multijoint segment`")
    source, labels = nib.load(scan), nib.load(found)
    require(labels.shape == source.shape, f"label map of {domain} must have the scan's shape, got {labels.shape}")
    require(np.array_equal(labels.affine, source.affine), f"label map of {domain} must have the scan's affine")
    require(bool(np.asarray(labels.dataobj).any()), f"label map of {domain} must show a bone")


def apply_rules(python: Path, root: Path, work: Path, *, domain: str, schema: Path) -> list[str]:
    """What the zoo's rules find, in the zoo's environment."""
    folder = work / "phantoms" / domain
    command = [str(python), "-W", "ignore", str(HERE / "rules.py"), str(root), "--schema", str(schema.resolve())]
    command += ["--scan", str(folder / "images" / f"{domain}_000.nii.gz"), "--manifest", str(folder / "manifest.yaml")]
    alone = os.environ | {"PYTHONPATH": ""}
    done = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False, env=alone)
    lines = [line.removeprefix("fault: ") for line in done.stdout.splitlines() if line.startswith("fault: ")]
    if done.returncode and not lines:
        return [f"the rules ended with {done.stderr[-2000:]}"]
    return lines


def check_rules(python: Path, root: Path, work: Path, *, domain: str, schema: Path) -> int:
    """The rules must name what is wrong with each spoilt copy."""
    for number, (spoil, word) in enumerate(SPOILS):
        copy = work / "spoilt" / str(number) / root.name
        shutil.copytree(root, copy)
        spoil(copy)
        faults = apply_rules(python, copy, work, domain=domain, schema=schema)
        require(any(word in fault for fault in faults), f"a spoilt copy must be refused for {word!r}, got {faults}")
    return len(SPOILS)


def change(root: Path, **values: Any) -> None:
    """Other values in metadata.json; `None` takes a key out."""
    path = root / "configs" / "metadata.json"
    metadata = json.loads(path.read_text()) | values
    path.write_text(json.dumps({key: value for key, value in metadata.items() if value is not None}))


def more_channels(root: Path) -> None:
    """One channel more than the network has."""
    path = root / "configs" / "metadata.json"
    metadata = json.loads(path.read_text())
    metadata["network_data_format"]["outputs"]["pred"]["num_channels"] += 1
    path.write_text(json.dumps(metadata))


SPOILS: list[tuple[Callable[[Path], Any], str]] = [
    (lambda root: (root / "LICENSE").unlink(), "LICENSE"),
    (lambda root: change(root, version="9.9.9"), "changelog"),
    (lambda root: change(root, authors=7), "metadata"),
    (lambda root: change(root, task=None), "metadata"),
    (more_channels, "verify_net_in_out"),
    (lambda root: (root / "models" / "model.pt").write_bytes(b"no weights"), "ckpt_export"),
    (lambda root: (root / "models" / "model.ts").write_bytes(b"no module"), "model.ts"),
    (lambda root: (root / "custom_components" / "errors.py").open("a").write("x=1"), "black"),
]


def require(holds: bool, message: str) -> None:
    """End with a message unless something holds."""
    if not holds:
        raise SystemExit(f"red: {message}")


if __name__ == "__main__":
    raise SystemExit(main())
