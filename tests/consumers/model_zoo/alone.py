"""An unpacked bundle in an environment of its declared requirements: the plain command segments scans of its domains.

Run by the environment's own python. `multijoint`, which makes phantoms and reference label maps, is a command of the
project's environment.
"""

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import nibabel
import numpy as np

PHANTOMS = ("ankle", "shoulder", "knee")
NUM_CASES = 4  # enough to train on, validate and test


def main() -> None:
    """Check every domain of one bundle; the last line is the verdict."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path, help="the unpacked folder")
    parser.add_argument("--zip", type=Path, required=True, help="what it was unpacked from")
    parser.add_argument("--multijoint", type=Path, required=True, help="command of the project's environment")
    parser.add_argument("--work", type=Path, required=True, help="folder to write to")
    options = parser.parse_args()
    started = time.monotonic()
    bundle, work, multijoint = options.bundle.resolve(), options.work.resolve(), options.multijoint.absolute()
    require(importlib.util.find_spec("custom_components") is None, "the environment must not know custom_components")
    config = json.loads((bundle / "configs" / "inference.json").read_text())
    described = {each["name"]: dict(each["labels"]) for each in config["model"]["domains"]}
    default = config.get("displayable_configs", {}).get("domain") or config["domain"]
    phantoms = {name: name if name in PHANTOMS else PHANTOMS[0] for name in described}
    names = sorted(set(phantoms.values()))
    run(multijoint, "phantoms", work / "phantoms", "--cases", NUM_CASES, "--seed", 7, "--domains", *names, cwd=work)
    seen = []
    for name, labels in described.items():
        place = work / f"elsewhere_{name}"  # neither the bundle nor the repository
        place.mkdir()
        source = sorted((work / "phantoms" / phantoms[name]).glob("images/*.nii.gz"))[0]
        shutil.copyfile(source, place / "scan.nii.gz")
        only = [] if name == default else ["--domain", name]
        label_map = segment(bundle, place, "out", only=only)
        values = check_grid(place / "scan.nii.gz", label_map, labels)
        command = [multijoint, "segment", "scan.nii.gz", "--bundle", options.zip.resolve(), "--output", "reference"]
        run(*command, *(["--domain", name] if len(described) > 1 else []), "--device", "cpu", cwd=place)
        require(
            label_map.read_bytes() == (place / "reference" / label_map.name).read_bytes(),
            f"{name}: the label map must be that of multijoint segment --bundle, byte for byte",
        )
        override = bundle / "configs" / f"domain_{name}.json"
        if override.is_file():
            again = segment(bundle, place, "again", override=override)
            require(again.read_bytes() == label_map.read_bytes(), f"{override.name} must choose the domain {name}")
        seen.append(f"{name} (labels {', '.join(map(str, values))})")
    minutes = (time.monotonic() - started) / 60
    print(f"green: {bundle.name} alone: {', '.join(seen)}, byte for byte as multijoint segment; {minutes:.1f} min")


def segment(
    bundle: Path, place: Path, output: str, *, only: list[str] | None = None, override: Path | None = None
) -> Path:
    """Run the plain command in `place`; returns the only label map it wrote.

    Python keeps the byte code of each source file that it imported under a folder of our choice, by the file's path:
    from there we know where `custom_components` came from, without touching the command.
    """
    config = bundle / "configs" / "inference.json"
    files = str(config) if override is None else str([str(config), str(override)])
    caches = place / f"{output}_bytecode"
    command = [sys.executable, "-m", "monai.bundle", "run", "inference", "--config_file", files]
    command += ["--images", "['scan.nii.gz']", "--output_dir", output, *(only or [])]
    run(*command, cwd=place, extra={"PYTHONPYCACHEPREFIX": str(caches), "PYTHONDONTWRITEBYTECODE": ""})
    found = sorted((place / output).rglob("*.nii.gz"))
    require(len(found) == 1, f"one label map must be written, got {[path.name for path in found]}")
    origins = {
        caches / str(path).rpartition("/custom_components/")[0] for path in caches.rglob("custom_components/**/*.pyc")
    }
    own = caches / bundle.relative_to(bundle.anchor)
    require(origins == {own}, f"custom_components must come from the unpacked bundle, got {sorted(map(str, origins))}")
    return found[0]


def check_grid(scan: Path, label_map: Path, labels: dict[int, str]) -> list[int]:
    """The label map lies on the scan's grid and holds the domain's labels alone, at least one; returns those found."""
    image, result = nibabel.load(scan), nibabel.load(label_map)
    require(result.shape == image.shape, f"the label map must have the scan's shape {image.shape}, got {result.shape}")
    require(np.array_equal(result.affine, image.affine), "the label map must have the scan's affine")
    values = set(np.unique(np.asarray(result.dataobj)).tolist())
    require(values <= {0, *labels}, f"labels must be among {sorted(labels)}, got {sorted(values)}")
    require(len(values) > 1, "something must be found in a phantom, got background alone")
    return sorted(int(value) for value in values - {0})


def run(*command: object, cwd: Path, extra: dict[str, str] | None = None) -> None:
    """Run a command to its end, or end with its output."""
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=os.environ | (extra or {}), capture_output=True, text=True
    )
    if done.returncode:
        shown = "\n".join((done.stdout + done.stderr).splitlines()[-40:])
        raise SystemExit(f"{shown}\nred: {' '.join(map(str, command))} ended with {done.returncode}")


def require(condition: bool, message: str) -> None:
    """Exit where the condition does not hold."""
    if not condition:
        raise SystemExit(f"red: {message}")


if __name__ == "__main__":
    main()
