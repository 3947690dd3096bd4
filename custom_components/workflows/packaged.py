"""Components of a packaged bundle's training: domains checked, a new folder for each run, weights published."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from custom_components.data.manifests import Manifest
from custom_components.distributed import first_rank_only
from custom_components.models.checkpoints import check_domains, load_model, model_file, state_dict_bytes
from custom_components.models.digests import digest_path, join_digests, write_with_digest
from custom_components.models.tensor_files import SUFFIX, read_description, tensor_bytes, tensor_file
from custom_components.models.trained_model import TrainedModel
from custom_components.system.files import file_digest


def checked_datasets(datasets: Sequence[Manifest], *, model: TrainedModel) -> Sequence[Manifest]:
    """Return the data sets if the model knows their domains, with the same labels and planes.

    Raises:
        InputError: naming the domain.
    """
    check_domains(model, domains=[dataset.domain for dataset in datasets])
    return datasets


def new_folder(parent: str | Path) -> Path:
    """Path of a folder that does not exist yet: the lowest free number in `parent`."""
    number = 1
    while (Path(parent) / str(number)).exists():
        number += 1
    return Path(parent) / str(number)


def identify(model: TrainedModel, *, path: str | Path) -> TrainedModel:
    """Give a described model the digest of its weights' file, by which results tell one model from another.

    Its quality is left out if the file holds other weights by now, see `publish`. Members of an ensemble have a file
    each, see `checkpoints.model_file`.
    """
    numbers = range(1, max(len(model.members), 1) + 1)
    digests = [file_digest(model_file(path, number)) for number in numbers]
    members = tuple(each.read_from(digest) for each, digest in zip(model.members, digests, strict=False))
    return replace(model.read_from(join_digests(digests)), members=members)


@first_rank_only
def publish(run_dir: str | Path, *, path: str | Path | None) -> None:
    """Replace the weights of a packaged bundle, whole, by `model.pt` of a finished run; the first process does.

    With `None` for the path of the bundle's `models/model.pt`, the bundle stays as it is. A safetensors file next to it
    gets the same weights. It is away meanwhile, so that a process killed here leaves no two that contradict.
    """
    if path is None:
        return
    path, model = Path(path), load_model(Path(run_dir) / "model.pt")
    tensors, data = tensor_file(path), state_dict_bytes(model)
    described = None if tensors is None else read_description(tensors)
    path.with_suffix(SUFFIX).unlink(missing_ok=True)
    digest_path(path.with_suffix(SUFFIX)).unlink(missing_ok=True)
    write_with_digest(path, data)
    if tensors is not None and described is not None:
        pickled = hashlib.sha256(data).hexdigest()
        write_with_digest(tensors, tensor_bytes(model.weights, described=described, pickled=pickled))
