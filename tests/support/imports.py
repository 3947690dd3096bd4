"""The imports of this project's packages, read from their source without running it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

__all__ = ["PACKAGES", "ROOT", "find_circle", "imports_of", "modules_of", "name_of", "parse"]

ROOT = Path(__file__).parents[2]
PACKAGES = ("custom_components", "multijoint")


@cache
def modules_of(package: str) -> dict[str, Path]:
    """Dotted name of each module of a package -> its file; a package is named without `__init__`."""
    paths = sorted((ROOT / package.replace(".", "/")).rglob("*.py"))
    return {name_of(path): path for path in paths}


def name_of(path: Path) -> str:
    """Dotted name of the module in a file."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def parse(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


@cache
def imports_of(module: str) -> frozenset[str]:
    """Modules of this project that a module imports, at its top, in a function or for annotations.

    A lazy face imports the names of its stub. `from package import name` is an import of `package.name` where that is a
    module, else of the package.
    """
    known = {name: path for package in PACKAGES for name, path in modules_of(package).items()}
    path = known[module]
    stub = path.with_suffix(".pyi")
    found = {name for each in (path, stub) if each.is_file() for name in _imported(each, module, known)}
    return frozenset(found - {module})


def _imported(path: Path, module: str, known: dict[str, Path]) -> Iterator[str]:
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            base = module.split(".") if path.stem == "__init__" else module.split(".")[:-1]
            base = base[: len(base) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                whole = f"{source}.{alias.name}"
                if whole in known:
                    yield whole
                elif source in known:
                    yield source


def find_circle(edges: dict[str, set[str]]) -> list[str]:
    """Nodes of one circle of a directed graph, the first again at the end; empty without a circle.

    Example:
        >>> find_circle({"a": {"b"}, "b": {"c"}, "c": {"b"}})
        ['b', 'c', 'b']
    """
    done: set[str] = set()

    def visit(node: str, path: list[str]) -> list[str]:
        if node in path:
            return [*path[path.index(node) :], node]
        if node in done:
            return []
        for other in sorted(edges.get(node, ())):
            if circle := visit(other, [*path, node]):
                return circle
        done.add(node)
        return []

    return next((circle for node in sorted(edges) if (circle := visit(node, []))), [])
