"""Read foreign JSON and YAML as plain data, with bounds on time and memory."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from typing import Any, NoReturn

import yaml

_MOST_BYTES = {"json": 4 * 2**20, "yaml": 2**18}
_MOST_DEPTH = 40
_MOST_VALUES = 20_000
_MOST_KEY = 200
_MOST_BITS = 63
_PLAIN = ("str", "int", "float", "bool", "null", "map", "seq")
_PLAIN_TAGS = {None, "!", *(f"tag:yaml.org,2002:{name}" for name in _PLAIN)}
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class ConfigFault(ValueError):
    """Reason not to read a configuration; `kind` is "bomb" if it would exhaust the machine, "config" otherwise."""

    def __init__(self, message: str, *, kind: str = "config") -> None:
        super().__init__(message)
        self.kind = kind


def read_config(data: bytes, *, kind: str) -> Any:
    """Read a file of the kind "json" or "yaml" without executing, expanding or resolving anything in it.

    Raises:
        ConfigFault: too large, too deep, ambiguous (a key twice), not plain (tags, aliases, NaN) or not of the kind.

    Example:
        >>> read_config(b'{"lr": 0.1}', kind="json")
        {'lr': 0.1}
    """
    if len(data) > _MOST_BYTES[kind]:
        raise ConfigFault(f"size bomb: {len(data)} bytes of {kind.upper()}, over {_MOST_BYTES[kind]}", kind="bomb")
    try:
        return _read_json(data) if kind == "json" else _read_yaml(data)
    except ConfigFault:
        raise
    except (ValueError, RecursionError, OverflowError, TypeError, AttributeError, yaml.YAMLError) as error:
        reason = str(error).splitlines()[0] if str(error) else ""
        raise ConfigFault(f"not readable as {kind.upper()}: {type(error).__name__} {reason}") from error


def _read_json(data: bytes) -> Any:
    """Read strict JSON: UTF-8, no key twice, no NaN or infinity, bounded depth."""
    try:
        content = json.loads(
            data.decode("utf-8"), object_pairs_hook=_without_duplicates, parse_constant=_refuse_constant
        )
    except RecursionError as error:
        raise ConfigFault(f"depth bomb: nested deeper than {_MOST_DEPTH}", kind="bomb") from error
    _refuse_bombs(content)
    return content


def _refuse_bombs(content: Any) -> None:
    layer, depth, count = [content], 0, 0
    while layer:
        depth, count = depth + 1, count + len(layer)
        if depth > _MOST_DEPTH:
            raise ConfigFault(f"depth bomb: nested deeper than {_MOST_DEPTH}", kind="bomb")
        if count > _MOST_VALUES:
            raise ConfigFault(f"size bomb: more than {_MOST_VALUES} values", kind="bomb")
        for each in layer:
            if isinstance(each, float) and not math.isfinite(each):  # also 1e999
                _refuse_constant(str(each))
            if isinstance(each, int) and each.bit_length() > _MOST_BITS:  # thousands of digits cannot even be printed
                raise ConfigFault(f"number of {each.bit_length()} bits, over {_MOST_BITS}", kind="bomb")
        layer = [
            inner
            for each in layer
            if isinstance(each, Mapping | list)
            for inner in (each.values() if isinstance(each, Mapping) else each)
        ]


def _read_yaml(data: bytes) -> Any:
    text = data.decode("utf-8")
    depth = documents = 0
    for event in yaml.parse(text, Loader=_Loader):  # a flat stream: nothing is built, no alias followed
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise ConfigFault("YAML anchor or alias, which can expand without end", kind="bomb")
        tag = getattr(event, "tag", None)
        if tag not in _PLAIN_TAGS:
            raise ConfigFault(f"YAML tag {tag}, which makes objects")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        documents += isinstance(event, yaml.DocumentStartEvent)
        if depth > _MOST_DEPTH:
            raise ConfigFault(f"depth bomb: nested deeper than {_MOST_DEPTH}", kind="bomb")
    if documents > 1:
        raise ConfigFault("more than one YAML document")
    _refuse_duplicates(yaml.compose(text, Loader=_Loader))
    content = _as_json(yaml.load(text, Loader=_Loader))
    _refuse_bombs(content)
    return content


def _refuse_duplicates(root: Any) -> None:
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if isinstance(node, yaml.MappingNode):
            _without_duplicates([(str(key.value), None) for key, _ in node.value])
            waiting.extend(value for _, value in node.value)
        elif isinstance(node, yaml.SequenceNode):
            waiting.extend(node.value)


def _as_json(value: Any) -> Any:
    """Plain data with text as keys; values that JSON does not have are refused."""
    if isinstance(value, dict):
        return {str(key): _as_json(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_as_json(each) for each in value]
    if not isinstance(value, str | int | float | bool | type(None)):
        raise ConfigFault(f"YAML value of type {type(value).__name__}, which JSON has not")
    return value


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ConfigFault(f"duplicate key {twice!r}")
    if any(len(key) > _MOST_KEY for key in found):
        raise ConfigFault(f"key of more than {_MOST_KEY} characters", kind="bomb")
    return found


def _refuse_constant(text: str) -> NoReturn:
    raise ConfigFault(f"number must be finite, got {text}")
