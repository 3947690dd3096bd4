"""Values on the command line: settings of a workflow, numbers and ranges."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml
from custom_components.errors import InputError


def parse_settings(given: Sequence[str], *, own: Mapping[str, str] = MappingProxyType({})) -> dict[str, Any]:
    """Settings from `name=value` pairs and YAML files of settings, later ones over earlier ones.

    Values are YAML, in which `1e-4` is a number, whatever YAML 1.1 says.

    Args:
        given: pairs and files.
        own: settings that the command takes elsewhere, and where.

    Raises:
        InputError: neither a pair nor a file of settings, or a value that is no YAML, or code to MONAI; or an own one.

    Example:
        >>> parse_settings(["max_epochs=3", "image_size=[64,64]", "learning_rate=1e-3"])
        {'max_epochs': 3, 'image_size': [64, 64], 'learning_rate': 0.001}
    """
    settings: dict[str, Any] = {}
    for pair in given:
        if pair.endswith((".yaml", ".yml")) and "=" not in pair:
            settings |= _read_settings(Path(pair))
            continue
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise InputError(f"--set must be name=value or a .yaml file, got {pair}; write e.g. max_epochs=30")
        try:
            value = _as_number(yaml.safe_load(text))
            str(value)  # an integer may have more digits than Python writes
        except (ValueError, RecursionError, yaml.YAMLError) as error:
            raise InputError(f"value of {name} must be YAML, got {text[:200]}; quote it") from error
        if re.search(r"[$@%#]", text):
            raise InputError(f"value of {name} must be free of $, @, % and # (code to MONAI), got {text}")
        settings[name] = value
    for name in sorted(settings.keys() & own):
        raise InputError(f"setting {name} must be given as {own[name]}, got it in --set; move it there")
    return settings


def _read_settings(path: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
        shown = str(found)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise InputError(f"settings {path} must be a readable YAML file, got {error}; check the path") from error
    named = isinstance(found, dict) and all(isinstance(name, str) for name in found)
    if not named or re.search(r"[$@%]", shown) or "#" in str(list(found.values())):
        rule = "must be name: value pairs free of $, @ and %, and of # in values"
        raise InputError(f"settings {path} {rule}, got others; correct the file")
    return {name: _as_number(value) for name, value in found.items()}


def _as_number(value: Any) -> Any:
    """A text such as `1e-4` as a number."""
    is_number = isinstance(value, str) and re.fullmatch(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+", value)
    return float(value) if is_number else value


def parse_numbers(text: str, *, name: str) -> list[int]:
    """Whole numbers and ranges: "0", "0,3", "0-4".

    Raises:
        InputError: anything else.

    Example:
        >>> parse_numbers("0-2,5", name="folds")
        [0, 1, 2, 5]
    """
    numbers: set[int] = set()
    for part in text.split(","):
        found = re.fullmatch(r"(\d+)(?:-(\d+))?", part.strip())
        if not found or int(found[2] or found[1]) < int(found[1]):
            raise InputError(f"{name} must be numbers and ranges such as 0,2 or 0-4, got {text}")
        numbers |= set(range(int(found[1]), int(found[2] or found[1]) + 1))
    return sorted(numbers)


def parse_subjects(text: str) -> list[int | str]:
    """Numbers of training subjects, with "all" last: "3,5,8,all".

    Example:
        >>> parse_subjects("3,8,all")
        [3, 8, 'all']
    """
    from multijoint.experiments.rows import ALL_SUBJECTS

    parts = [part.strip() for part in text.split(",")]
    numbers = [part for part in parts if part != ALL_SUBJECTS]
    found: list[int | str] = list(parse_numbers(",".join(numbers), name="train-subjects")) if numbers else []
    return found + [ALL_SUBJECTS] * (ALL_SUBJECTS in parts)
