"""Settings of a workflow: all of them must be used, and can be written down."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

from custom_components.errors import InputError, suggest
from monai.bundle import ConfigParser
from monai.bundle.properties import InferProperties, TrainProperties

_WORKFLOW_KEYS = {"imports", "initialize", "run", "finalize", "_meta_"}
_WORKFLOW_KEYS |= {"training", "evaluating", "inference", "embedding_slices"}
_WORKFLOW_KEYS |= {"displayable_configs"}  # what annotation tools let their users choose

_NUMBERS: dict[str, tuple[type, float]] = {
    **dict.fromkeys(("seed", "early_stop_patience", "num_workers"), (Integral, 0)),
    **dict.fromkeys(("val_interval", "slice_batch_size"), (Integral, 1)),
    **dict.fromkeys(("batch_size", "choose_by"), (Integral, -math.inf)),
    **dict.fromkeys(("learning_rate", "learning_rate_decay", "weight_decay", "head_learning_rate_factor"), (Real, 0)),
    **dict.fromkeys(("warmup", "weight_averaging", "empty_share", "intensity_augmentation"), (Real, -math.inf)),
    **dict.fromkeys(("dice_weight", "contrastive_weight", "temperature"), (Real, -math.inf)),
    **dict.fromkeys(("max_translation", "max_rotation", "keep_labels"), (Real, -math.inf)),
}
"""Settings that are numbers: their kind, and the least, infinite where what takes one says more of the right ones."""
_MAY_BE_NULL = ("seed", "keep_labels")


def check_settings(config: Mapping[str, Any]) -> None:
    """Refuse a top-level setting that nothing in the configuration refers to, or that is no number where it must be.

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
    used = {name for text in texts_of(config) for name in re.findall(r"[@%]([A-Za-z_]\w*)", text)}
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
        if name in _NUMBERS:
            _check_number(name, value)


def _check_number(name: str, value: Any) -> None:
    kind, least = _NUMBERS[name]
    if (value is None and name in _MAY_BE_NULL) or (isinstance(value, str) and value.startswith(("$", "@", "%"))):
        return
    good = isinstance(value, kind) and not isinstance(value, bool)
    if not good or value < least or (not isinstance(value, Integral) and not math.isfinite(value)):
        rule = "a whole number" if kind is Integral else "a number"
        least_of_all = "" if math.isinf(least) else f", {least:g} or more"
        raise InputError(f"{name} must be {rule}{least_of_all}, got {value!r}; correct it")


def stated_values(parser: ConfigParser, *, parts: Collection[str], leave_out: Collection[str] = ()) -> dict[str, Any]:
    """Values that a configuration states, by the id of each, in plain types and without paths.

    These are its top-level settings, evaluated if they are expressions, and all numbers, names and lists inside the
    components `parts`; what refers to settings goes by those. Left out are the ids `leave_out`, values that are no
    plain data, and text with a slash, which may be a path.

    Example:
        >>> config = {"rate": "$2 * 0.5", "data": "scans/x.nii", "sgd": {"_target_": "torch.optim.SGD", "lr": "@rate"}}
        >>> stated_values(ConfigParser(config), parts=["sgd"])
        {'rate': 1.0, 'sgd#_target_': 'torch.optim.SGD'}
    """
    found: dict[str, Any] = {}
    for name in parser.get():
        value = parser.get(name)
        if name in {*parts, *leave_out, *_WORKFLOW_KEYS} or (isinstance(value, Mapping) and "_target_" in value):
            continue
        if isinstance(value, str) and value.startswith(("$", "@")):
            value = parser.get_parsed_content(name)
        if _is_plain(value):
            found[name] = plain(value)
    for name in parts:
        found |= {id_: plain(value) for id_, value in _leaves(parser.get(name), name) if id_ not in leave_out}
    return found


def _is_plain(value: Any) -> bool:
    """Whether a value is plain data that neither is a path nor refers to anything."""
    if isinstance(value, Mapping):
        return all(map(_is_plain, [*value, *value.values()]))
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    if isinstance(value, str):
        return "/" not in value and not value.startswith(("$", "@", "%"))
    return value is None or isinstance(value, bool | int | float)


def _leaves(value: Any, id_: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name, child in value.items():
            yield from _leaves(child, f"{id_}#{name}")
    elif isinstance(value, list | tuple) and any(isinstance(child, Mapping) for child in value):
        for number, child in enumerate(value):
            yield from _leaves(child, f"{id_}#{number}")
    elif value is not None and _is_plain(value):
        yield id_, value


def texts_of(value: Any) -> Iterator[str]:
    """All texts in a value of a configuration, but names."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for child in value.values():
            yield from texts_of(child)
    elif isinstance(value, Sequence):
        for child in value:
            yield from texts_of(child)


def plain(value: Any) -> Any:
    """What YAML can hold: other objects as text."""
    if isinstance(value, Mapping):
        return {str(key): plain(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [plain(child) for child in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
