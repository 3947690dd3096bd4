"""Pages of the site that have no file in `docs/`: the README, other pages of the repository, and the API reference.

MkDocs calls the functions `on_...`. A link that leaves `docs/` is rewritten to the page of the site where there is one,
else to the plain name of the file: a site cannot link into a repository whose address it does not know.
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import griffe
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
ELSEWHERE = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "data_manifests/README.md": "data_manifests.md",
    "tests/consumers/README.md": "tests/consumers.md",
    "tests/peers/README.md": "tests/peers.md",
}
"""Page of the repository -> its page on the site."""

STOREYS = ("custom_components", "multijoint")
_API = "reference/api"
_LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:|mailto:)([^)#\s]*)(#[^)\s]*)?\)")


def find_faces() -> dict[str, Mapping[str, str]]:
    """Find the public names of the code.

    Returns:
        Package, or module on top of `custom_components`, -> name that it offers -> full name where it is defined.
    """
    found: dict[str, Mapping[str, str]] = {}
    for stub in sorted(ROOT.glob("custom_components/**/__init__.pyi")) + sorted(
        ROOT.glob("multijoint/**/__init__.pyi")
    ):
        package = ".".join(stub.parent.relative_to(ROOT).parts)
        found[package] = {
            alias.asname or alias.name: f"{package}.{node.module}.{alias.name}"
            for node in ast.parse(stub.read_text(encoding="utf-8")).body
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
    for path in sorted((ROOT / "custom_components").glob("[!_]*.py")):
        module = f"custom_components.{path.stem}"
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
                found[module] = {name: f"{module}.{name}" for name in ast.literal_eval(node.value)}
    return dict(sorted(found.items()))


def on_config(config: Any) -> Any:
    """List the pages of the API."""
    pages = [f"{_API}/index.md", *({package: f"{_API}/{package}.md"} for package in find_faces())]
    for part in config.nav:
        for entry in part.get("Reference", ()):
            if "API" in entry:
                entry["API"] = pages
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the pages."""
    for source, page in ELSEWHERE.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    rows = ["| package | |", "|---|---|"]
    for package, names in find_faces().items():
        about = _docstring(package)
        text = "\n\n".join([f"# `{package}`", about, *(f"::: {full}" for full in names.values())])
        files.append(File.generated(config, f"{_API}/{package}.md", content=text))
        rows.append(f"| [`{package}`]({package}.md) | {about.splitlines()[0]} |")
    text = (
        "# API\n\nImport and name these classes and functions from their package, e.g. "
        "`custom_components.networks.MultiDomainUNet`.\n\n" + "\n".join(rows) + "\n"
    )
    files.append(File.generated(config, f"{_API}/index.md", content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Rewrite the links of a page for its place on the site."""
    uri = page.file.src_uri
    source = {site: source for source, site in ELSEWHERE.items()}.get(uri, f"docs/{uri}")

    def rewrite(found: re.Match[str]) -> str:
        image, text, target, anchor = found[1], found[2], found[3], found[4] or ""
        if not target:
            return found[0]
        path = os.path.normpath(os.path.join(os.path.dirname(source), target))
        site = ELSEWHERE.get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else None)
        if site is None:
            return text if text.startswith("`") or text == path else f"{text} (`{path}`)"
        return f"{image}[{text}]({os.path.relpath(site, os.path.dirname(uri) or '.')}{anchor})"

    return markdown if uri.startswith(_API) else _LINK.sub(rewrite, markdown)


class SectionsOfDoctests(griffe.Extension):
    """Let `Example:` begin a section of doctests, which griffe knows as `Examples:` only."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rename the section in a docstring."""
        if obj.docstring:
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)


def _docstring(package: str) -> str:
    path = ROOT / package.replace(".", "/")
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
