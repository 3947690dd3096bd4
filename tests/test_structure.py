"""The rules of the house: places and imports of modules, names in faces and configurations."""

import ast
import importlib
import inspect
import pydoc
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from monai.bundle.config_item import ComponentLocator
from support.bundles import BUNDLES
from support.imports import PACKAGES, ROOT, find_circle, imports_of, modules_of, parse

# From the ground up: a package imports only from those before it. On one floor, packages leave each other alone.
COMPONENTS = (
    *("errors", "label_maps", "distributed", "system", "domains", "io", "networks", "losses", "postprocessing"),
    *("data", "quality", "models", "metrics", "workflows", "inference", "training"),
)
FLOORS = (
    {"phantoms", "cluster", "running"},
    {"checks", "discovery", "clinic", "sharing", "experiments"},
    {"api"},
    {"benchmarks"},
    {"cli"},
)

# What does not keep a rule yet. This list may only become shorter.
LONGER_THAN_300 = {"custom_components.networks.unet": 330}

# Tests that are about no single module, and why.
CROSS_CUTTING = {
    "api/test_ensembles.py": "ensembles from files to label maps, by every way in",
    "api/test_formats.py": "every format through the whole package",
    "api/test_probabilities.py": "probability maps and views of the whole command",
    "api/test_segment_faults.py": "faults of the whole command: killed, out of disk or memory, at length",
    "checks/test_rules.py": "each rule of a check, whichever module holds it",
    "data/test_corrections.py": "the way of a corrected result from segment by init into a training",
    "sharing/packaging/test_ensembles.py": "packaged ensembles, from the command to their zip",
    "docs/test_docs.py": "every command of the pages",
    "docs/test_site.py": "the pages as a site",
    "io/test_hostile_nifti.py": "one corpus of damaged files for every reader",
    "io/test_reader_faults.py": "faults of reading that pass through the whole package",
    "phantoms/test_phantoms.py": "the phantoms as a user gets them",
    "test_structure.py": "this file",
    "test_wheel.py": "the wheel as a user installs it",
    "workflows/test_recipes.py": "the recipes, files of the joint bundle",
    "inference/test_imports.py": "how many files inference reads, of all packages",
    "training/test_imports.py": "how many files a batch for training reads, of all packages",
    "training/test_training_faults.py": "faults of the whole training: killed, out of disk, a dead loader",
    "workflows/test_image_channels.py": "images of several channels, from a manifest to a package",
    "workflows/test_planes.py": "a data set in three planes, from a training to a package",
    "workflows/test_bundles.py": "each bundle's real configurations",
}

MODULES = [name for package in PACKAGES for name in modules_of(package)]
FACES = [name for name in MODULES if modules_of(name.partition(".")[0])[name].name == "__init__.py"]
EDGES = {module: set(imports_of(module)) for module in MODULES}
CONFIGURATIONS = sorted(path for path in BUNDLES.rglob("*.yaml") if path.parent.name == "configs")


def part_of(module: str) -> str:
    """The package or module at the top of its storey, `networks` for custom_components.networks.unet."""
    return module.partition(".")[2].partition(".")[0]


def test_the_top_of_each_storey_can_be_read_at_a_glance() -> None:
    for package, most in (("custom_components", 20), ("multijoint", 12)):
        entries = [path.name for path in (ROOT / package).iterdir() if path.name != "__pycache__"]
        assert len(entries) <= most, sorted(entries)


def test_components_never_import_the_application() -> None:
    upwards = [(module, other) for module in modules_of("custom_components") for other in imports_of(module)
               if other.startswith("multijoint")]  # fmt: skip
    assert upwards == []


def test_components_import_only_what_is_below_them() -> None:
    assert set(COMPONENTS) == {part_of(module) for module in modules_of("custom_components")} - {""}
    height = {name: number for number, name in enumerate(("", *COMPONENTS))}
    for module in modules_of("custom_components"):
        for other in EDGES[module]:
            assert height[part_of(other)] <= height[part_of(module)], f"{module} imports {other}"


def test_the_application_imports_only_what_is_below() -> None:
    floors = {name: number for number, names in enumerate(({""}, *FLOORS)) for name in names}
    assert set(floors) == {part_of(module) for module in modules_of("multijoint")}
    upwards = set()
    for module in modules_of("multijoint"):
        for other in EDGES[module]:
            own, others = part_of(module), part_of(other)
            if other.startswith("multijoint") and own != others and floors[others] >= floors[own] > 0:
                upwards.add((module, other))
    assert upwards == set()


