"""Inspect a foreign bundle before anything of it runs: `inspect_bundle`, and `open_bundle` for readers of its data."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import math
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from custom_components.errors import InputError, ResourceError, show_path
from custom_components.models.tensor_files import tensors_name
from custom_components.system.termination import at_termination, deferring_termination

from multijoint.sharing.inspection.archives import UnsafeArchive, check_archive, open_plain, other_archive, unpack
from multijoint.sharing.inspection.config_checks import check_config, check_large_files, check_logging, is_large_files
from multijoint.sharing.inspection.config_reading import ConfigFault, read_config
from multijoint.sharing.inspection.descriptions import (
    check_model,
    check_networks,
    describe_domains,
    is_same_model,
    member_names,
)
from multijoint.sharing.inspection.file_checks import check_checksums, check_code, check_content, list_files
from multijoint.sharing.inspection.known_targets import known_of_release
from multijoint.sharing.inspection.onnx_checks import check_onnx
from multijoint.sharing.inspection.report import Concern, Report, shorten
from multijoint.sharing.inspection.state_dicts import StoredTensor
from multijoint.sharing.inspection.tensor_checks import check_tensors, compare_weights
from multijoint.sharing.inspection.weight_checks import check_torchscript, check_weights, script_configs
from multijoint.sharing.packaging.metadata import PACKAGED_BY

_WEIGHTS = "models/model.pt"
_MOST_SECONDS = 120
_OF_THE_MACHINE = {
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOMEM,
    errno.EIO, errno.EFBIG,
}  # fmt: skip


def inspect_bundle(path: str | Path) -> Report:
    """Inspect a foreign bundle, a folder or a zip file, without executing or importing anything of it.

    A zip file with safe members is unpacked into a private folder for the time of the inspection.

    Raises:
        InputError: it is neither.
    """
    path = Path(path)
    if path.is_dir():
        return inspect_folder(path)
    if path.suffix.lower() == ".pt" and path.is_file():
        rule = f"bundle must be a folder or a zip file, got {show_path(path)}"
        raise InputError(f"{rule}; no code of a checkpoint is run, so that it needs no inspection")
    with _private_folder() as folder:
        return _inspect_archive(path, folder)[0]


@contextlib.contextmanager
def open_bundle(path: str | Path, *, trust: bool = False) -> Iterator[Path]:
    """Inspect a bundle and give its folder, safe to read as data, to a `with` block.

    A zip file is unpacked once, inspected, and removed after the block. A folder is used in place: keep other programs
    from writing to it meanwhile.

    Args:
        path: folder or zip file of a bundle.
        trust: take an unsafe bundle too, unless unpacking or reading it would do harm (`ALWAYS_REFUSED`).

    Yields:
        The bundle's folder.

    Raises:
        InputError: it is unsafe, with the causes.
    """
    path = Path(path)
    with contextlib.ExitStack() as stack:
        if path.is_dir():
            report, folder = inspect_folder(path), path
        else:
            report, folder = _inspect_archive(path, stack.enter_context(_private_folder()))
        remedy = "trust does not lift this" if trust else "see `multijoint inspect`, or --trust if you know its maker"
        if refusal := report.refusal(most=3, remedy=remedy, trust=trust):
            raise InputError(refusal)
        yield folder


def inspect_folder(folder: Path) -> Report:
    """Inspect an unpacked bundle."""
    report = Report(bundle=shorten(show_path(folder)))
    files, found = list_files(folder)
    report.extend(found)
    digests = {name: _digest(path) for name, path in files.items()}
    configs: dict[str, Any] = {}
    weights: dict[str, list[StoredTensor]] = {}  # of the files of weights without concerns
    described: dict[str, Any] = {}  # models by the names of their safetensors files
    start = time.monotonic()
    for name, path in files.items():
        if time.monotonic() - start > _MOST_SECONDS:
            report.add("unsafe", "bomb", ".", f"looking at it takes more than {_MOST_SECONDS} s, stopped at {name}")
            break
        try:
            report.extend(check_content(path, name=name))
            suffix = PurePosixPath(name).suffix.lower()
            if suffix in (".py", ".pyi"):
                report.extend(check_code(path, name=name))
            elif suffix in (".json", ".yaml", ".yml", ".conf"):
                with open_plain(path) as file:
                    data = file.read(8 * 2**20)
                if suffix == ".conf":
                    report.extend(check_logging(data, path=name, known=known_of_release()))
                else:
                    _inspect_data(report, name, data, configs, digests=digests)
            elif suffix == ".pt":
                held, found = check_weights(path, name=name)
                weights |= {} if found else {name: held}
                report.extend(found)
            elif suffix == ".ts":
                report.extend(check_torchscript(path, name=name))
                for inner, data in script_configs(path).items():
                    _inspect_data(report, f"{name}/{inner}", data, configs, digests=digests)
            elif suffix == ".safetensors":
                held, model, stated, found = check_tensors(path, name=name)
                report.extend(found)
                if not found:
                    weights[name] = held
                    described[name] = model
                    other = f"{name.removesuffix(suffix)}.pt"  # which was looked at before, by the order of names
                    beside = files.get(other) if other in weights else None
                    report.extend(compare_weights(path, beside, name=other, stated=stated, digests=digests))
            elif suffix == ".onnx":
                report.extend(check_onnx(path, name=name))
        except Exception as error:  # any error that foreign bytes cause is a concern
            _refuse_resources(error)
            report.add("unsafe", "file", name, f"cannot be looked at: {type(error).__name__} {error}")
    left_out = {str(each.get("path")) for each in _large_files(configs)}
    report.extend(check_checksums(files, digests, left_out=left_out))
    inference = configs.get("configs/inference.json")
    model = inference.get("model") if isinstance(inference, dict) else None
    report.extend(check_model(model, weights=weights, digest=digests.get(_WEIGHTS, "")))
    members = model.get("members") if isinstance(model, dict) else None
    read = []
    for name, member in zip(member_names(model), members or [model], strict=False):
        tensors = tensors_name(name)
        if tensors in described and not is_same_model(member, described[tensors]):
            report.add("unsafe", "model", tensors, "metadata describes another model than configs/inference.json")
        read.append(tensors if tensors in files else name)
        if read[-1] not in files:
            report.add("warning", "weights", name, "no weights in the bundle")
    report.summary = _summary(configs.get("configs/metadata.json"), model, files)
    if known := [name for name in read if name in weights]:
        report.summary["weights"] = sum(math.prod(tensor.shape) for name in known for tensor in weights[name])
        report.summary["read"] = ", ".join(known)
    return report


def _inspect_archive(path: Path, target: Path) -> tuple[Report, Path]:
    if not path.exists():
        raise InputError(f"bundle must be a folder or a .zip, got none at {show_path(path)}; correct the path")
    with open_plain(path) as file:
        kind = other_archive(file.read(512))
        if kind not in ("", "zip"):
            raise InputError(f"bundle {show_path(path)} must be a folder or a .zip, got {kind}; ask for the .zip")
        members, found = check_archive(file)
    if not members and kind != "zip" and path.suffix.lower() != ".zip":
        raise InputError(
            f"bundle must be a folder or a .zip, got {show_path(path)}; give the folder or zip of a bundle"
        )
    if not found:
        try:
            folder = unpack(path, target)
        except UnsafeArchive as error:
            found = [error.concern]
        except OSError as error:
            _refuse_resources(error)
            found = [Concern("unsafe", "archive", ".", f"cannot be unpacked: {error.strerror or error}")]
        else:
            report = inspect_folder(folder)
            report.bundle = shorten(show_path(path))
            return report, folder
    report = Report(bundle=shorten(show_path(path)))
    report.extend(found)
    report.add("note", "archive", ".", "not unpacked, so its content was not looked at")
    return report, target


def _refuse_resources(error: Exception) -> None:
    """Raise `ResourceError` for an error that says nothing about the bundle: a full disk, no permission, no handles."""
    if isinstance(error, OSError) and error.errno in _OF_THE_MACHINE:
        raise ResourceError(
            f"folder for temporary files must have room for the unpacked bundle, got: {error.strerror}; free some "
            "space, or set TMPDIR to another folder; the bundle was not judged"
        ) from error


def _inspect_data(
    report: Report, name: str, data: bytes, configs: dict[str, Any], *, digests: Mapping[str, str]
) -> None:
    kind = "yaml" if PurePosixPath(name).suffix.lower() in (".yaml", ".yml") else "json"
    try:
        content = configs[name] = read_config(data, kind=kind)
    except ConfigFault as fault:
        report.add("unsafe", fault.kind, name, str(fault))
        return
    if is_large_files(name):
        report.extend(check_large_files(content, path=name, digests=digests))
    report.extend(check_config(content, path=name, known=known_of_release()))
    report.extend(check_networks(content, path=name))


def _large_files(configs: dict[str, Any]) -> list[dict[str, Any]]:
    contents = [content for name, content in configs.items() if is_large_files(name) and isinstance(content, dict)]
    lists = [content.get("large_files") for content in contents]
    return [entry for each in lists if isinstance(each, list) for entry in each if isinstance(entry, dict)]


def _summary(metadata: Any, model: Any, files: dict[str, Path]) -> dict[str, Any]:
    stated = metadata if isinstance(metadata, dict) else {}
    summary: dict[str, Any] = {
        key: shorten(stated[key]) for key in ("name", "version") if isinstance(stated.get(key), str)
    }
    changes = stated.get("changelog")
    change = str(changes.get(str(stated.get("version")))) if isinstance(changes, dict) else ""
    if change.startswith(PACKAGED_BY):
        summary["release"] = shorten(change.removeprefix(PACKAGED_BY))
    summary["domains"] = describe_domains(model)
    summary["licences"] = [name for name in ("LICENSE", "docs/data_license.txt") if name in files]
    return summary


def _digest(path: Path) -> str:
    with open_plain(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def _private_folder() -> Iterator[Path]:
    """Make a folder that only this user can enter, removed at the end, also on SIGTERM."""
    with contextlib.ExitStack() as stack:
        with deferring_termination():
            try:
                made = tempfile.TemporaryDirectory(prefix="multijoint-bundle-", ignore_cleanup_errors=True)
            except OSError as error:  # no folder for temporary files, or a full one, without its own number
                _refuse_resources(OSError(errno.ENOSPC, error.strerror or "none can be made"))
            folder = stack.enter_context(made)
            stack.enter_context(at_termination(lambda: shutil.rmtree(folder, ignore_errors=True)))
        yield Path(folder)
