"""A packaged bundle in MONAI Label's `monaibundle` app, over REST alone: segment volumes, then train one epoch.

Run by `run.sh` in the environment that it makes; `multijoint`, which makes phantoms and reference label maps, lives in
another one and is called as a command.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel
import nrrd
import numpy as np
import requests
import torch
from requests_toolbelt.multipart import decoder

NUM_TRAINING_CASES = 4
START_S, INFER_S, TRAIN_S = 180, 300, 900
AFFINE_MM = 1e-3  # ITK, which MONAI Label writes with, keeps float32


def main() -> None:
    """Check one bundle; the last line says "green", or the process ends with the reason."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--bundle", type=Path, required=True, help="folder of a packaged bundle")
    parser.add_argument("--multijoint", default="multijoint", help="command of the environment that has this project")
    parser.add_argument("--work", type=Path, help="folder to work in and to leave behind; default: a temporary one")
    options = parser.parse_args()
    started = time.monotonic()
    with contextlib.ExitStack() as stack:
        work = options.work or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        work.mkdir(parents=True, exist_ok=True)
        found = check(options.bundle.resolve(), options.multijoint, work.resolve())
    print(f"green: MONAI Label: {found}; {(time.monotonic() - started) / 60:.1f} min")


def check(bundle: Path, multijoint: str, work: Path) -> str:
    """Run everything; returns the findings."""
    config = json.loads((bundle / "configs" / "inference.json").read_text())
    domains = {each["name"]: each["labels"] for each in config["model"]["domains"]}
    options = config.get("displayable_configs", {})
    default = options.get("domain") or config["domain"] or next(iter(domains))
    names = list(domains) if "domain" in options else [default]
    phantoms = work / "phantoms"
    run_command(multijoint, "phantoms", phantoms, "--cases", NUM_TRAINING_CASES, "--size", "64", "--domains", *names)
    references = {}
    for name in names:
        scan, out = phantoms / name / "images" / f"{name}_000.nii.gz", work / "reference"
        run_command(multijoint, "segment", scan, "--checkpoint", bundle, "--domain", name, "--output", out)
        references[name] = (scan, out / f"{name}_000_seg.nii.gz")

    app = work / "apps" / "monaibundle"
    run_command(
        sys.executable, "-m", "monailabel.main", "apps", "--download", "--name", app.name, "--output", app.parent
    )
    model = bundle.name
    own = app / "model" / model
    shutil.copytree(bundle, own)
    with server(app, work / "studies", model, work / "server.log") as url:
        check_info(url, model, domains[default], trains=(bundle / "configs" / "train.json").exists())
        for name, (scan, reference) in references.items():
            parameters = {"domain": name} if len(names) > 1 else {}
            compare(infer(url, model, scan, parameters), nibabel.load(reference), f"{name}, NIfTI")
            parameters |= {"result_extension": ".nrrd", "result_dtype": "uint8"}  # what 3D Slicer asks for
            compare(infer(url, model, scan, parameters), nibabel.load(reference), f"{name}, NRRD")
        compare(infer(url, model, references[default][0], {}), nibabel.load(references[default][1]), "no parameters")

        trained = "has no train.json, so did not train"  # a folded one
        if (bundle / "configs" / "train.json").exists():
            trained = check_training(url, model, phantoms / default, default, bundle, own)
            scan = references[default][0]
            compare_grid(infer(url, model, scan, {}), nibabel.load(scan), "after training")
    seen = f"{model} segmented {', '.join(names)} (NIfTI and NRRD) as `multijoint segment` does, voxel for voxel"
    return f"{seen}; {trained}"


def check_training(url: str, model: str, cases: Path, domain: str, bundle: Path, own: Path) -> str:
    """Train twice on labelled phantoms, and look at the weights; returns the findings."""
    for index in range(NUM_TRAINING_CASES):
        put_case(url, cases, f"{domain}_{index:03d}")
    offered = requests.get(f"{url}/info/", timeout=60).json()["trainers"][model]["config"]
    # 3D Slicer sends every option that it was offered, the first choice of a list. And a second training must not trip
    # over the files of the first.
    from_slicer = {key: value[0] if isinstance(value, list) else value for key, value in offered.items()}
    for parameters in ({}, from_slicer):
        before = digest_of(own / "models" / "model.pt")
        epochs = train(url, model, parameters)
        check_weights(bundle, own)
        if digest_of(own / "models" / "model.pt") == before:
            raise SystemExit("training must write a new models/model.pt, got the same file")
    return f"trained {epochs} epoch on {NUM_TRAINING_CASES} volumes, then another as 3D Slicer asks for it"


def run_command(*command: object) -> None:
    """Run a command to its end, or end with its output."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stdout}{done.stderr}")


@contextlib.contextmanager
def server(app: Path, studies: Path, model: str, log: Path) -> Iterator[str]:
    """A server on a free port of this machine alone, ended with the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    studies.mkdir()
    command = [sys.executable, "-m", "monailabel.main", "start_server", "--app", app, "--studies", studies]
    command += ["--host", "127.0.0.1", "--port", port, "--conf", "models", model, "--conf", "zoo_source", "ngc"]
    with log.open("w") as output:
        process = subprocess.Popen(
            [str(part) for part in command],
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=studies.parent,
            start_new_session=True,
            env=os.environ | {"CUDA_VISIBLE_DEVICES": "", "MONAI_LABEL_SESSION_PATH": str(studies.parent / "sessions")},
        )
        url = f"http://127.0.0.1:{port}"
        try:
            wait_until_ready(process, url)
            yield url
        except BaseException:
            print("".join(log.read_text(errors="replace").splitlines(keepends=True)[-60:]), file=sys.stderr)
            raise
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def wait_until_ready(process: subprocess.Popen[bytes], url: str) -> None:
    """Return once the server answers."""
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        if process.poll() is not None:
            raise SystemExit(f"server must start, got exit code {process.returncode}")
        with contextlib.suppress(requests.ConnectionError):
            if requests.get(f"{url}/info/", timeout=60).ok:
                return
        time.sleep(1)
    raise SystemExit(f"server must answer within {START_S} s, got nothing")