def test_no_circle_of_modules_and_none_of_packages() -> None:
    assert find_circle(EDGES) == []
    packages: dict[str, set[str]] = {}
    for module, others in EDGES.items():
        if module in FACES:
            continue  # names the package's contents, and nothing inside imports it
        own = module.rpartition(".")[0]
        packages.setdefault(own, set()).update(
            {other if other in FACES else other.rpartition(".")[0] for other in others} - {own}
        )
    assert find_circle(packages) == []


def test_find_circle_finds_one() -> None:
    assert find_circle({"a": {"b"}, "b": {"c", "d"}, "c": set(), "d": {"b"}}) == ["b", "d", "b"]
    assert find_circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


@pytest.mark.parametrize("name", FACES)
def test_each_package_has_a_face(name: str) -> None:
    package = importlib.import_module(name)
    assert len(inspect.getdoc(package) or "") > 20
    if name.partition(".")[2]:  # the two storeys have a version, and what `import multijoint` offers
        assert package.__all__
    for each in getattr(package, "__all__", ()):
        assert getattr(package, each) is not None, each
        assert each in dir(package) or each == "__version__"


def test_each_module_is_short_and_has_a_telling_name() -> None:
    words = re.compile(r"(^|_)(utils?|helpers?|common|managers?|misc|v\d)(_|$)")
    for name in MODULES:
        lines = modules_of(name.partition(".")[0])[name].read_text(encoding="utf-8").splitlines()
        assert len(lines) <= LONGER_THAN_300.get(name, 300), name
        assert not words.search(name.rpartition(".")[2]), name


def test_only_commands_print_and_nothing_imports_a_star() -> None:
    for name in MODULES:
        for node in ast.walk(parse(modules_of(name.partition(".")[0])[name])):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
                assert name.startswith("multijoint.cli"), f"{name}, line {node.lineno}"
            if isinstance(node, ast.ImportFrom):
                assert node.names[0].name != "*", f"{name}, line {node.lineno}"


def targets_of(value: Any) -> Iterator[str]:
    """The components that a configuration names: values of `_target_`, and names inside expressions."""
    if isinstance(value, dict):
        for key, each in value.items():
            if str(key).rpartition("#")[2] == "_target_":
                yield each
            else:
                yield from targets_of(each)
    elif isinstance(value, list):
        for each in value:
            yield from targets_of(each)
    elif isinstance(value, str) and value.startswith("$"):
        yield from re.findall(r"custom_components(?:\.\w+)+", value)


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda path: path.relative_to(BUNDLES).as_posix())
def test_what_configurations_name_is_there(path: Path) -> None:
    locator = ComponentLocator()
    for target in set(targets_of(yaml.safe_load(path.read_text()))):
        if "." in target:
            assert pydoc.locate(target) is not None, target
        else:
            assert locator.get_component_module_name(target), target
        if target.startswith("custom_components."):
            face, _, name = target.rpartition(".")
            assert name in importlib.import_module(face).__all__, f"{target} must be named by its package's face"


def test_configurations_are_found() -> None:
    assert len(CONFIGURATIONS) > 10
    assert {path.parents[1].name.split("_")[0] for path in CONFIGURATIONS} == {"ankle", "shoulder", "multijoint"}


def own_tests(pattern: str) -> list[Path]:
    """Files below tests/, without those of the consumers and peers, which have environments of their own."""
    paths = [path.relative_to(ROOT / "tests") for path in sorted((ROOT / "tests").rglob(pattern))]
    return [path for path in paths if path.parts[0] not in ("consumers", "peers")]


def test_tests_are_where_their_modules_are() -> None:
    modules = {name.partition(".")[2] or name for name in MODULES}
    strays = {
        path.as_posix()
        for path in own_tests("test_*.py")
        if ".".join([*path.parts[:-1], path.stem.removeprefix("test_")]) not in modules
    }
    assert strays == set(CROSS_CUTTING)


def test_tests_start_only_processes_that_end() -> None:
    """`support.processes` bounds the life of a process; a bare `subprocess` can make the suite wait for ever."""
    for path in own_tests("*.py"):
        if "subprocess" not in (ROOT / "tests" / path).read_text(encoding="utf-8"):
            continue
        for node in ast.walk(parse(ROOT / "tests" / path)):
            if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "subprocess":
                assert path.name == "processes.py" or node.attr.isupper(), f"{path}, line {node.lineno}: {node.attr}"
            if isinstance(node, ast.ImportFrom) and node.module == "subprocess":
                imported = {alias.name for alias in node.names}
                assert imported <= {"CompletedProcess", "DEVNULL", "PIPE", "STDOUT"}, f"{path}: {imported}"
