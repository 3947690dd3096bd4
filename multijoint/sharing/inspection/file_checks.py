"""Files of a foreign bundle: their list, their checksums, their real kinds, and whether code is this release's."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import custom_components

from multijoint.sharing.inspection.archives import Limits, check_name, open_plain, other_archive
from multijoint.sharing.inspection.executed_files import executed_by_others
from multijoint.sharing.inspection.pickles import is_program
from multijoint.sharing.inspection.report import FOREIGN_CODE, Concern
from multijoint.sharing.packaging.metadata import CHECKSUMS

_PACKAGE = "custom_components"
_START = 2**20
_TEXT = {".md", ".txt", ".json", ".yaml", ".yml", ".conf", ".csv", ".sha256", ".rst", ""}
_KNOWN = _TEXT | {".py", ".pyi", ".pt", ".safetensors", ".ts", ".onnx", ".png", ".jpg", ".jpeg"}
_PICKLES = {".pkl", ".pickle", ".joblib", ".dill", ".npy", ".npz", ".ckpt", ".bin", ".pt2", ".h5", ".mat"}
_PROGRAMS = (
    (b"\x7fELF", "ELF program"),
    (b"MZ", "Windows program"),
    (b"\xca\xfe\xba\xbe", "compiled program"),
    (b"\xcf\xfa\xed\xfe", "compiled program"),
    (b"#!", "script with an interpreter (#!)"),
)
_HUB_RECORD = re.compile(r"\.cache/huggingface/(.+\.(metadata|lock)|\.gitignore|CACHEDIR\.TAG)")
_MOST_OF_A_RECORD = 4096  # bytes
_LINE = re.compile(r"([0-9a-f]{64}) [ *](\S.*)")


def list_files(folder: Path) -> tuple[dict[str, Path], list[Concern]]:
    """List the plain files of a bundle by their paths in it, with concerns about all else; no link is followed."""
    files: dict[str, Path] = {}
    found: list[Concern] = []
    waiting, total, from_hub, limits = [(folder, "")], 0, False, Limits()
    while waiting:
        where, prefix = waiting.pop()
        for entry in sorted(os.scandir(where), key=lambda each: each.name):
            name = prefix + entry.name
            mode = entry.stat(follow_symlinks=False).st_mode
            if problem := check_name(name):
                found.append(Concern("unsafe", "file", name, problem))
            if stat.S_ISLNK(mode):
                found.append(Concern("unsafe", "file", name, f"symbolic link to {os.readlink(entry.path)!r}"))
            elif stat.S_ISDIR(mode):
                if entry.name == "__pycache__":
                    found.append(Concern("unsafe", "code", name, "folder of compiled code"))
                if name.count("/") >= limits.depth:
                    found.append(Concern("unsafe", "bomb", name, "folders nested too deep"))
                else:
                    waiting.append((Path(entry.path), name + "/"))
            elif not stat.S_ISREG(mode):
                found.append(Concern("unsafe", "file", name, "special file (device, pipe or socket)"))
            else:
                size = entry.stat(follow_symlinks=False).st_size
                total += size
                if _HUB_RECORD.fullmatch(name) and size <= _MOST_OF_A_RECORD:
                    from_hub = True
                    continue
                if entry.stat(follow_symlinks=False).st_nlink > 1:
                    found.append(Concern("warning", "file", name, "hard link: the file has a second name elsewhere"))
                files[name] = Path(entry.path)
        if len(files) + len(waiting) > limits.members or total > limits.total:
            message = f"size bomb: over {limits.members} files or {limits.total} bytes"
            return {}, [Concern("unsafe", "bomb", ".", message)]
    if from_hub:
        message = "records of a download by huggingface_hub: not looked into, nothing here reads them"
        found.append(Concern("note", "file", ".cache/huggingface", message))
    return dict(sorted(files.items())), found


def check_checksums(files: dict[str, Path], digests: dict[str, str], *, left_out: set[str]) -> Iterator[Concern]:
    """Compare the digests of files with `checksums.sha256`; those `left_out` are downloaded by `large_files.yml`."""
    if CHECKSUMS not in files:
        yield Concern("warning", "checksum", ".", f"no checksums: without {CHECKSUMS}, damage and changes go unseen")
        return
    listed: dict[str, str] = {}
    with open_plain(files[CHECKSUMS]) as file:
        lines = file.read(4 * _START).decode("utf-8", errors="replace").splitlines()
    for number, line in enumerate(lines, start=1):
        match = _LINE.fullmatch(line)
        if match is None or match[2] in listed:
            reason = "is not '<sha256>  <path>'" if match is None else "lists a file again"
            yield Concern("unsafe", "checksum", CHECKSUMS, f"line {number} {reason}")
        elif check_name(match[2]):
            yield Concern("unsafe", "checksum", CHECKSUMS, f"line {number}: {check_name(match[2])}")
        else:
            listed[match[2]] = match[1]
    for name, digest in listed.items():
        if name not in files:
            level = "note" if name in left_out else "unsafe"
            yield Concern(level, "checksum", name, "is missing, but has a checksum")
        elif digest != digests[name]:
            yield Concern("unsafe", "checksum", name, "checksum differs: damaged or changed")
    for name in files:
        if name.endswith((".pt.sha256", ".onnx.sha256", ".safetensors.sha256")):
            with open_plain(files[name]) as file:
                stated = file.read(200).decode("utf-8", errors="replace").partition(" ")[0]
            if stated != digests.get(name.removesuffix(".sha256"), stated):
                yield Concern("unsafe", "checksum", name, "states another checksum than that of the weights next to it")
    for name in files.keys() - listed.keys() - {CHECKSUMS}:
        harmless = PurePosixPath(name).suffix.lower() in (".md", ".txt", ".png", ".jpg", ".csv")
        yield Concern("warning" if harmless else "unsafe", "checksum", name, "is not listed in the checksums")


def check_code(path: Path, *, name: str) -> Iterator[Concern]:
    """Compare a Python file with this release's own, byte for byte."""
    parts = PurePosixPath(name).parts
    own = Path(custom_components.__file__).parent.joinpath(*parts[1:])
    with open_plain(path) as file:
        data = file.read(4 * _START)
    if parts[0] != _PACKAGE or not own.is_file() or own.read_bytes() != data:
        yield Concern("unsafe", "code", name, FOREIGN_CODE)


