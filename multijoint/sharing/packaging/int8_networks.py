"""The int8 networks of a bundle, made and tried out when it is packaged."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from custom_components.data.cases import Case
from custom_components.data.manifests import load_manifests
from custom_components.errors import InputError
from custom_components.models.checkpoints import check_domains, state_dict_bytes
from custom_components.models.trained_model import TrainedModel
from custom_components.system.files import write_atomically
from custom_components.system.terminal import track

from multijoint.sharing.packaging.configurations import as_json, describe
from multijoint.sharing.packaging.held_out import BoneDice, compare_precisions, divide_cases
from multijoint.sharing.packaging.quantising import calibration_slices, quantise


def quantise_model(
    model: TrainedModel,
    manifests: Sequence[str | Path],
    *,
    dataset_dir: str | Path | None = None,
    domain: str | None = None,
) -> tuple[dict[str, bytes], dict[str, list[Case]]]:
    """The int8 network of every domain, or of one, in each of its planes, calibrated on subjects of the training.

    The manifests are those of its training data; other domains are ignored. Their paths begin at `dataset_dir`, by
    default at the folder of each manifest.

    Returns:
        Files by their path in the bundle; and by domain, labelled cases of subjects unseen in training.

    Raises:
        InputError: a domain without a manifest, or no subject to calibrate or test on.
    """
    datasets = {each.domain.name: each for each in load_manifests(manifests, dataset_dir=dataset_dir)}
    missing = [each.name for each in model.data_sets if each.name not in datasets]
    if missing:
        raise InputError(f"manifests for int8 must be of every domain, got none of {missing[0]}; name its manifest")
    check_domains(model, domains=[datasets[each.name].domain for each in model.data_sets])
    chosen = [each.name for each in model.data_sets if domain in (None, each.name)]
    sides = {name: divide_cases(model, datasets[name]) for name in chosen}
    planes = [(plane.name, sides[name][0]) for name in chosen for plane in model.planes(name)]
    digest = hashlib.sha256(state_dict_bytes(model)).hexdigest()
    files: dict[str, bytes] = {}
    for name, training in track(planes, "int8 networks"):
        slices = calibration_slices(model, training, domain=name)
        files |= with_digest(f"models/{name}.int8.onnx", quantise(model, domain=name, slices=slices, digest=digest))
    return files, {name: held_out for name, (_, held_out) in sides.items()}


def measure_int8(
    model: TrainedModel, files: Mapping[str, bytes], held_out: Mapping[str, Sequence[Case]]
) -> list[BoneDice]:
    """Dice of each bone in float32 and in int8, for `files` and `held_out` of `quantise_model`."""
    with tempfile.TemporaryDirectory() as folder:
        write_networks(Path(folder), model, files)
        return [
            row
            for domain in model.data_sets
            for row in compare_precisions(Path(folder), held_out[domain.name], domain=domain)
        ]


def write_networks(folder: Path, model: TrainedModel, files: Mapping[str, bytes]) -> None:
    """Write the part of a bundle that segments: description of the model, weights and int8 networks."""
    described = {"configs/inference.json": as_json({"model": describe(model)})}
    weights = with_digest("models/model.pt", state_dict_bytes(model))
    for path, content in (described | weights | dict(files)).items():
        write_atomically(folder / path, content)


def with_digest(path: str, content: bytes) -> dict[str, bytes]:
    """A file of a bundle together with its `.sha256` file."""
    line = f"{hashlib.sha256(content).hexdigest()}  {path.rpartition('/')[2]}\n"
    return {path: content, f"{path}.sha256": line.encode()}
