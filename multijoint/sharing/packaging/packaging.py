"""A stand-alone bundle, as a folder and as a zip file: code, configurations, weights and documents."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from custom_components.domains import find_domain
from custom_components.errors import InputError
from custom_components.models.checkpoints import member_name, state_dict_bytes
from custom_components.models.ensembles import load_ensemble, of_each
from custom_components.models.single_domain import fold_domain, select_domain
from custom_components.models.tensor_files import tensor_bytes, tensors_name
from custom_components.models.trained_model import TrainedModel
from custom_components.system.files import make_folder, write_atomically

from multijoint.running import list_bundles
from multijoint.sharing.packaging.configurations import as_json, bundle_config, bundle_file, packaged_configs
from multijoint.sharing.packaging.exports import export_onnx, export_torchscript
from multijoint.sharing.packaging.held_out import BoneDice, check_fall
from multijoint.sharing.packaging.int8_networks import measure_int8, quantise_model, with_digest
from multijoint.sharing.packaging.metadata import (
    CHECKSUMS,
    check_version,
    describe_owner,
    describe_single,
    fill_metadata,
    own_folder_name,
)
from multijoint.sharing.packaging.model_card import data_licence, data_rows, model_card, read_scores
from multijoint.sharing.packaging.shipped import shipped_code

_EARLIEST = (1980, 1, 1, 0, 0, 0)  # that a zip can say


def package(
    bundle: str | Path,
    *,
    checkpoint: str | Path | Sequence[str | Path],
    out: str | Path,
    domain: str | None = None,
    single: str | None = None,
    fold: bool = False,
    evaluation: str | Path | None = None,
    weights_url: str | None = None,
    int8: Sequence[str | Path] = (),
    dataset_dir: str | Path | None = None,
    name: str | None = None,
    version: str | None = None,
    author: str | None = None,
) -> list[Path]:
    """Write `<name>/` and `<name>_v<version>.zip`, each whole or not at all; the same input gives the same bytes.

    Args:
        bundle: folder or name of one of the project's bundles, see `running.list_bundles`; files that it lacks come
            from the joint bundle.
        checkpoint: `model.pt` of a run, or a packaged bundle's folder; several become an ensemble, without the training
            and the forms for other programs, which hold one network each. A `LICENSE` next to `model.pt` goes along.
        out: folder that both go to; an earlier package of the same name is replaced.
        domain: name of the default domain; the first if None.
        single: take only this domain. A bundle whose name begins with a domain's name takes it by itself.
        fold: fold the norms of a single domain into the convolutions: faster, but not to be trained further.
        evaluation: folder of an evaluation, whose scores go into the model card.
        weights_url: where the files of `models/` will be put; they are then left out of the zip, and
            `large_files.yml` says where to find them.
        int8: manifests of the training data: int8 networks are calibrated on them and added to the bundle, unless Dice
            on unseen subjects falls.
        dataset_dir: base folder of their paths; the folder of each manifest by default.
        name: of the package, in place of the bundle's: its title, and as one word its folder and zip.
        version: of the package, such as 1.0.0, in place of this release's.
        author: who made the model, in place of this project's contributors.

    Returns:
        The folder and the zip.

    Raises:
        InputError: bundle, checkpoint, domain or evaluation cannot be packaged.
    """
    bundle, out = Path(bundle), Path(out)
    bundle = next((each for each in list_bundles() if each.name == str(bundle) and not bundle.exists()), bundle)
    if not (bundle / "configs" / "metadata.json").is_file():
        raise InputError(
            f"bundle must be a folder with configs/metadata.json, got {bundle}; name one that multijoint bundles lists"
        )
    if out.exists():
        make_folder(out)  # a file in its place is told now, not after minutes
    folder_name = None if name is None else own_folder_name(name)
    check_version(version)
    model, metadata, title = load_ensemble(checkpoint), bundle_config(bundle, "metadata.json"), name
    scores = read_scores(None if evaluation is None else Path(evaluation), model=model)
    name = bundle.resolve().name
    data = data_rows(model)
    if single is None and len(model.data_sets) > 1:
        single = next((each.name for each in model.domains if name.startswith(f"{each.name}_")), None)
    if single is not None:
        together = ", ".join(each.name for each in model.data_sets)
        model = of_each(model, partial(select_domain, domain=single))
        name = f"{single}_{name.partition('_')[2]}"
        metadata |= describe_single(model.domains[0], together=together)
    name = folder_name or name
    if (out / name).exists() and not (out / name / CHECKSUMS).is_file():
        raise InputError(
            f"folder to package to must be new or an earlier package, got {out / name}; choose another --out"
        )
    if fold and len(model.domains) > 1:
        names, remedy = ", ".join(each.name for each in model.domains), "name it by --single"
        if len(model.data_sets) == 1:
            remedy = "package its planes without --fold"
        raise InputError(f"a model to fold must have one domain, got {names}; {remedy}")
    if fold:
        model = of_each(model, partial(fold_domain, domain=None))
    default = model.domains[0 if domain is None else find_domain(model.domains, domain)]
    known = {each.name for each in model.domains}
    data = [row for row in data if row["domain"] in known]
    scores = [row for row in scores if row["domain"] in known]
    quantised: dict[str, bytes] = {}
    costs: list[BoneDice] = []
    if int8 and model.members:
        raise InputError(f"a model for int8 must be one network, got an ensemble of {len(model.members)}; give one")
    if int8:
        quantised, held_out = quantise_model(model, int8, dataset_dir=dataset_dir)
        costs = measure_int8(model, quantised, held_out)
        check_fall(costs)
    metadata = fill_metadata(metadata, model, domain=default, data=data, scores=scores, int8=costs)
    metadata |= describe_owner(name=title, version=version, author=author)
    files = _files(bundle, model, metadata=metadata, domain=default.name, data=data) | quantised
    card = model_card(name, metadata, model, domain=default.name, data=data, scores=scores, int8=costs)
    files["docs/README.md"] = card.encode()
    files["docs/data_license.txt"] = data_licence(data).encode()
    given = [checkpoint] if isinstance(checkpoint, str | Path) else checkpoint
    beside = dict.fromkeys(Path(each).with_name("LICENSE") for each in given if Path(each).is_file())
    if licences := [licence.read_bytes() for licence in beside if licence.is_file()]:
        files["docs/weights_license.txt"] = b"\n".join(dict.fromkeys(licences))
    if weights_url is not None:
        files["large_files.yml"] = _large_files(files, weights_url)
    digests = [f"{hashlib.sha256(content).hexdigest()}  {path}\n" for path, content in sorted(files.items())]
    files[CHECKSUMS] = "".join(digests).encode()
    folder, archive = out / name, out / f"{name}_v{metadata['version']}.zip"
    stored = {path: content for path, content in files.items() if not (weights_url and path.startswith("models/"))}
    write_atomically(archive, _zip(name, stored))
    _write_folder(folder, files)
    return [folder, archive]


def _files(
    bundle: Path, model: TrainedModel, *, metadata: Mapping[str, Any], domain: str, data: Sequence[Mapping[str, Any]]
) -> dict[str, bytes]:
    """Content by path, but for the documents."""
    plain = packaged_configs(bundle, model, domain=domain, data=data)
    configs = {name: as_json(config) for name, config in plain.items()}
    configs["metadata.json"] = as_json(metadata)
    inside = {name: configs[name] for name in ("inference.json", "metadata.json")}
    files = {
        "LICENSE": bundle_file(bundle, "LICENSE"),
        "configs/logging.conf": bundle_file(bundle, "configs/logging.conf"),
        **{f"configs/{name}": content for name, content in configs.items()},
        **shipped_code(),
    }
    described = plain["inference.json"]["model"]
    members = zip(model.members or (model,), described.get("members") or [described], strict=True)
    for number, (member, own) in enumerate(members, start=1):
        files |= weight_files(f"models/{member_name(number)}", member, described=own)
    if not model.members:
        files["models/model.ts"] = export_torchscript(model, domain=domain, files=inside)
        files |= {f"models/{each.name}.onnx": export_onnx(model, domain=each.name) for each in model.domains}
    return files


def weight_files(path: str, model: TrainedModel, *, described: Mapping[str, Any]) -> dict[str, bytes]:
    """The weights of a model as `<name>.pt`, for every tool, and `<name>.safetensors`, each with its digest's file.

    Args:
        path: of the `.pt` file in the bundle.
        model: the weights.
        described: the entry `model` of the bundle's `inference.json`.
    """
    data = state_dict_bytes(model)
    plain = {key: value for key, value in described.items() if key != "_target_"}
    tensors = tensor_bytes(model.weights, described=plain, pickled=hashlib.sha256(data).hexdigest())
    return with_digest(path, data) | with_digest(tensors_name(path), tensors)


def _large_files(files: Mapping[str, bytes], url: str) -> bytes:
    lines = ["large_files:"]
    for path, content in sorted(files.items()):
        if path.startswith("models/"):
            lines += [
                f'  - path: "{path}"',
                f'    url: "{url.rstrip("/")}/{path.partition("/")[2]}"',
                f'    hash_val: "{hashlib.sha256(content).hexdigest()}"',
                '    hash_type: "sha256"',
            ]
    return ("\n".join(lines) + "\n").encode()


def _zip(name: str, files: Mapping[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for path, content in sorted(files.items()):
            member = zipfile.ZipInfo(f"{name}/{path}", _EARLIEST)
            member.external_attr = 0o644 << 16
            member.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(member, content, compresslevel=9)
    return stream.getvalue()


def _write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write all into a new folder, which then takes the place of an earlier one."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.tmp-") as scratch:
        for path, content in files.items():
            write_atomically(Path(scratch, "new", path), content)
        if folder.exists():
            os.replace(folder, Path(scratch, "old"))
        shutil.move(Path(scratch, "new"), folder)