def check_content(path: Path, *, name: str) -> Iterator[Concern]:
    """Concerns about the kind of a file, judged by its name and its first bytes."""
    pure = PurePosixPath(name.lower())
    suffix = pure.suffix
    with open_plain(path) as file:
        start = file.read(_START)
    program = next((kind for magic, kind in _PROGRAMS if start.startswith(magic)), "")
    archive = other_archive(start)
    if danger := executed_by_others(name):
        yield Concern("unsafe", "code", name, danger)
    elif program and suffix not in (".py", ".pyi"):
        yield Concern("unsafe", "code", name, program)
    elif suffix in _PICKLES:
        yield Concern("unsafe", "pickle", name, f"{suffix} files can hold pickles, which run code when they are read")
    elif archive and not (suffix in (".pt", ".ts") and archive == "zip"):
        level = "warning" if name.endswith(".nii.gz") else "unsafe"
        yield Concern(level, "archive-in", name, f"nested archive ({archive}), not looked into")
    elif suffix not in (".pt", ".safetensors", ".ts", ".onnx") and is_program(start):
        yield Concern("unsafe", "pickle", name, "is a pickle that calls code")
    elif suffix not in _KNOWN:
        yield Concern("warning", "file", name, "file of a kind that bundles of this project do not hold")
    elif suffix in _TEXT and b"\0" in start:
        yield Concern("unsafe", "file", name, "is not the text that its name says")
