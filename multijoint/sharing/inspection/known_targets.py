"""Components and expressions of this release's own configurations; all others in a foreign bundle are unknown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

import yaml
from custom_components.data.preprocessing import Preprocessing
from custom_components.domains import Domain
from custom_components.models.trained_model import TrainedModel

from multijoint.running import find_bundle
from multijoint.sharing.packaging.configurations import bundle_file, packaged_configs

_DOMAINS = tuple(Domain(name, {1: name}, "axial") for name in ("first", "second"))
_NORMS = ("domain", "folded")


@dataclass(frozen=True)
class Known:
    """Texts that a configuration may hold without suspicion, each compared as a whole."""

    targets: frozenset[str]  # values of `_target_`
    expressions: frozenset[str]  # values that start with `$`
    modes: frozenset[str]  # values of `_mode_`
    logging: frozenset[bytes]  # contents of `logging.conf`


@lru_cache(maxsize=1)
def known_of_release() -> Known:
    """Texts of this release's own bundles and of the configurations that packaging makes of them.

    Raises:
        InputError: the bundles are not installed.
    """
    targets, expressions, modes = set[str](), set[str](), set[str]()
    folders = sorted(folder for folder in find_bundle().parent.iterdir() if (folder / "configs").is_dir())
    paths = [path for folder in folders for path in sorted((folder / "configs").glob("*.yaml"))]
    own = (yaml.safe_load(path.read_text(encoding="utf-8")) for path in paths)
    for config in chain(own, *map(packaged_by_this_release, folders)):
        for key, value in walk(config):
            if not isinstance(value, str):
                continue
            if is_target_key(key):
                targets.add(value)
            elif key.endswith("/_mode_"):
                modes.add(value)
            elif value.startswith("$"):
                expressions.add(value)
    logging = frozenset(bundle_file(folder, "configs/logging.conf") for folder in folders)
    return Known(frozenset(targets), frozenset(expressions), frozenset(modes), logging)


def is_target_key(key: str) -> bool:
    """Whether a key of `walk` names a component, also as an override such as `train#handlers#1#_target_`."""
    return key.replace("::", "#").replace("/", "#").rsplit("#", 1)[-1].lstrip("+~ ") == "_target_"


def walk(content: Any) -> Iterator[tuple[str, Any]]:
    """Every value of a configuration that is no mapping or list, with its keys joined by "/", and every empty one.

    Example:
        >>> list(walk({"a": [1, {"b": "$2"}]}))
        [('/a/0', 1), ('/a/1/b', '$2')]
    """
    waiting: list[tuple[str, Any]] = [("", content)]
    while waiting:
        key, value = waiting.pop()
        if isinstance(value, Mapping) and value:
            waiting.extend((f"{key}/{name}", each) for name, each in reversed(list(value.items())))
        elif isinstance(value, list) and value:
            waiting.extend((f"{key}/{index}", each) for index, each in reversed(list(enumerate(value))))
        else:
            yield key, value


def packaged_by_this_release(folder: Path) -> Iterator[Any]:
    """The configurations that packaging makes of a bundle in the repository, for any kind of model."""
    for norm in _NORMS:
        for domains in (_DOMAINS, _DOMAINS[:1]):
            names = [domain.name for domain in domains]
            network = {"num_classes": [2] * len(names), "domain_names": names, "head": "domain", "norm": norm}
            model = TrainedModel(domains, Preprocessing((16, 16)), network, weights={}, training={})
            yield from packaged_configs(folder, model, domain=names[0]).values()
