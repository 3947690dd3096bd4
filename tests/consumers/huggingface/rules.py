"""Rules for a packaged bundle's folder before it goes to a hub."""

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

NEEDED = ("LICENSE", "docs/data_license.txt", "docs/README.md", "configs/metadata.json", "configs/inference.json")
WEIGHTS = "models/model.pt"
LARGEST = 50 * 10**9  # bytes the Hub takes in one file
SECRETS = re.compile(
    rb"hf_[A-Za-z0-9]{30,}|gh[pousr]_[A-Za-z0-9]{36}|AKIA[0-9A-Z]{16}|-----BEGIN [A-Z ]*PRIVATE KEY-----"
)
# Folders of the person who made it. Not every absolute path: `/usr/bin/env` identifies no one.
PATHS = re.compile(rb"(?<![\w.-])(?:/home|/root|/Users|/work|/tmp|/mnt|/scratch|[A-Za-z]:\\+Users)[/\\]+[\w.-]+")
CACHES = re.compile(r"(^|/)(__pycache__|\.git|\.cache|\.DS_Store|\.ipynb_checkpoints|[^/]*\.pyc)(/|$)")
LINK = re.compile(r"\]\((?!https?://|mailto:|#)([^)\s]+)")


def find_faults(folder: Path) -> list[str]:
    """One line for each rule that the folder breaks."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() or path.is_symlink())
    names = [path.relative_to(folder).as_posix() for path in paths]
    faults = [f"{name}: missing" for name in NEEDED if name not in names]
    elsewhere = folder / "large_files.yml"
    if WEIGHTS not in names and not (elsewhere.is_file() and WEIGHTS in elsewhere.read_text()):
        faults.append(f"{WEIGHTS}: neither there nor in large_files.yml")
    for path, name in zip(paths, names, strict=True):
        if path.is_symlink():
            faults.append(f"{name}: a link")
            continue
        if CACHES.search(name):
            faults.append(f"{name}: a cache")
        if path.stat().st_size > LARGEST:
            faults.append(f"{name}: larger than the Hub takes")
        for part, data in _parts(name, path.read_bytes()):
            for what, pattern in (("a secret", SECRETS), ("a path of its maker", PATHS)):
                found = pattern.search(data)
                if found:
                    shown = "" if what == "a secret" else f", {found[0].decode(errors='replace')}"
                    faults.append(f"{part}: {what}{shown}")
    return faults + _card_faults(folder) + _checksum_faults(folder, names) + _metadata_faults(folder)


def _parts(name: str, data: bytes) -> Iterator[tuple[str, bytes]]:
    """A file and, of an archive such as a PyTorch file, its members, which may be compressed."""
    yield name, data
    if zipfile.is_zipfile(io.BytesIO(data)):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for member in archive.infolist():
                if member.compress_type != zipfile.ZIP_STORED:
                    yield f"{name}, {member.filename}", archive.read(member)


def _card_faults(folder: Path) -> list[str]:
    """MONAI copies docs/README.md to README.md in the root and puts its own metadata before it."""
    path, faults = folder / "docs" / "README.md", []
    if not path.is_file():
        return []
    text = path.read_text(encoding="utf-8")
    if re.match(r"\s*---\r?\n", text):
        faults.append("docs/README.md: metadata of its own, before which push_to_hf_hub puts others")
    if not re.match(r"\s*# \S", text):
        faults.append("docs/README.md: no title in the first line")
    faults += [f"docs/README.md: the link {link} breaks in the root" for link in LINK.findall(text)]
    if (folder / "README.md").exists():
        faults.append("README.md: push_to_hf_hub would overwrite it with docs/README.md")
    return faults


def _checksum_faults(folder: Path, names: list[str]) -> list[str]:
    path = folder / "checksums.sha256"
    if not path.is_file():
        return ["checksums.sha256: missing"]
    said = {name: digest for digest, name in (line.split(maxsplit=1) for line in path.read_text().splitlines())}
    faults = [f"checksums.sha256: does not name {name}" for name in names if name not in said and name != path.name]
    for name, digest in said.items():
        file = folder / name.lstrip("*")
        if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != digest:
            faults.append(f"{name}: not what checksums.sha256 says")
    return faults


def _metadata_faults(folder: Path) -> list[str]:
    path = folder / "configs" / "metadata.json"
    if not path.is_file():
        return []
    version = str(json.loads(path.read_text()).get("version", ""))
    return [] if re.fullmatch(r"\d+\.\d+\.\d+", version) else [f"configs/metadata.json: version {version!r} is no tag"]
