"""Contents of a training's folder: curves, split, settings, versions and time."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from custom_components.errors import InputError, show_path

from multijoint.clinic.report.results import read_csv, to_number

SIDES = {"training": "Trained on", "validation": "Validated on", "testing": "Held out for the test"}
"""Side of a split -> its title."""

_FILES = ("log.csv", "run.json", "split.json")


@dataclass(frozen=True)
class RunRecord:
    """A training, as its folder describes it; missing files give empty values.

    Args:
        log: rows of `log.csv`, numbers as numbers; NaN where a cell is empty.
        split: side -> its rows of domain, case and subject.
        fold: which fold, and of how many.
        settings: the plain values of the resolved configuration, without paths.
        record: `run.json`.
        started: when, by the log; empty if that does not say.
        model_sha256: of `model.pt`; empty if there is none.
    """

    log: list[dict[str, float]]
    split: Mapping[str, list[Mapping[str, str]]]
    fold: str
    settings: Mapping[str, Any]
    record: Mapping[str, Any]
    started: str
    model_sha256: str

    def column(self, name: str) -> list[tuple[float, float]]:
        """(epoch, value) of the epochs that have one."""
        pairs = [(row.get("epoch", math.nan), row.get(name, math.nan)) for row in self.log]
        return [pair for pair in pairs if all(map(math.isfinite, pair))]

    @property
    def best_epoch(self) -> dict[str, float]:
        """Row of the epoch with the best validation Dice, the first of equals; empty if none was validated."""
        validated = [row for row in self.log if math.isfinite(row.get("val_mean_dice", math.nan))]
        return max(validated, key=lambda row: row["val_mean_dice"], default={})

    @property
    def seconds(self) -> float:
        """Of all epochs with their validation."""
        return sum(value for _, value in self.column("epoch_seconds"))

    def side_of(self, domain: str, case: str) -> str:
        """On which side of the split a case was; empty if on none."""
        pairs = {side: [(row.get("domain"), row.get("case")) for row in rows] for side, rows in self.split.items()}
        return next((side for side, own in pairs.items() if (domain, case) in own), "")


def is_run(folder: Path) -> bool:
    """Whether a folder is that of a training."""
    return any((folder / name).is_file() for name in _FILES)


def read_run(folder: Path) -> RunRecord:
    """Read a run's folder; files that are not there yet, as in a run that has just begun, give empty values.

    Raises:
        InputError: it is no run's folder, or a file in it cannot be read.
    """
    if not is_run(folder):
        rule = f"run {show_path(folder)} must be a training's folder with one of {', '.join(_FILES)}, got none of them"
        raise InputError(f"{rule}; give the output_dir of the training")
    split = _read(folder / "split.json", "JSON", json.loads)
    settings = _read(folder / "config.yaml", "YAML", yaml.safe_load)
    settings |= _read(folder / "plan.json", "JSON", json.loads)  # in place of auto
    settings.pop("lines", None)
    return RunRecord(
        log=[{name: to_number(cell) for name, cell in row.items()} for row in read_csv(folder / "log.csv")],
        split={side: split[side] for side in SIDES if isinstance(split.get(side), list)},
        fold=f"{split.get('fold', '')} of {split.get('num_folds', '')}" if split else "",
        settings={str(name): value for name, value in settings.items() if _is_plain(value)},
        record=_read(folder / "run.json", "JSON", json.loads),
        started=_started(folder),
        model_sha256=_model_digest(folder),
    )


def _read(path: Path, kind: str, parse: Callable[[bytes], Any]) -> dict[str, Any]:
    try:
        data = parse(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise InputError(f"{path.name} of a run must be readable {kind}, got: {error}; correct or remove it") from error
    return data if isinstance(data, dict) else {}


def _is_plain(value: Any) -> bool:
    """Whether a setting is a number, a word or a list of them; expressions and paths are not."""
    if isinstance(value, list):
        return all(map(_is_plain, value))
    if isinstance(value, str):
        return not re.search(r"[\\/$@]", value)
    return value is None or isinstance(value, bool | int | float)


def _started(folder: Path) -> str:
    """First time in the oldest of the rotated logs."""
    for path in sorted(folder.glob("run.log*"), key=lambda path: path.name, reverse=True):
        with path.open(encoding="utf-8", errors="replace") as file:
            if match := re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d", file.read(16)):
                return match[0]
    return ""


def _model_digest(folder: Path) -> str:
    try:
        return (folder / "model.pt.sha256").read_text().split()[0]
    except (OSError, ValueError, IndexError):
        return ""
