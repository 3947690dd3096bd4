"""A minimal packaged bundle, and hostile ones made from it: archives, code, configurations, checkpoints, exports.

Each hostile bundle carries a payload that would leave a mark, a file called canary, if it ever ran, or would write
next to its folder, or would exhaust the machine. All are made at test time; none is stored.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import pickle
import shutil
import stat
import struct
import tarfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from custom_components.models.tensor_files import tensor_bytes
from custom_components.networks.unet import MultiDomainUNet
from safetensors import safe_open
from safetensors.torch import save_file

from multijoint.running import find_bundle
from multijoint.sharing.packaging.shipped import shipped_code

NAME = "multijoint_mr_bone_segmentation"
WIDTHS = [4, 8]
DOMAINS = [
    {"name": "ankle", "labels": [[1, "calcaneus"], [2, "talus"], [3, "tibia"]], "plane": "sagittal", "modality": "MR"},
    {"name": "shoulder", "labels": [[1, "humerus"], [2, "scapula"]], "plane": "axial", "modality": "MR"},
]
NETWORK = {"num_classes": [4, 3], "domain_names": ["ankle", "shoulder"], "widths": WIDTHS, "in_channels": 1,
           "norm": "domain", "head": "domain", "attention": False, "embedding": "bottleneck",
           "foreground_prior": 0.01}  # fmt: skip
MODEL = "models/model.pt"
TENSORS = "models/model.safetensors"
INFERENCE = "configs/inference.json"


@dataclass(frozen=True)
class Hostile:
    """One hostile bundle.

    Args:
        name: of the bundle, for the test.
        cause: pattern that a finding's message matches.
        file: part of the path that this finding names, "." for the bundle itself.
        make: writes the bundle, given a folder for it, a good bundle to copy and the canary; returns its path.
        always: refused although the user trusts it.
    """

    name: str
    cause: str
    file: str
    make: Callable[[Path, Path, Path], Path]
    always: bool = False


class Call:
    """Pickles to a call of a function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def write_good(parent: Path) -> Path:
    """A bundle as `multijoint package` writes it, with a tiny network; returns its folder."""
    torch.manual_seed(0)
    source, folder = find_bundle(NAME), parent / NAME
    network = MultiDomainUNet(**NETWORK).eval()
    for name in ("configs", "docs", "models", "custom_components"):
        (folder / name).mkdir(parents=True)
    torch.save(network.state_dict(), folder / MODEL)
    for name, content in shipped_code().items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    for name in ("LICENSE", "configs/logging.conf", "configs/metadata.json", "docs/README.md"):
        shutil.copyfile(source / name, folder / name)
    (folder / "docs/data_license.txt").write_text("phantoms: no rights reserved\n")
    digest = hashlib.sha256((folder / MODEL).read_bytes()).hexdigest()
    described = {"domains": DOMAINS, "preprocessing": {"image_size": [32, 32], "normalization": "volume"},
                 "network": NETWORK, "training": {"epoch": 1}, "digest": digest}  # fmt: skip
    plain = {key: value for key, value in described.items() if key != "digest"}
    (folder / TENSORS).write_bytes(tensor_bytes(network.state_dict(), described=plain, pickled=digest))
    config = yaml.safe_load((source / "configs/inference.yaml").read_text()) | {
        "domain": "ankle",
        "model": {"_target_": "custom_components.models.describe_model", **described},
        "network_def": {"_target_": "custom_components.networks.MultiDomainUNet", **NETWORK, "domain": "@domain"},
        "network": {"_target_": "custom_components.models.load_weights", "network": "@network_def",
                    "path": "@checkpoint", "digest": digest, "device": "@run_device"},
    }  # fmt: skip
    write_json(folder / INFERENCE, config)
    for name in ("train", "evaluate", "multi_gpu_train", "attention_unet"):
        write_json(folder / f"configs/{name}.json", yaml.safe_load((source / f"configs/{name}.yaml").read_text()))
    for domain in DOMAINS:
        write_json(folder / f"configs/domain_{domain['name']}.json", {"domain": domain["name"]})
    script = torch.jit.script(network)
    extra = {name: (folder / "configs" / name).read_text() for name in ("inference.json", "metadata.json")}
    torch.jit.save(script, str(folder / "models/model.ts"), _extra_files=extra)
    (folder / "models/ankle.onnx").write_bytes(onnx_model())
    write_checksums(folder)
    return folder


def write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")


def write_checksums(folder: Path) -> None:
    """Checksums of every file, as an attacker would renew them."""
    for path in (folder / MODEL, folder / TENSORS):
        if path.is_file():
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            path.with_name(f"{path.name}.sha256").write_text(f"{digest}  {path.name}\n")
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    lines = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names
             if name != "checksums.sha256"]  # fmt: skip
    (folder / "checksums.sha256").write_text("".join(lines))


