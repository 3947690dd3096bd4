"""Methods that an experiment compares, each the `train.yaml` of the joint bundle with a few overrides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml
from custom_components.errors import InputError, suggest

from multijoint.running import RECIPES, find_bundle, recipe_config


@dataclass(frozen=True)
class Method:
    """A training method: its `name` on the command line, in folders and in rows, and its `title` in tables and figures.

    The files `configs` override `train.yaml`, in this order. `each`: each data set has a separate network.
    """

    name: str
    title: str
    configs: tuple[Path, ...]
    each: bool = False


@cache
def known_methods() -> dict[str, Method]:
    """The paper's methods by name, in the order of its tables, from `methods.yaml` of the joint bundle."""
    configs = find_bundle() / "configs"
    table = yaml.safe_load((configs / "methods.yaml").read_text(encoding="utf-8"))
    return {
        name: Method(name, row["title"], tuple(configs / file for file in row["configs"]), row["networks"] == "each")
        for name, row in table.items()
    }


def select_methods(names: Sequence[str]) -> list[Method]:
    """Select methods by their names on the command line.

    A name is "all", a known method, the path of an override file (over `train.yaml`, one network for all data sets), or
    either followed by more files, `unet-base+wide.yaml`, or recipes, `unet-base+strong`. The files' stems name the new
    method.

    Raises:
        InputError: an unknown method, a missing file, or two methods of one name.
    """
    known = known_methods()
    chosen: list[Method] = []
    for given in names:
        chosen += known.values() if given == "all" else [_compose(given, known)]
    for method in chosen:
        others = [each for each in chosen if each.name == method.name]
        if len({each.configs for each in others}) > 1:
            files = " and ".join(str(each.configs[-1]) for each in others[:2])
            raise InputError(f"methods must have different names, got {method.name} for {files}; rename a file")
    return list(dict.fromkeys(chosen))


def title_of(name: str) -> str:
    """The paper's title of a method plus the names of added files; the name itself for other methods."""
    methods = known_methods()
    first, *added = name.split("+")
    return " + ".join([methods[first].title if first in methods else first, *added])


def _compose(given: str, known: dict[str, Method]) -> Method:
    first, *more = given.split("+")
    base = known.get(first, Method("", "", ()))
    if not base.name:
        if not first.endswith((".yaml", ".yml")):
            hint = suggest(first, known, otherwise="or an override file of your own (.yaml)")
            raise InputError(f"method must be all or one of {', '.join(known)}, got {first}; {hint}")
        more = [first, *more]
    configs = find_bundle() / "configs"
    files = [configs / recipe_config(file) if file in RECIPES else Path(file).resolve() for file in more]
    for file in files:
        if not file.is_file():
            raise InputError(f"override of method {given} must be a file, got none at {file}; check the path")
        if set("$@%#") & set(str(file)) or file.stem.startswith("."):
            rule = "must have a path free of $, @, % and # (code to MONAI) and a name that begins with no dot"
            raise InputError(f"override of method {given} {rule}, got {file}; rename it")
    name = "+".join(filter(None, [base.name, *(file.stem for file in files)]))
    return Method(name, title_of(name) if base.name else name, (*base.configs, *files), base.each)
