"""What must hold after the job: nothing of a domain crossed, the sites agree, and each has a model that works."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from custom_components.data.manifests import load_manifest
from custom_components.models.checkpoints import build_network, load_model
from custom_components.models.trained_model import TrainedModel
from custom_components.networks.federation import SharedLayers, domain_state, shared_state
from nvflare.apis.filter import ContentBlockedException
from wire import RECORD, SharedLayersOnly, digest

LEAST_DICE = 0.5  # of every bone: a missed one, or one elsewhere, is far below


class Broken(Exception):
    """Something that must hold does not."""


def check(sites: Path, job: Path, *, layers: dict[str, Any], num_rounds: int) -> str:
    """Check everything and write `crossed.json` next to the sites.

    Args:
        sites: folder with a folder a site.
        job: NVFlare's workspace of the job.
        layers: arguments of `SharedLayers`.
        num_rounds: of the job.

    Returns:
        One line about the findings.

    Raises:
        Broken: something does not hold.
    """
    names = sorted(path.name for path in sites.iterdir())
    shapes = {name: list(tensor.shape) for name, tensor in SharedLayers(**layers).state_dict().items()}
    notes = {name: read_lines(sites / name / "rounds.jsonl") for name in names}
    models = {name: load_model(sites / name / "run" / "model.pt") for name in names}
    for name, rounds in notes.items():
        tasks = [note["task"] for note in rounds]
        require(tasks == ["train"] * num_rounds + ["fit"], f"{name} must finish every round, got {tasks}; see log.txt")
    received = check_wire(job, names, shapes=shapes, num_rounds=num_rounds)
    own = check_content(received, notes, models)
    server = check_average(job, notes, models, shapes=shapes)
    check_guard(layers, models)
    summary = {
        "shared": shapes,
        "received": received,
        "tensors_of_domains": {name: list(domain_state(build_network(models[name]))) for name in names},
        "contents_of_domains_compared": len(own),
        "server_model": server,
    }
    (sites.parent / "crossed.json").write_text(json.dumps(summary, indent=2))
    scores = {bone: score for name in names for bone, score in segment(sites / name).items()}
    bad = [bone for bone, score in scores.items() if not score > LEAST_DICE]
    require(not bad, f"every bone must be found with a Dice above {LEAST_DICE}, got {scores}")
    found = ", ".join(f"{bone} {score:.2f}" for bone, score in scores.items())
    return (
        f"{num_rounds} rounds, {len(names)} sites; {len(shapes)} convolution tensors crossed, none of the {len(own)} "
        f"contents of norms and heads; both sites hold the same convolutions; Dice on unseen phantoms: {found}"
    )


def check_wire(
    job: Path, names: Sequence[str], *, shapes: Mapping[str, list[int]], num_rounds: int
) -> list[dict[str, Any]]:
    """Both ends wrote down the same messages: the shared layers once a round and site, and no other array."""
    received = read_lines(job / "server" / "simulate_job" / RECORD)
    for name in names:
        sent = read_lines(job / name / "simulate_job" / RECORD)
        arrived = [message for message in received if message["site"] == name]
        require(len(sent) == num_rounds + 1, f"{name} must send {num_rounds} rounds and one answer, got {len(sent)}")
        require([each["task"] for each in sent] == ["train"] * num_rounds + ["validate"], f"{name}: {sent}")
        require(
            [each["arrays"] for each in sent] == [each["arrays"] for each in arrived],
            f"what {name} sent must be what arrived",
        )
        for message in sent:
            crossed = {array["name"]: array["shape"] for array in message["arrays"]}
            require(len(crossed) == len(message["arrays"]), f"{name} must send each tensor once")
            wanted = shapes if message["task"] == "train" else {}
            require(crossed == wanted, f"{name} must send the shared layers alone, got {sorted(crossed)}")
    require(len(received) == len(names) * (num_rounds + 1), f"the server must hear of {names} alone")
    return received


def check_content(
    received: Sequence[Mapping[str, Any]], notes: Mapping[str, Sequence[Mapping]], models: Mapping[str, TrainedModel]
) -> set[str]:
    """No array that the server received has the content of a norm, a statistic or a head of any site and round."""
    own = {each for rounds in notes.values() for note in rounds for each in note["own"].values()}
    own |= {digest(each) for model in models.values() for each in domain_state(build_network(model)).values()}
    crossed = {array["digest"] for message in received for array in message["arrays"]}
    require(bool(own) and bool(crossed), "there must be something to compare")
    require(not own & crossed, "no tensor of a domain may cross")
    sent = {each for rounds in notes.values() for note in rounds[:-1] for each in note["after"].values()}
    require(crossed == sent, "what arrived must be the layers that the sites had trained")
    return own


def check_average(
    job: Path, notes: Mapping[str, Sequence[Mapping]], models: Mapping[str, TrainedModel], *, shapes: Mapping[str, Any]
) -> dict[str, list[int]]:
    """Sites start every round from the same layers and end with the server's; their norms and heads differ."""
    saved = torch.load(job / "server" / "simulate_job" / "app_server" / "FL_global_model.pt", weights_only=True)
    average = saved["model"]
    require({name: list(each.shape) for name, each in average.items()} == shapes, "the server must keep shared layers")
    for rounds in zip(*notes.values(), strict=True):
        for note in rounds:
            require(note["received"] == note["before"] == rounds[0]["received"], "sites must start a round alike")
    last = {name: digest(each) for name, each in average.items()}
    for name, rounds in notes.items():
        require(rounds[0]["before"] != rounds[1]["before"], "an average must differ from the one before")
        require(rounds[-1]["before"] == rounds[-1]["after"] == last, f"{name} must hold the last average, bit for bit")
        network = build_network(models[name])
        alike = (torch.equal(average[key], each) for key, each in shared_state(network).items())
        require(all(alike), f"model.pt of {name} must hold the last average, bit for bit")
        require(rounds[-1]["own"] != rounds[-2]["own"], f"{name} must fit its norms and head to the last average")
    first, second = (set(rounds[-1]["own"].values()) for rounds in notes.values())
    require(len(first & second) <= 1, "norms and heads of the sites must differ, but for the number of batches")
    return {name: list(each.shape) for name, each in average.items()}


