"""A package carries the modules that its configurations reach, and they pass the model zoo's format check."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import custom_components
from consumers.model_zoo.folder_rules import style_faults

from multijoint.running import find_bundle
from multijoint.sharing.inspection.known_targets import is_target_key, packaged_by_this_release, walk
from multijoint.sharing.packaging.shipped import SHIPPED, shipped_code

ROOT = Path(custom_components.__file__).parent


def find_module(name: str) -> Path | None:
    path = ROOT.parent.joinpath(*name.split("."))
    return next((each for each in (path / "__init__.py", path.with_suffix(".py")) if each.is_file()), None)


def imported_by(path: Path) -> Iterator[str]:
    """Names that a module imports from custom_components, in functions too; some of them are not modules."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def reached_modules() -> set[str]:
    """Paths of all modules that packaged configurations need, by following the imports in their text."""
    values = [item for config in packaged_by_this_release(find_bundle()) for item in walk(config)]
    targets = {value for key, value in values if is_target_key(key) and value.startswith("custom_components.")}
    assert len(targets) > 30
    waiting, found = ["custom_components"], set[str]()
    for target in targets:
        module, _, name = target.rpartition(".")
        waiting += [module, getattr(importlib.import_module(module), name).__module__]
    while waiting:
        name = waiting.pop()
        path = find_module(name)
        if name.startswith("custom_components") and path is not None and str(path) not in found:
            found.add(str(path))
            waiting += [*imported_by(path), name.rpartition(".")[0]]
    return {Path(path).relative_to(ROOT.parent).as_posix() for path in found}


def test_a_package_carries_what_its_configurations_reach() -> None:
    shipped = {name for name in shipped_code() if name.endswith(".py")}
    reached = reached_modules()
    assert sorted(reached - shipped) == [], "add these to SHIPPED"
    assert sorted(shipped - reached) == [], "no packaged configuration reaches these: take them out of SHIPPED"


def test_faces_travel_with_their_stubs() -> None:
    stubs = {name for name in shipped_code() if name.endswith(".pyi")}
    assert stubs == {f"custom_components/{package}/__init__.pyi" for package in SHIPPED if package}


def test_it_passes_the_zoo_s_format_check(tmp_path: Path) -> None:
    for name, content in shipped_code().items():
        path = tmp_path / "bundle" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    assert list(style_faults(tmp_path / "bundle")) == []
    (tmp_path / "bundle" / "custom_components" / "errors.py").write_text("import torch\nimport os\nx  = 1\n")
    assert [fault.partition(":")[0] for fault in style_faults(tmp_path / "bundle")] == ["black", "isort", "flake8"]