def check_info(url: str, model: str, labels: list[list[Any]], *, trains: bool) -> None:
    """The server offers the model for inference, and for training if it can, with the bundle's label names."""
    info = requests.get(f"{url}/info/", timeout=60).json()
    if model not in info["models"] or (model in info["trainers"]) != trains:
        raise SystemExit(f"server must offer {model}, got {list(info['models'])} and {list(info['trainers'])}")
    wanted = {name.lower(): value for value, name in labels}
    if info["models"][model]["labels"] != wanted:
        raise SystemExit(f"labels must be {wanted}, got {info['models'][model]['labels']}")


def infer(url: str, model: str, scan: Path, parameters: dict[str, Any]) -> Any:
    """Upload a volume; the label map of the answer, as a nibabel image."""
    with scan.open("rb") as file:
        answer = requests.post(
            f"{url}/infer/{model}",
            files={"file": (scan.name, file)},
            data={"params": json.dumps({"device": "cpu"} | parameters)},
            timeout=INFER_S,
        )
    if not answer.ok:
        raise SystemExit(f"inference must succeed, got {answer.status_code}: {answer.text[:300]}")
    parts = decoder.MultipartDecoder.from_response(answer).parts
    [part] = [each for each in parts if b"filename" in each.headers[b"Content-Disposition"]]
    suffix = parameters.get("result_extension", ".nii.gz")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"answer{suffix}"
        path.write_bytes(part.content)
        if suffix == ".nrrd":
            array, header = nrrd.read(str(path))
            affine = np.eye(4)
            affine[:3, :3], affine[:3, 3] = np.transpose(header["space directions"]), header["space origin"]
            return nibabel.Nifti1Image(array, np.diag([-1, -1, 1, 1]) @ affine)
        image = nibabel.load(path)
        return nibabel.Nifti1Image(np.asarray(image.dataobj), image.affine)


def compare_grid(found: Any, wanted: Any, what: str) -> None:
    """Same shape, and corners at the same place."""
    off = np.abs(found.affine - wanted.affine) @ [*found.shape, 1]
    if found.shape != wanted.shape or off.max() > AFFINE_MM:
        raise SystemExit(f"grid ({what}) must be the scan's, got {found.shape}, {off.max():.3g} mm off")


def compare(found: Any, wanted: Any, what: str) -> None:
    """Same grid and the same label in every voxel."""
    compare_grid(found, wanted, what)
    labels, reference = np.asarray(found.dataobj), np.asarray(wanted.dataobj)
    different = int((labels != reference).sum())
    if different or not reference.any():
        raise SystemExit(f"labels ({what}) must be those of `multijoint segment`, got {different} other voxels")
    print(f"{what}: {found.shape}, labels {np.unique(labels).tolist()}, no voxel differs")


def put_case(url: str, folder: Path, name: str) -> None:
    """Put an image and its final label into the server's datastore."""
    for kind, query in (("image", f"image={name}"), ("label", f"image={name}&tag=final")):
        with (folder / f"{kind}s" / f"{name}.nii.gz").open("rb") as file:
            files = {"file" if kind == "image" else "label": (f"{name}.nii.gz", file)}
            answer = requests.put(f"{url}/datastore/{kind}?{query}", files=files, timeout=60)
        if not answer.ok:
            raise SystemExit(f"datastore must take {kind} {name}, got {answer.status_code}: {answer.text[:300]}")


def train(url: str, model: str, parameters: dict[str, Any]) -> int:
    """Train one epoch and wait for its end; the number of epochs."""
    parameters = parameters | {"max_epochs": 1, "device": "cpu", "val_split": 0.25}
    answer = requests.post(f"{url}/train/{model}", json=parameters, timeout=60)
    if not answer.ok:
        raise SystemExit(f"training must start, got {answer.status_code}: {answer.text[:300]}")
    end, task = time.monotonic() + TRAIN_S, answer.json()
    while time.monotonic() < end:
        every = requests.get(f"{url}/train/?all=true", timeout=60).json()
        [state] = [each for each in every if each["id"] == task["id"]]
        if state["status"] not in ("SUBMITTED", "RUNNING"):
            break
        time.sleep(1)
    if state["status"] != "DONE":
        details = "\n".join(state.get("details", []))
        raise SystemExit(f"training must end well, got {state['status']}:\n{details}")
    return parameters["max_epochs"]


def check_weights(bundle: Path, own: Path) -> None:
    """The trained weights are finite tensors of the same names and shapes as those that came with the bundle."""
    others = sorted(path.name for path in (own / "models").glob("*.pt"))
    if others != ["model.pt"]:
        raise SystemExit(f"models/ must hold model.pt alone (MONAI Label offers every .pt), got {others}")
    old, new = (torch.load(root / "models" / "model.pt", weights_only=True) for root in (bundle, own))
    if {key: value.shape for key, value in old.items()} != {key: value.shape for key, value in new.items()}:
        raise SystemExit("models/model.pt must hold the network's weights after training, got other names or shapes")
    if not all(bool(value.isfinite().all()) for value in new.values()):
        raise SystemExit("trained weights must be finite, got NaN or infinity")


def digest_of(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