def write_zip(folder: Path, path: Path) -> Path:
    """A zip file of a bundle's folder."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(each for each in folder.rglob("*") if each.is_file()):
            archive.write(file, f"{folder.name}/{file.relative_to(folder).as_posix()}")
    return path


def onnx_model(
    *,
    domain: str = "",
    operator: str = "Relu",
    location: str | None = None,
    shape: list[int] | None = None,
    sides: list[int] | None = None,
    dims: list[int] | None = None,
) -> bytes:
    """A network of one operator; with `location`, its weight is read from that file.

    `shape` is a tensor of whole numbers in it, `sides` the shape of the image, `dims` that of a weight without data.
    """
    from onnx import TensorProto, helper

    nodes = [helper.make_node(operator, ["image"], ["pred"], domain=domain)]
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, sides or [1]) for name in ("image", "pred")]
    graph = helper.make_graph(nodes, "network", ports[:1], ports[1:])
    if shape is not None:
        graph.initializer.append(helper.make_tensor("shape", TensorProto.INT64, [len(shape)], shape))
    if dims is not None:
        graph.initializer.add(name="weight", data_type=TensorProto.FLOAT, dims=dims)
    if location is not None:
        tensor = graph.initializer.add(name="weight", data_type=TensorProto.FLOAT, dims=[1])
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)
    return helper.make_model(graph).SerializeToString()


def hostile_bundles() -> list[Hostile]:
    """All of them, each with the cause that must be named."""
    return [*_archives(), *_code(), *_configs(), *_checkpoints(), *_exports()]


# Archives


def _archives() -> list[Hostile]:
    def add(name: str, cause: str, file: str, change: Callable[[zipfile.ZipFile, Path], Any]) -> Hostile:
        def make(folder: Path, good: Path, canary: Path) -> Path:
            path = write_zip(good, folder / "bundle.zip")
            with zipfile.ZipFile(path, "a") as archive:
                change(archive, canary)
            return path

        return Hostile(name, cause, file, make, always=True)

    def put(name: str, data: bytes = b"escaped", mode: int = 0) -> Callable[[zipfile.ZipFile, Path], None]:
        def change(archive: zipfile.ZipFile, canary: Path) -> None:
            info = zipfile.ZipInfo("x")
            info.filename = name.format(canary=canary)
            info.create_system, info.external_attr = 3, mode << 16
            archive.writestr(info, data)

        return change

    def patched(name: str, cause: str, file: str, change: Callable[[bytearray], Any]) -> Hostile:
        def make(folder: Path, good: Path, canary: Path) -> Path:
            path = write_zip(good, folder / "bundle.zip")
            data = bytearray(path.read_bytes())
            path.write_bytes(change(data) or data)
            return path

        return Hostile(name, cause, file, make, always=True)

    link = partial(put, mode=stat.S_IFLNK | 0o777)
    escape = NAME + "/../../canary"
    return [
        add("name-parent", r'path escape: name with "\.\."', "canary", put(escape)),
        add("name-absolute", "path escape: absolute name", "canary", put("{canary}")),
        add("name-backslash", "path escape: backslash", "canary", put(NAME + "/..\\..\\canary")),
        add("name-drive", "path escape: drive letter", "canary", put("C:/canary")),
        add("name-control", "control characters", "canary", put(NAME + "/\x1b]0;canary")),
        add("name-bidirectional", "control characters", "docs", put(NAME + "/docs/canary\u202efdp.md")),
        add("name-long", "very long name", "a", put(NAME + "/" + "a" * 5000)),
        add("name-device", "Windows reserves", "nul.txt", put(NAME + "/nul.txt")),
        add("link-out", "symbolic link", "out", lambda archive, canary: (
            link(NAME + "/out", str(canary.parent).encode())(archive, canary),
            put(NAME + "/out/canary")(archive, canary))),
        add("link-weights", "symbolic link", "more.pt", link(NAME + "/models/more.pt", b"/etc/passwd")),
        add("device", "special file", "disk", put(NAME + "/disk", mode=stat.S_IFBLK | 0o666)),
        add("pipe", "special file", "pipe", put(NAME + "/pipe", mode=stat.S_IFIFO | 0o666)),
        add("set-user-id", "set-user-id", "tool.md", put(NAME + "/tool.md", mode=stat.S_IFREG | 0o4755)),
        add("duplicate-case", "duplicate name", "Inference.json", put(NAME + "/configs/Inference.json")),
        add("duplicate-unicode", "duplicate name", "onfigs", put(NAME + "/\uff43onfigs/inference.json")),
        add("file-and-folder", "a file that is a folder", "metadata.json", put(NAME + "/configs/metadata.json/canary")),
        add("second-root", "one root folder", ".", put("site-packages/canary.pth", b"import os")),
        add("ratio-bomb", "size bomb", "zeros.txt", lambda archive, canary: archive.writestr(
            NAME + "/zeros.txt", bytes(2**26), zipfile.ZIP_DEFLATED)),
        add("many-members", "size bomb", ".", lambda archive, canary: [
            archive.writestr(f"{NAME}/docs/{number}", b"") for number in range(10_001)]),
        add("deep-folders", "folders in each other", "d", put(NAME + "/d" * 60 + "/canary")),
        add("other-compression", "unknown compression", ".", lambda archive, canary: archive.writestr(
            NAME + "/docs/x.md", b"x" * 100, zipfile.ZIP_BZIP2)),
        patched("prepended-script", "prepended", ".", lambda data: b"#!/bin/sh\ntouch canary\n" + data),
        patched("trailing-data", "trailing data", ".", lambda data: data + b"PK tail" * 9),
        patched("second-directory", "two end records", ".", lambda data: data + _empty_zip()),
        patched("encrypted", "encrypted member", ".", _set_encrypted),
        patched("size-lie", "size lie", "LICENSE", _lie_about_size),
        patched("other-local-name", "differs between directory and local header", ".", _rename_locally),
        patched("overlap", "overlapping members", ".", _overlap),
        patched("damaged-data", "checksum|damaged data|size lie", "LICENSE", _damage),
        patched("zip64-lie", "zip64", ".", _claim_zip64),
    ]  # fmt: skip


def _empty_zip() -> bytes:
    return b"PK\x05\x06" + bytes(18)


def _places(data: bytearray, magic: bytes = b"PK\x01\x02") -> list[int]:
    """Offsets of the entries of the directory."""
    place = struct.unpack_from("<L", data, data.rindex(b"PK\x05\x06") + 16)[0]
    found = []
    while data[place : place + 4] == magic:
        found.append(place)
        place += 46 + sum(struct.unpack_from("<3H", data, place + 28))
    return found


def _header(data: bytearray, entry: int) -> int:
    return int(struct.unpack_from("<L", data, entry + 42)[0])


def _set_encrypted(data: bytearray) -> None:
    for entry in _places(data)[:1]:
        data[entry + 8] |= 1
        data[_header(data, entry) + 6] |= 1


def _lie_about_size(data: bytearray) -> None:
    """A member that states 10 bytes and unpacks to thousands."""
    for entry in _places(data)[:1]:
        struct.pack_into("<L", data, entry + 24, 10)
        struct.pack_into("<L", data, _header(data, entry) + 22, 10)


def _rename_locally(data: bytearray) -> None:
    header = _header(data, _places(data)[0])
    data[header + 30 : header + 32] = b".."


def _overlap(data: bytearray) -> None:
    first, second = _places(data)[:2]
    struct.pack_into("<L", data, second + 42, _header(data, first))


def _damage(data: bytearray) -> None:
    header = _header(data, _places(data)[0])
    data[header + 200] ^= 0xFF


def _claim_zip64(data: bytearray) -> None:
    struct.pack_into("<L", data, _places(data)[0] + 24, 0xFFFFFFFF)


# Code


def _changed(name: str, cause: str, file: str, change: Callable[[Path, Path], Any], *, zipped: bool = True,
             always: bool = False, renew: bool = True) -> Hostile:  # fmt: skip
    """A copy of the good bundle, changed, with its checksums renewed as an attacker would, and zipped."""

    def make(folder: Path, good: Path, canary: Path) -> Path:
        copy = folder / "made" / NAME
        shutil.copytree(good, copy)
        change(copy, canary)
        if renew:
            write_checksums(copy)
        return write_zip(copy, folder / "bundle.zip") if zipped else copy

    return Hostile(name, cause, file, make, always)


def _touch(canary: Path) -> str:
    return f"open({str(canary)!r}, 'w').close()"


def _code() -> list[Hostile]:
    def put(name: str, text: str = "{touch}\n") -> Callable[[Path, Path], None]:
        def change(bundle: Path, canary: Path) -> None:
            path = bundle / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text.format(touch=_touch(canary)))

        return change

    def append(bundle: Path, canary: Path) -> None:
        path = bundle / "custom_components/networks/unet.py"
        path.write_text(path.read_text() + _touch(canary) + "\n")

    def compiled(bundle: Path, canary: Path) -> None:
        folder = bundle / "custom_components/__pycache__"
        folder.mkdir()
        (folder / "networks.cpython-311.pyc").write_bytes(b"\xa7\r\r\n" + bytes(12))

    foreign = "not this release's"
    return [
        _changed("changed-module", foreign, "custom_components/networks/unet.py", append),
        _changed("added-module", foreign, "custom_components/extra.py", put("custom_components/extra.py")),
        _changed("shadow-module", foreign, "monai/__init__.py", put("monai/__init__.py")),
        _changed("site-customize", "makes a tool run code", "sitecustomize.py", put("sitecustomize.py")),
        _changed("conftest", "makes a tool run code", "conftest.py", put("docs/conftest.py")),
        _changed("path-file", "makes a tool run code", "x.pth", put("x.pth", "import os; {touch}")),
        _changed("notebook", "makes a tool run code", "demo.ipynb", put("docs/demo.ipynb", "[]")),
        *(_changed(f"tool-{name}", "makes a tool run code|hidden file", path, put(path, text)) for name, path, text in (
            ("git", ".git/config", "[core]\n\tfsmonitor = touch canary\n"), ("envrc", ".envrc", "touch canary\n"),
            ("tasks", ".vscode/tasks.json", "{{}}"), ("workflow", ".github/workflows/ci.yml", "on: push\n"),
            ("make", "docs/Makefile", "all:\n\ttouch canary\n"), ("project", "pyproject.toml", "\n"),
            ("pip", "requirements.txt", "evil\n"), ("page", "docs/index.html", "<script></script>"))),
        _changed("shell-script", "makes a tool run code", "setup.sh", put("setup.sh", "touch canary\n")),
        _changed("shebang", "script with an interpreter", "install", put(
            "install", "#!/usr/bin/env python3\n{touch}\n")),
        _changed("compiled-module", "folder of compiled code", "__pycache__", compiled),
        _changed("shared-library", "ELF program|makes a tool", "networks.so", put("custom_components/networks.so")),
        _changed("elf-as-text", "ELF program", "notes.txt", put("docs/notes.txt", "\x7fELF")),
        _changed("unlisted-config", "not listed in the checksums", "extra.json", put(
            "configs/extra.json", '{{"a": 1}}'), renew=False),
        _changed("changed-file", "checksum differs", "LICENSE", put("LICENSE", "yours"), renew=False),
        _changed("checksum-escape", "path escape", "checksums.sha256", lambda bundle, canary: (
            bundle / "checksums.sha256").write_text("0" * 64 + "  ../../etc/passwd\n"), renew=False),
        _changed("folder-link", "symbolic link", "models/more", lambda bundle, canary: (
            bundle / "models/more").symlink_to(canary.parent), zipped=False),
        _changed("folder-pipe", "special file", "configs/pipe.json", lambda bundle, canary: os.mkfifo(
            bundle / "configs/pipe.json"), zipped=False),
    ]  # fmt: skip


# Configurations


def _configs() -> list[Hostile]:
    def config(content: Callable[[str], Any], file: str = INFERENCE) -> Callable[[Path, Path], None]:
        """Entries added to a configuration; `content` is given an expression that leaves the mark."""

        def change(bundle: Path, canary: Path) -> None:
            path = bundle / file
            own = json.loads(path.read_text()) if path.exists() else {}
            text = json.dumps(own | content("open('CANARY', 'w').close()"))
            path.write_text(text.replace("CANARY", str(canary)))

        return change

    def text(file: str, content: str) -> Callable[[Path, Path], None]:
        return lambda bundle, canary: (bundle / file).write_text(content.replace("CANARY", str(canary)))

    def large(**changes: str) -> Callable[[Path, Path], None]:
        entry = {"path": "models/big.pt", "url": "https://example.org/big.pt", "hash_val": "0" * 64,
                 "hash_type": "sha256"} | changes  # fmt: skip
        return lambda bundle, canary: (bundle / "large_files.yml").write_text(yaml.safe_dump({"large_files": [entry]}))

    def size(key: str, value: Any) -> Callable[[Path, Path], None]:
        def change(bundle: Path, canary: Path) -> None:
            own = json.loads((bundle / INFERENCE).read_text())
            own["model"]["network" if key == "widths" else "preprocessing"][key] = value
            write_json(bundle / INFERENCE, own)

        return change

    bomb = "a: &a [x, x]\n" + "".join(
        f"{b}: &{b} [*{a}, *{a}, *{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    )
    return [
        _changed("expression", r"unknown expression .\$open", INFERENCE, config(lambda mark: {"x": f"${mark}"})),
        _changed("expression-almost", "unknown expression", INFERENCE, config(
            lambda mark: {"run": [f"$@evaluator.run() or {mark}"]})),
        _changed("expression-metadata", "unknown expression", "metadata.json", config(
            lambda mark: {"description": f"${mark}"}, "configs/metadata.json")),
        _changed("expression-override", "unknown expression", "domain_ankle.json", config(
            lambda mark: {"initialize#0": f"${mark}"}, "configs/domain_ankle.json")),
        _changed("import-statement", r"unknown expression '\$import", INFERENCE, config(
            lambda mark: {"imports": ["$import sys", "$import antigravity"]})),
        _changed("target-system", "unknown _target_ 'os.system'", INFERENCE, config(
            lambda mark: {"x": {"_target_": "os.system", "command": "touch 'CANARY'"}})),
        _changed("target-subprocess", "unknown _target_ 'subprocess.run'", "train.json", config(
            lambda mark: {"x": {"_target_": "subprocess.run", "args": ["touch", "CANARY"]}}, "configs/train.json")),
        _changed("target-eval", "unknown _target_ 'builtins.eval'", INFERENCE, config(
            lambda mark: {"x": {"_target_": "builtins.eval", "source": mark}})),
        _changed("target-unsafe-load", "unknown _target_ 'torch.load'", INFERENCE, config(
            lambda mark: {"x": {"_target_": "torch.load", "f": MODEL, "weights_only": False}})),
        _changed("target-download", "unknown _target_ 'monai.bundle.download'", INFERENCE, config(
            lambda mark: {"x": {"_target_": "monai.bundle.download", "name": "x"}})),
        _changed("target-of-ours", "unknown _target_ 'custom_components.system.write_csv'", INFERENCE, config(
            lambda mark: {"x": {"_target_": "custom_components.system.write_csv", "path": "CANARY",
                                "columns": ["a"], "rows": []}})),
        _changed("target-override", "unknown _target_ 'os.system'", "train.json", config(
            lambda mark: {"train#handlers#0#_target_": "os.system"}, "configs/train.json")),
        _changed("target-computed", "unknown _target_", INFERENCE, config(
            lambda mark: {"x": {"_target_": f"${mark}"}})),
        _changed("target-nested", "unknown _target_", INFERENCE, config(
            lambda mark: {"x": {"_target_": {"_target_": "builtins.getattr"}}})),
        _changed("target-list", "unknown _target_|no name", INFERENCE, config(
            lambda mark: {"x": {"_target_": []}, "y": {"_target_": ["os.system"], "_mode_": []}})),
        _changed("requires", "_requires_", INFERENCE, config(
            lambda mark: {"x": {"_target_": "Compose", "_requires_": ["@run"]}})),
        _changed("disabled-expression", "_disabled_", INFERENCE, config(
            lambda mark: {"x": {"_target_": "Compose", "_disabled_": f"${mark}"}})),
        _changed("debug-mode", "unknown _mode_ 'debug'", INFERENCE, config(
            lambda mark: {"x": {"_target_": "Compose", "_mode_": "debug"}})),
        _changed("macro-file", "reads another file", INFERENCE, config(
            lambda mark: {"x": "%/home/user/private.json::key"})),
        _changed("bundle-root", "bundle_root must be|path outside", INFERENCE, config(
            lambda mark: {"bundle_root": "/tmp/evil"})),
        _changed("output-elsewhere", "path outside the bundle", INFERENCE, config(
            lambda mark: {"output_dir": "../../canary"})),
        _changed("logging", "logging configuration", "logging.conf", text("configs/logging.conf", (
            "[loggers]\nkeys=root\n[handlers]\nkeys=h\n[formatters]\nkeys=\n[logger_root]\nhandlers=h\n[handler_h]\n"
            "class=StreamHandler\nargs=(open('CANARY', 'w'),)\n"))),
        _changed("yaml-object", "YAML tag", "more.yaml", text(
            "configs/more.yaml", "x: !!python/object/apply:os.system [\"touch 'CANARY'\"]\n")),
        _changed("yaml-alias-bomb", "anchor or alias", "more.yaml", text("configs/more.yaml", bomb), always=True),
        _changed("yaml-depth-bomb", "depth bomb", "more.yaml", text(
            "configs/more.yaml", "[" * 900 + "]" * 900), always=True),
        _changed("json-depth-bomb", "depth bomb", "more.json", text(
            "configs/more.json", "[" * 200_000 + "]" * 200_000), always=True),
        _changed("json-key-bomb", "key of more than", "more.json", text(
            "configs/more.json", json.dumps({"k" * 2**20: [0] * 2**19})), zipped=False, always=True),
        _changed("json-value-bomb", "size bomb", "more.json", text(
            "configs/more.json", json.dumps([[]] * 2**17)), zipped=False, always=True),
        _changed("duplicate-key", "duplicate key 'run'", "more.json", text(
            "configs/more.json", '{"run": [], "run": ["$print()"]}')),
        _changed("not-a-number", "finite", "more.json", text("configs/more.json", '{"x": NaN}')),
        _changed("download-escape", "path escape", "large_files.yml", large(path="../../canary")),
        *(_changed(f"download-{name}", cause, "large_files.yml", large(path=path)) for name, path, cause in (
            ("code", "custom_components/errors.py", "no file of weights"), ("git", ".git/config", "makes a tool"),
            ("envrc", ".envrc", "hidden file"), ("tasks", ".vscode/tasks.json", "makes a tool run code"),
            ("config", INFERENCE, "no file of weights"), ("elsewhere", "data/x.pt", "no file of weights"))),
        _changed("download-other", "replaces this file by another", "large_files.yml", large(path=MODEL)),
        _changed("download-setting", "unknown setting 'output'", "large_files.yml", large(output="x")),
        _changed("download-other-list", "makes a tool run code", "large_files_2.json", text(
            "large_files_2.json", json.dumps({"large_files": [{"path": "Makefile", "url": "https://x"}]}))),
        _changed("download-address", "no plain https", "large_files.yml", large(url="file:///etc/passwd")),
        _changed("download-unchecked", "without the SHA-256", "large_files.yml", large(hash_val="")),
        _changed("number-bomb", "size bomb: number", "more.json", text(
            "configs/more.json", '{"cache_num": 137438953472}'), always=True),
        _changed("number-endless", "number of 20004 bits|not readable", "more.yaml", text(
            "configs/more.yaml", "x: 0x" + "f" * 5001), always=True),
        _changed("number-infinite", "must be finite", "more.json", text("configs/more.json", '{"x": 1e999}')),
        _changed("network-weights-bomb", "size bomb: a network of", INFERENCE, size(
            "widths", [2**14] * 12), always=True),
        _changed("feature-bomb", "size bomb: a slice takes 137 GB", INFERENCE, lambda bundle, canary: (
            size("widths", [2**11, 4])(bundle, canary), size("image_size", [2**12] * 2)(bundle, canary)), always=True),
        _changed("network-bomb", "size bomb", INFERENCE, size("widths", [10**9, 10**9]), always=True),
        _changed("image-bomb", "size bomb", INFERENCE, size("image_size", [10**6, 10**6]), always=True),
    ]  # fmt: skip


# Checkpoints


def _checkpoints() -> list[Hostile]:
    def save(content: Callable[[Path], Any], file: str = MODEL, **how: Any) -> Callable[[Path, Path], None]:
        return lambda bundle, canary: torch.save(content(canary), bundle / file, **how)

    def raw(file: str, data: Callable[[Path], bytes]) -> Callable[[Path, Path], None]:
        return lambda bundle, canary: (bundle / file).write_bytes(data(canary)) and None

    def tensors(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path, Path], None]:
        def make(bundle: Path, canary: Path) -> None:
            weights = torch.load(bundle / MODEL, weights_only=True)
            change(weights)
            torch.save(OrderedDict(weights), bundle / MODEL)
            own = json.loads((bundle / INFERENCE).read_text())
            own["model"]["digest"] = hashlib.sha256((bundle / MODEL).read_bytes()).hexdigest()
            write_json(bundle / INFERENCE, own)

        return make

    def call(canary: Path) -> Call:
        return Call(open, str(canary), "w")

    def first(value: Callable[[torch.Tensor], Any]) -> Callable[[Path, Path], None]:
        name = "encoder.0.convs.0.weight"

        def change(weights: dict[str, Any]) -> None:
            key = name if name in weights else next(iter(weights))
            weights[key] = value(weights[key])

        return tensors(change)

    return [
        _changed("weights-call", "names .*open", MODEL, save(lambda canary: {"x": call(canary)})),
        _changed("weights-call-new-protocol", "names .*open", MODEL, save(
            lambda canary: {"x": call(canary)}, pickle_protocol=4)),
        _changed("weights-legacy", "not a zip file of torch.save", MODEL, save(
            lambda canary: {"x": call(canary)}, _use_new_zipfile_serialization=False)),
        _changed("weights-plain-pickle", "not a zip file of torch.save", "models/other.pt", raw(
            "models/other.pt", lambda canary: pickle.dumps(call(canary)))),
        _changed("weights-second-pickle", "unknown member", MODEL, _add_to_weights),
        _changed("weights-whole-module", "names .*Conv2d", MODEL, save(lambda canary: torch.nn.Conv2d(1, 1, 1))),
        _changed("weights-instruction", "names .*open", MODEL, partial(_replace_pickle, make=_instruction_call)),
        _changed("weights-nested-tuples", "key is no text", MODEL, partial(_replace_pickle, make=_nested_tuples)),
        _changed("weights-dimensions", "no proper sizes", MODEL, partial(_replace_pickle, make=_many_dimensions)),
        _changed("weights-infinite", "must be finite", MODEL, first(lambda weight: weight * float("inf"))),
        _changed("weights-complex", "Complex", MODEL, first(lambda weight: weight.to(torch.complex64))),
        _changed("weights-sparse", "sparse", MODEL, first(lambda weight: torch.zeros(3, 3).to_sparse())),
        _changed("weights-stride-bomb", "size bomb", MODEL, first(
            lambda weight: torch.zeros(1).expand(2**25, 2**25)), always=True),
        _changed("weights-storage-lie", "size lie", MODEL, partial(_replace_pickle, make=_storage_lie), always=True),
        _changed("weights-other-network", "do not fit the network", MODEL, first(lambda weight: torch.zeros(7))),
        _changed("weights-exchanged", "not those that inference.json describes", MODEL, save(
            lambda canary: {"x": torch.zeros(1)})),
        *_tensor_files(),
        _changed("pickle-file", "can hold pickles", "cache.pkl", raw(
            "models/cache.pkl", lambda canary: pickle.dumps(call(canary)))),
        _changed("pickle-array", "can hold pickles", "mean.npy", raw(
            "models/mean.npy", lambda canary: b"\x93NUMPY" + pickle.dumps(call(canary)))),
        _changed("pickle-as-text", "pickle that calls code", "notes.txt", raw(
            "docs/notes.txt", lambda canary: pickle.dumps(call(canary), protocol=0))),
        _changed("nested-zip", "nested archive", "more.txt", raw("docs/more.txt", lambda canary: _small_zip())),
        _changed("nested-gzip", "nested archive", "more.md", raw("docs/more.md", lambda canary: gzip.compress(b"x"))),
    ]  # fmt: skip


def _tensor_files() -> list[Hostile]:
    """Safetensors files, each in place of the good one."""

    def put(change: Callable[[bytes], bytes]) -> Callable[[Path, Path], None]:
        return lambda bundle, canary: (bundle / TENSORS).write_bytes(change((bundle / TENSORS).read_bytes())) and None

    def header(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path, Path], None]:
        def rewrite(data: bytes) -> bytes:
            length = int.from_bytes(data[:8], "little")
            content = json.loads(data[8 : 8 + length])
            change(content)
            return _framed(json.dumps(content).encode(), data[8 + length :])

        return put(rewrite)

    def saved(change: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[Path, Path], None]:
        def make(bundle: Path, canary: Path) -> None:
            with safe_open(bundle / TENSORS, framework="pt") as content:
                weights, metadata = {name: content.get_tensor(name) for name in content.keys()}, content.metadata()  # noqa: SIM118
            change(weights)
            save_file(weights, bundle / TENSORS, metadata=metadata)

        return make

    def described(text: str) -> Callable[[Path, Path], None]:
        return header(lambda content: content["__metadata__"].update(model=text))

    def overlap(content: dict[str, Any]) -> None:
        first, second = sorted((each for name, each in content.items() if name != "__metadata__"),
                               key=lambda each: each["data_offsets"])[:2]  # fmt: skip
        second["data_offsets"] = [first["data_offsets"][0], second["data_offsets"][1]]

    def forge(bundle: Path, canary: Path) -> None:
        """Another model.pt, whose digest the safetensors file states."""
        torch.save({name: each + 1 for name, each in torch.load(bundle / MODEL).items()}, bundle / MODEL)
        digest = hashlib.sha256((bundle / MODEL).read_bytes()).hexdigest()
        own = json.loads((bundle / INFERENCE).read_text())
        own["model"]["digest"] = digest
        write_json(bundle / INFERENCE, own)
        header(lambda content: content["__metadata__"].update(pt_sha256=digest))(bundle, canary)

    def others(bundle: Path, canary: Path) -> None:
        torch.save({name: each + 1 for name, each in torch.load(bundle / MODEL).items()}, bundle / MODEL)

    return [
        _changed("tensors-cut", "no safetensors file: .*incomplete metadata", TENSORS, put(lambda data: data[:-4])),
        _changed("tensors-cut-header", "no safetensors file: .*invalid header", TENSORS, put(lambda data: data[:40])),
        _changed("tensors-empty", "no safetensors file: .*header too small", TENSORS, put(lambda data: b"\0\0\0")),
        _changed("tensors-header", "size lie: a header of 137438953472 bytes", TENSORS, put(
            lambda data: _framed(b"{}", b"", length=2**37)), always=True),
        _changed("tensors-size", "no safetensors file", TENSORS, header(
            lambda content: next(iter(content.values()))  # the metadata
            and content.update(x={"dtype": "F32", "shape": [2**18, 2**17], "data_offsets": [0, 4]}))),
        _changed("tensors-overlap", "no safetensors file: .*invalid offset", TENSORS, header(overlap)),
        _changed("tensors-kind", "is of F8_E4M3, which no weights here are", TENSORS, saved(
            lambda weights: weights.update(x=torch.zeros(4).to(torch.float8_e4m3fn)))),
        _changed("tensors-nan", "must be finite, got NaN", TENSORS, saved(
            lambda weights: next(iter(weights.values())).fill_(float("nan")))),
        _changed("tensors-missing", "weights do not fit the network described", TENSORS, saved(
            lambda weights: weights.pop(next(iter(weights))))),
        _changed("tensors-no-json", "metadata must describe a model: not readable as JSON", TENSORS, described("{")),
        _changed("tensors-nested", "metadata must describe a model: depth bomb", TENSORS, described(
            "[" * 2**20), always=True),
        _changed("tensors-no-model", "metadata describes another model", TENSORS, described("[1, 2]")),
        _changed("tensors-other-model", "metadata describes another model", TENSORS, described(
            json.dumps({"format": "multijoint-1", "domains": [], "preprocessing": {}, "network": {}, "training": {}}))),
        _changed("tensors-foreign", "metadata must describe a model of this project, got none", TENSORS, header(
            lambda content: content.pop("__metadata__"))),
        _changed("tensors-pickle", "size lie: a header of", TENSORS, lambda bundle, canary: (
            bundle / TENSORS).write_bytes(pickle.dumps(Call(open, str(canary), "w"))) and None, always=True),
        _changed("weights-not-the-tensors", "weights differ from those of model.safetensors", MODEL, forge),
        _changed("weights-of-another-file", "is not the file that model.safetensors", MODEL, others),
    ]  # fmt: skip


def _framed(header: bytes, data: bytes, *, length: int | None = None) -> bytes:
    """A safetensors file."""
    return (len(header) if length is None else length).to_bytes(8, "little") + header + data


def _add_to_weights(bundle: Path, canary: Path) -> None:
    with zipfile.ZipFile(bundle / MODEL, "a") as archive:
        archive.writestr("model/more.pkl", pickle.dumps(Call(open, str(canary), "w")))


def _replace_pickle(bundle: Path, canary: Path, *, make: Callable[[bytes, Path], bytes]) -> None:
    """The file of weights with another `data.pkl`."""
    with zipfile.ZipFile(bundle / MODEL) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(bundle / MODEL, "w") as archive:
        for name, data in contents.items():
            archive.writestr(name, make(data, canary) if name.endswith("/data.pkl") else data)


def _instruction_call(data: bytes, canary: Path) -> bytes:
    return b"\x80\x02" + pickle.dumps(Call(open, str(canary), "w"), protocol=0)


def _storage_lie(data: bytes, canary: Path) -> bytes:
    """The first storage claims 2**20 numbers: PyTorch would read beyond the record's end."""
    place = data.index(b"FloatStorage")
    place = data.index(b"K", data.index(b"cpu", place))  # BININT1 with the number of the storage's elements
    return data[:place] + b"J" + struct.pack("<i", 2**20) + data[place + 2 :]


