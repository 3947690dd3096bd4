"""The zoo's rules for a bundle's files, checked without running any of its code."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

LARGEST = 25 * 10**6  # bytes of one file in the zoo's repository
NEEDED = ("configs/metadata.json", "LICENSE", "models/model.pt")
NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*(_[A-Za-z0-9]+)+")  # a task and a kind of data at least
VERSION = re.compile(r"\d+\.\d+\.\d+")
KEYS = {
    "inference": ("bundle_root", "device", "network_def", "inferer", "output_dir"),
    "train": ("bundle_root", "device", "dataset_dir", "output_dir"),
}
SECTIONS = {
    "train": ("trainer", "trainer#max_epochs", "dataset", "dataset#data", "handlers"),
    "validate": ("evaluator", "handlers", "dataset", "dataset#data"),
}
STYLE_FILE = str(Path(__file__).with_name("style.cfg"))
STYLE = (
    ("black", "--check", "--quiet", "--skip-magic-trailing-comma", "--line-length", "120"),
    ("isort", "--check-only", "--quiet", "--settings-file", STYLE_FILE),
    ("flake8", "--config", STYLE_FILE),
)


def folder_faults(folder: Path) -> Iterator[str]:
    """One line for each rule that the files break; files of `large_files` must lie at their places already."""
    for name in NEEDED:
        if not (folder / name).is_file():
            yield f"{name} is missing"
    if find(folder / "configs", "inference") is None:
        yield "configs/inference.json is missing, or .yaml or .yml"
    if not NAME.fullmatch(folder.name):
        yield f"the name must be of two or more words joined by underscores, got {folder.name}"
    elsewhere = find(folder, "large_files")
    listed = yaml.safe_load(elsewhere.read_text())["large_files"] if elsewhere else []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        if path.stat().st_size > LARGEST and name not in [each["path"] for each in listed]:
            yield f"{name} has {path.stat().st_size / 1e6:.1f} MB and is not in large_files.yml"
        if re.search(r"(^|/)(__pycache__|\.[^/]+)(/|$)|\.pyc$", name):
            yield f"{name} is a cache or hidden"
    for kind in KEYS:
        yield from key_faults(folder / "configs", kind)


def version_faults(folder: Path) -> Iterator[str]:
    """The version must be there, in the changelog too."""
    metadata = json.loads((folder / "configs" / "metadata.json").read_text())
    version, changelog = metadata.get("version"), metadata.get("changelog")
    if not isinstance(version, str) or not VERSION.fullmatch(version):
        yield f"version must be three numbers, got {version!r}"
    if not isinstance(changelog, dict) or version not in changelog:
        yield f"version {version} is not in the changelog"
    if not metadata.get("name"):
        yield "name, which the zoo's page shows, is missing"


def key_faults(configs: Path, kind: str) -> Iterator[str]:
    """Names that other tools look for in a config file, if there is one."""
    path = find(configs, kind)
    if path is None:
        return
    config = yaml.safe_load(path.read_text())  # of which JSON is a part
    wanted = list(KEYS[kind])
    if kind == "train":
        wanted += [f"{name}#{each}" for name, keys in SECTIONS.items() if name in config for each in keys]
        handlers = config.get("train", {}).get("handlers", [])
        for handler in handlers if isinstance(handlers, list) else []:
            if handler["_target_"].endswith("ValidationHandler") and handler.get("interval") != "@val_interval":
                yield f"{path.name}: interval of ValidationHandler must be @val_interval, got {handler.get('interval')}"
    for key in wanted:
        if not has(config, key):
            yield f"{path.name}: {key} is missing"


def style_faults(folder: Path) -> Iterator[str]:
    """What black, isort and flake8 say of the Python files."""
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.py"))
    for tool, *options in STYLE if files else ():
        command = [sys.executable, "-m", tool, *options, *files]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        if done.returncode:
            said = (done.stdout + done.stderr).strip().splitlines()
            yield f"{tool}: {len(said)} lines: " + " | ".join(said[:5])


def find(folder: Path, stem: str) -> Path | None:
    """A file in one of the formats that a config may have."""
    return next(
        (path for path in (folder / f"{stem}.{each}" for each in ("json", "yaml", "yml")) if path.is_file()), None
    )


def has(config: Any, key: str) -> bool:
    """Whether the config has an item; its value may be null."""
    for part in key.split("#"):
        if not isinstance(config, dict) or part not in config:
            return False
        config = config[part]
    return True
