"""Actions that a foreign configuration would cause: components, expressions, macros, paths and downloads."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from multijoint.sharing.inspection.archives import check_name
from multijoint.sharing.inspection.executed_files import executed_by_others
from multijoint.sharing.inspection.known_targets import Known, is_target_key, walk
from multijoint.sharing.inspection.report import Concern

_OUTSIDE = re.compile(r"(/|~|\\|[A-Za-z]:[\\/]|file:|(.*[\\/])?\.\.([\\/]|$))", re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_SPECIAL = ("_target_", "_mode_", "_requires_", "_disabled_", "_desc_")
_WEIGHTS = re.compile(r"models/[\w.-]+\.(pt|ts|onnx|safetensors)(\.sha256)?", re.ASCII)
_MOST_NUMBER = 2**32
_DIGEST = re.compile(r"[0-9a-f]{64}")


def check_config(content: Any, *, path: str, known: Known) -> Iterator[Concern]:
    """Concerns about one configuration read by `read_config`, also `metadata.json`; nothing in it is evaluated."""
    metadata = PurePosixPath(path).name.startswith("metadata.")

    def unsafe(kind: str, message: str) -> Concern:
        return Concern("unsafe", kind, path, message)

    if not isinstance(content, Mapping):
        yield unsafe("config", f"must be a mapping, got {type(content).__name__}")
        return
    for key, value in walk(content):
        shown = key.lstrip("/")
        parts = re.split(r"[/#]|::", key)
        special = [part for part in (each.lstrip("+~ ") for each in parts) if re.fullmatch(r"_\w+_", part)]
        if any(part not in _SPECIAL for part in special):
            yield unsafe("config", f"unknown instruction at {shown}")
        if is_target_key(key):
            if not isinstance(value, str) or value not in known.targets:
                yield unsafe("target", f"unknown _target_ {value!r} at {shown}")
        elif "_target_" in special:
            yield unsafe("target", f"_target_ that is no name at {shown}")
        elif "_mode_" in special and (not isinstance(value, str) or value not in known.modes):
            yield unsafe("config", f"unknown _mode_ {value!r} at {shown}")
        elif "_requires_" in special or ("_disabled_" in special and not isinstance(value, bool)):
            yield unsafe("config", f"{special[-1]} that evaluates {value!r} at {shown}")
        if isinstance(value, int) and abs(value) > _MOST_NUMBER:
            yield unsafe("bomb", f"size bomb: number {value} at {shown}")
        if isinstance(value, str):
            yield from _check_text(value, shown, path, parts, known, metadata)


def is_large_files(name: str) -> bool:
    """Whether MONAI would take a file of a bundle for its list of files to download."""
    return re.fullmatch(r"large_files[^/]*\.(ya?ml|json)", name, re.IGNORECASE) is not None


def check_large_files(content: Any, *, path: str, digests: Mapping[str, str]) -> Iterator[Concern]:
    """Concerns about a list of files to download: their source, their place in the bundle, a missing SHA-256.

    Args:
        content: the list as plain data.
        path: of the list in the bundle.
        digests: SHA-256 of the files that are in the bundle.
    """
    files = content.get("large_files") if isinstance(content, Mapping) and len(content) == 1 else None
    if not isinstance(files, list) or not all(isinstance(each, Mapping) for each in files):
        yield Concern("unsafe", "download", path, "must hold large_files, a list of path, url, hash_val and hash_type")
        return
    for entry in files:
        name, url, digest = (str(entry.get(key, "")) for key in ("path", "url", "hash_val"))
        if problem := _download_problem(name, entry):
            yield Concern("unsafe", "download", path, f"download to {name!r}: {problem}")
        if not url.startswith("https://") or any(mark in url for mark in "$@%\\ "):
            yield Concern("unsafe", "download", path, f"download from {url!r}, which is no plain https address")
        if entry.get("hash_type") != "sha256" or not _DIGEST.fullmatch(digest):
            yield Concern("unsafe", "download", path, f"download of {name!r} without the SHA-256 that it must have")
        elif digests.get(name, digest) != digest:
            yield Concern("unsafe", "download", path, f"download to {name!r}: replaces this file by another")
        else:
            yield Concern("note", "download", path, f"{name} is not in the bundle; it is to come from {url}")


def _download_problem(name: str, entry: Mapping[str, Any]) -> str:
    """Fault of a file to download, "" for none: only weights may come so, which are inspected before they are used."""
    unknown = sorted(set(map(str, entry)) - {"path", "url", "hash_val", "hash_type"})
    return (
        ("no path" if not name else check_name(name))
        or executed_by_others(name)
        or ("" if _WEIGHTS.fullmatch(name) else "is no file of weights in models/")
        or (f"unknown setting {unknown[0]!r}" if unknown else "")
    )


def check_logging(data: bytes, *, path: str, known: Known) -> Iterator[Concern]:
    """Refuse any but this release's file, because `logging.config.fileConfig` evaluates parts of it."""
    if data not in known.logging:
        message = "logging configuration is not this release's: logging evaluates class= and args= of such a file"
        yield Concern("unsafe", "config", path, message)


def _check_text(value: str, shown: str, path: str, parts: list[str], known: Known, metadata: bool) -> Iterator[Concern]:
    if value.startswith("$"):
        if value not in known.expressions:
            yield Concern("unsafe", "expression", path, f"unknown expression {value!r} at {shown}")
    elif value.startswith("%") and re.search(r"\.(json|ya?ml)", value, re.IGNORECASE):
        yield Concern("unsafe", "macro", path, f"macro {value!r} at {shown} reads another file")
    elif _OUTSIDE.match(value) and parts[-1] != "_target_":
        level = "warning" if metadata else "unsafe"
        yield Concern(level, "path", path, f"path outside the bundle, {value!r} at {shown}")
    elif parts[-1].lstrip("+") == "bundle_root" and value != ".":
        yield Concern("unsafe", "path", path, f"bundle_root must be '.', got {value!r}: code would come from there")
    if _CONTROL.search(value):
        yield Concern("warning" if metadata else "unsafe", "config", path, f"control characters at {shown}")
