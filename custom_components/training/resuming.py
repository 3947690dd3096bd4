"""What a run is resumed from: the newest intact state, which must be of the same people, files and settings."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from custom_components.data.cases import Case
from custom_components.errors import InputError
from custom_components.models.checkpoints import RESUMABLE, load_checkpoint
from custom_components.system.files import file_digest
from custom_components.workflows.monai_workarounds import active_parser
from custom_components.workflows.settings import plain, stated_values

_logger = logging.getLogger(__name__)

MAY_CHANGE = frozenset(
    {
        # Places. What lies there must not change: see `trained_with`.
        *(
            "bundle_root",
            "dataset_dir",
            "manifests",
            "output_dir",
            "base",
            "start_from",
            "epochs_of",
            "checkpoint",
            "publish_to",
        ),
        *("device", "num_workers", "precision", "train#sampler#rank#_target_", "train#sampler#num_ranks#_target_"),
        *("resume", "max_epochs", "budget", "early_stop_patience"),  # `check_same` lets max_epochs grow alone
        *("val_interval", "save_interval", "snapshots", "reestimate_norms", "calibrate"),  # change no state
        *("tensorboard", "run_name", "experiment_name", "tracking_uri", "save_execute_config", "is_not_rank0"),
    }
)
"""Settings that a resumed run may have otherwise than the run that it continues; all others must agree."""

_PARTS = ("loss", "optimizer", "lr_scheduler", "parameters", "average", "train#preprocessing", "train#sampler")
_SIDES = {"training": "trained on", "validation": "validated on", "testing": "tested"}
_FILES = ("image", "label map")
_MOST_NAMED = 4


def load_newest(folder: Path) -> dict[str, Any]:
    """Load the newest undamaged checkpoint of `RESUMABLE` in the folder of a run.

    Raises:
        InputError: there is none, or all are damaged.
    """
    found: list[tuple[tuple[int, int], dict[str, Any]]] = []
    reasons = []
    for path in (folder / name for name in RESUMABLE):
        try:
            content = load_checkpoint(path)
            place = int(content["training"]["epoch"]), int(content["resume"].get("steps", 0))
        except InputError as error:
            reasons.append(str(error))
        except (KeyError, TypeError, ValueError, AttributeError):
            reasons.append(f"checkpoint {path} must hold what a training continues from, got a model alone")
        else:
            found.append((place, content))
            continue
        if path.exists():
            _logger.warning("left out: %s", reasons[-1])
    if not found:
        raise InputError(f"resume needs a whole last.pt or previous.pt; {reasons[0]}")
    return max(found, key=lambda each: each[0])[1]


def trained_with(cases: Sequence[Case], *, planned: Mapping[str, Any]) -> dict[str, Any]:
    """What a state is trained with beyond what a model says of itself; travels in `last.pt`.

    Args:
        cases: trained and validated on; their files are read.
        planned: values of settings that may be "auto".

    Returns:
        In plain types: `settings`, by their ids, of the configuration that calls; and `files`, for each case the
        SHA-256 of image and label map, "" for a missing one.
    """
    parser = active_parser()
    settings = {} if parser is None else stated_values(parser, parts=_PARTS, leave_out=MAY_CHANGE) | plain(planned)
    files = {
        f"{case.name} ({case.domain})": [_digest(path) for path in (case.image, case.label, *case.further)]
        for case in cases
    }
    return {"settings": settings, "files": files}


def check_same(state: Mapping[str, Any], new: Mapping[str, Any], *, folder: Path) -> None:
    """Refuse to continue a state with other people, files or settings than it was trained with.

    Args:
        state: content of a checkpoint, of `load_newest`.
        new: the same for the run that is about to go on.
        folder: of the run, for the message.

    Raises:
        InputError: names the first differences, with new and old values.
    """
    found = list(_differences(state, new))
    if found:
        more = [f"{len(found) - _MOST_NAMED} more"] if len(found) > _MOST_NAMED else []
        raise InputError(
            f"resume must continue the run in {folder.name} as it was begun, "
            f"got {', '.join([*found[:_MOST_NAMED], *more])}; "
            "use the run's own settings and data, or begin anew in another output_dir"
        )


def _differences(state: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    before, after = (_settings(content) for content in (state, new))
    listed = all(content["resume"].get("trained_with", {}).get("settings") for content in (state, new))
    for name in dict.fromkeys([*before, *after]):
        # A setting may be unknown to the version that began the run, but what a component is made of may not.
        comparable = (name in before and name in after) or (listed and "#" in name)
        grown = name == "max_epochs" and comparable and after[name] >= before[name]
        if comparable and not grown and before.get(name) != after.get(name):
            yield f"{name} {_show(after.get(name))} in place of {_show(before.get(name))}"
    started, start = (content["training"].get("start", {}).get("digest") for content in (state, new))
    if start not in (None, started):  # left out, it is the one recorded
        yield f"start_from {_show(start)} in place of {_show(started)}"
    yield from _other_people(state["training"].get("split"), new["training"]["split"])
    old, now = (content["resume"].get("trained_with", {}).get("files", {}) for content in (state, new))
    for case, digests in old.items():
        for what, first, second in zip(_FILES, digests, now.get(case, digests), strict=True):
            if first != second:
                yield f"another {what} of {case}"


def _settings(content: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that a checkpoint lists, and what its model says of itself, by name."""
    training = content["training"]
    found = {
        **content["resume"].get("trained_with", {}).get("settings", {}),
        **content["network"],
        **content["preprocessing"],
        "fold": training.get("split", {}).get("fold"),
        "seed": training.get("seed"),
        "base": training.get("started_from", {}).get("digest"),
        **{f"{key} of {each['name']}": value for each in content["domains"] for key, value in each.items()},
    }
    return {name: plain(value) for name, value in found.items()}


def _other_people(before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> Iterator[str]:
    """Cases that are gone, new, on another side, of another subject or in another order."""
    if before is None:
        return
    old, new = (_sides(split) for split in (before, after))
    for domain, case in dict.fromkeys([*reversed(new), *old]):  # those tested now come first
        name, was, is_now = f"{case} ({domain})", old.get((domain, case)), new.get((domain, case))
        if was is None or is_now is None:
            yield f"{name} {'added' if was is None else 'missing'}"
        elif was[0] != is_now[0]:
            yield f"{name} {_SIDES[is_now[0]]} in place of {_SIDES[was[0]]}"
        elif was[1] != is_now[1]:
            yield f"{name} of subject {is_now[1]} in place of {was[1]}"
    if old.keys() == new.keys() and list(old) != list(new):
        yield "cases in another order"


def _sides(split: Mapping[str, Any]) -> dict[tuple[str, str], tuple[str, str]]:
    """Side and subject of each case, by domain and name."""
    return {(row["domain"], row["case"]): (side, row["subject"]) for side in _SIDES for row in split[side]}


def _show(value: Any) -> str:
    if isinstance(value, str) and len(value) == 64:  # a digest
        return value[:12]
    return "none" if value is None else str(value)


def _digest(path: Path | None) -> str:
    return "" if path is None or not path.is_file() else file_digest(path)