def _nested_tuples(data: bytes, canary: Path) -> bytes:
    """A key of 60 tuples in each other, each twice: small in memory, endless as text."""
    pairs = b"".join(b"q" + bytes([index]) + b"h" + bytes([index]) + b"\x86" for index in range(60))
    return b"\x80\x02}K\x01" + pairs + b"Ns."


def _many_dimensions(data: bytes, canary: Path) -> bytes:
    """A tensor of 30,000 dimensions, whose number of elements alone takes long to work out."""
    sizes = b"(" + (b"\x8a\x05" + (2**39).to_bytes(5, "little")) * 30_000 + b"t"
    storage = b"((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x01tQ"
    return (
        b"\x80\x02}X\x01\x00\x00\x00xctorch._utils\n_rebuild_tensor_v2\n" + storage + b"K\x00" + sizes + sizes + b"tRs."
    )


class Writer(torch.nn.Module):
    """A network that writes a file when it is run."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        torch.save(x, self.path)
        return x


def _write_script(bundle: Path, canary: Path) -> None:
    torch.jit.script(Writer(str(canary))).save(str(bundle / "models/model.ts"))


def _small_zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("canary", b"x")
    return buffer.getvalue()


# Exports


def _exports() -> list[Hostile]:
    def script(change: Callable[[zipfile.ZipFile, Path], Any]) -> Callable[[Path, Path], None]:
        def make(bundle: Path, canary: Path) -> None:
            with zipfile.ZipFile(bundle / "models/model.ts", "a") as archive:
                change(archive, canary)

        return make

    def onnx(**how: Any) -> Callable[[Path, Path], None]:
        return lambda bundle, canary: (bundle / "models/ankle.onnx").write_bytes(onnx_model(**how)) and None

    def int8(**how: Any) -> Callable[[Path, Path], None]:
        return lambda bundle, canary: (bundle / small).write_bytes(onnx_model(**how)) and None

    ts, model, small = "models/model.ts", "models/ankle.onnx", "models/ankle.int8.onnx"
    return [
        _changed("script-save", "names torch.save, which is not on the list", ts, _write_script),
        _changed("script-member", "unknown member", ts, script(
            lambda archive, canary: archive.writestr("model/setup.py", _touch(canary)))),
        _changed("script-pickle", "names .*open", ts, script(
            lambda archive, canary: archive.writestr(
                "model/code/__torch__/more.py.debug_pkl", pickle.dumps(Call(open, str(canary), "w"), protocol=2)))),
        _changed("script-config", "unknown expression", f"{ts}/extra/more.json", script(
            lambda archive, canary: archive.writestr(
                "model/extra/more.json", json.dumps({"x": "$" + _touch(canary)})))),
        _changed("script-escape", "path escape", ts, script(
            lambda archive, canary: archive.writestr("model/../../canary", b"x"))),
        _changed("onnx-external", "read from another file, '../../../etc/passwd'", model, onnx(
            location="../../../etc/passwd")),
        _changed("onnx-operator", "would run code", model, onnx(domain="com.example", operator="Run")),
        _changed("onnx-python", "would run code", model, onnx(domain="ai.onnx.contrib", operator="PyOp")),
        _changed("onnx-shape-bomb", "size bomb: tensor 'shape'", model, onnx(shape=[2**12, 2**25]), always=True),
        _changed("onnx-port-bomb", "size bomb: 'image' has the shape", model, onnx(sides=[2**18, 2**19]), always=True),
        _changed("onnx-size-lie", "size lie: tensor 'weight'", model, onnx(dims=[2**37]), always=True),
        _changed("onnx-garbage", "not readable as ONNX|no operators", model, lambda bundle, canary: (
            bundle / model).write_bytes(b"\xff" * 100) and None),
        _changed("int8-operator", "operator 'Loop', which no int8 network of this project has", small, int8(
            operator="Loop")),
        _changed("int8-external", "read from another file, '/etc/passwd'", small, int8(location="/etc/passwd")),
        _changed("int8-checksum", "states another checksum", f"{small}.sha256", lambda bundle, canary: (
            (bundle / small).write_bytes(onnx_model()), (bundle / f"{small}.sha256").write_text("0" * 64 + "  x\n"))),
    ]  # fmt: skip


def write_tar(folder: Path, good: Path, *, mode: str) -> Path:
    """A tar file in place of a zip file, with a member that escapes."""
    path = folder / ("bundle.tar" if mode == "w" else "bundle.tar.gz")
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        archive.add(good / "LICENSE", "../../canary")
    return path
