"""Manifests written from the data set of a folder."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import yaml
from custom_components.data.manifests import load_manifest
from custom_components.errors import InputError, show_path
from custom_components.io.formats import case_id
from custom_components.system.files import write_atomically

from multijoint.discovery.found_cases import FoundCase, FoundDataset


def write_manifest(
    path: Path,
    found: FoundDataset,
    *,
    domain: str,
    modality: str = "MR",
    licence: str = "not stated",
    source: str = "not stated",
    dataset_dir: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Write a manifest whole or not at all; before that, a draft is read as a training would read it.

    Args:
        path: file to write.
        found: the data set.
        domain: name of the domain.
        modality: free text.
        licence: free text.
        source: free text.
        dataset_dir: folder that holds all cases, where paths start; that of the manifest if None.
        overwrite: replace an existing file.

    Raises:
        InputError: the file exists, a case lies elsewhere, or the result breaks a rule of the format.
    """
    if path.exists() and not overwrite:
        raise InputError(
            f"manifest {show_path(path)} must not exist, got one; name another with --out, or give --overwrite"
        )
    text = _format(dataset_dir or path.parent, found, domain=domain, modality=modality, licence=licence, source=source)
    with tempfile.TemporaryDirectory() as scratch:
        draft = Path(scratch, path.name)
        draft.write_text(text, encoding="utf-8")
        load_manifest(draft, dataset_dir=dataset_dir or path.parent)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text.encode())


def earlier_names(path: Path) -> dict[int, str]:
    """Names of label values in an existing manifest; empty if there is none or it cannot be read."""
    try:
        return dict(load_manifest(path, check_files=False).domain.labels) if path.is_file() else {}
    except InputError:
        return {}


def _format(root: Path, found: FoundDataset, **described: str) -> str:
    """YAML with one line a case."""
    folders = [_relative(case.label.parent, root) for case in found.cases if _is_override(case)]
    corrections = next(iter(folders), None)
    if len(set(folders)) > 1:
        raise InputError(f"corrected label maps must lie in one folder, got {len(set(folders))}; put them together")
    head: dict[str, Any] = {
        "domain": described["domain"],
        "modality": described["modality"],
        "plane": found.plane,
        "labels": {int(value): str(name) for value, name in found.names.items()},
        "licence": described["licence"],
        "source": described["source"],
    }
    if corrections is not None:
        head["corrections"] = corrections
    lines = ["# Written by `multijoint init`: read it, and correct what it could only guess."]
    lines += [_dump({key: value})[1:-1] for key, value in head.items()]
    lines += ["cases:"]
    for case in found.cases:
        row = {"name": case.name, "image": _relative(case.image, root)}
        label = case.original if _is_override(case) else case.label
        row |= {} if label is None else {"label": _relative(label, root)}
        lines += [f"  - {_dump(row | {'subject': case.subject})}"]
    return "\n".join(lines) + "\n"


def _is_override(case: FoundCase) -> bool:
    """Whether `corrections` of a manifest would find the label map; otherwise the case must name it as its label."""
    names = {case.name, f"{case.name}_seg", *([] if case.original is None else [case_id(case.original)])}
    return case.label != case.original and case_id(case.label) in names and "correct" in case.label.parent.name.lower()


def _dump(value: dict[str, Any]) -> str:
    return yaml.safe_dump(value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**6).strip()


def _relative(path: Path, root: Path) -> str:
    try:
        return path.absolute().relative_to(root.absolute()).as_posix()
    except ValueError as error:
        raise InputError(
            f"files must lie below the manifest's folder or --dataset-dir, got {show_path(path)} elsewhere; "
            "give a folder that holds all"
        ) from error
