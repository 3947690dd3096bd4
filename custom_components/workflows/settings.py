"""Settings of a workflow: all of them must be used, and can be written down."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from custom_components.errors import InputError, suggest
from monai.bundle.properties import InferProperties, TrainProperties

_WORKFLOW_KEYS = {"imports", "initialize", "run", "finalize", "_meta_"}
_WORKFLOW_KEYS |= {"training", "evaluating", "inference", "embedding_slices"}
_WORKFLOW_KEYS |= {"displayable_configs"}  # what annotation tools let their users choose


def check_settings(config: Mapping[str, Any]) -> None:
    """Refuse a top-level setting that nothing in the configuration refers to.

    MONAI accepts any name on the command line, so a misspelt one would silently change nothing. Components (`_target_`)
    may be unused: other tools replace what refers to them, such as the data of a training.

    Raises:
        InputError: naming the setting and the nearest known ones.

    Example:
        >>> try:
        ...     check_settings({"max_epochs": 3, "max_epoch": 5, "run": "$print(@max_epochs)"})
        ... except InputError as error:
        ...     print(error)
        setting max_epoch must be one that the configuration uses; did you mean max_epochs?
    """
    used = {name for text in _strings(config) for name in re.findall(r"[@%]([A-Za-z_]\w*)", text)}
    # What MONAI itself asks a bundle for by name ("train::trainer": the part before the separator).
    asked = {
        str(entry["id"]).split("::")[0] for table in (TrainProperties, InferProperties) for entry in table.values()
    }
    known = used | asked | _WORKFLOW_KEYS
    for name, value in config.items():
        is_component = isinstance(value, Mapping) and "_target_" in value  # which another tool may have replaced
        if name not in known and not is_component:
            all_used = f"known are {', '.join(sorted(used & set(config)))}"
            hint = suggest(name, sorted(known & set(config)), most=2, otherwise=all_used)
            raise InputError(f"setting {name} must be one that the configuration uses; {hint}")


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for child in value.values():
            yield from _strings(child)
    elif isinstance(value, Sequence):
        for child in value:
            yield from _strings(child)


def plain(value: Any) -> Any:
    """What YAML can hold: other objects as text."""
    if isinstance(value, Mapping):
        return {str(key): plain(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [plain(child) for child in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
