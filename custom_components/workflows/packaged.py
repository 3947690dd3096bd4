"""Components of a packaged bundle's training: domains checked, a new folder for each run, weights published."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from custom_components.data.manifests import Manifest
from custom_components.distributed import first_rank_only
from custom_components.models.checkpoints import check_domains, load_model, model_file, state_dict_bytes
from custom_components.models.digests import join_digests, write_with_digest
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

    With `None` for the path of the bundle's `models/model.pt`, the bundle stays as it is.
    """
    if path is not None:
        write_with_digest(Path(path), state_dict_bytes(load_model(Path(run_dir) / "model.pt")))