def check_guard(layers: dict[str, Any], models: Mapping[str, TrainedModel]) -> None:
    """The filter at the sites lets the shared layers pass and stops each single tensor of a domain."""
    guard = SharedLayersOnly(end="sent", layers=layers)
    for model in models.values():
        network = build_network(model)
        guard.refuse_others(list(shared_state(network).items()))
        for leak in domain_state(network).items():
            try:
                guard.refuse_others([*shared_state(network).items(), leak])
            except ContentBlockedException:
                continue
            raise Broken(f"the filter must stop {leak[0]}")


def segment(site: Path) -> dict[str, float]:
    """Segment the phantom that no training has seen with the site's model; Dice of each bone."""
    manifest = load_manifest(next((site / "unseen").glob("*/manifest.yaml")))
    (case,) = manifest.cases
    command = Path(sys.executable).with_name("multijoint")
    arguments = ["segment", case.image, "--checkpoint", site / "run" / "model.pt", "--output", site / "segmented"]
    subprocess.run([str(command), *map(str, arguments), "--device", "cpu"], check=True)
    (path,) = (site / "segmented").glob("*_seg.nii.gz")
    image, result, label = (nibabel.load(each) for each in (case.image, path, case.label))
    require(result.shape == image.shape, "a label map must have the scan's shape")
    require(np.array_equal(result.affine, image.affine), "a label map must lie on the scan's grid")
    found, wanted = np.asarray(result.dataobj), np.asarray(label.dataobj)
    return {bone: dice(found == value, wanted == value) for value, bone in manifest.domain.labels.items()}


def dice(found: np.ndarray, wanted: np.ndarray) -> float:
    """Overlap of two masks, of which the second is not empty."""
    return float(2 * (found & wanted).sum() / (found.sum() + wanted.sum()))


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The messages of a record."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def require(condition: bool, message: str) -> None:
    """Raise with the message where the condition does not hold."""
    if not condition:
        raise Broken(message)
