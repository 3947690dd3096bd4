"""Contents of a folder of segmentations: a result a scan, and the tables of their bones."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from custom_components.errors import InputError, show_path
from custom_components.io.formats import KINDS, case_id, is_volume
from custom_components.io.records import case_of, find_label_maps, is_label_map, read_record
from custom_components.system import files


@dataclass(frozen=True)
class Result:
    """The result of one scan.

    Args:
        status: "segmented", "failed" or "waiting" (not reached).
        record: of the label map, as `ResultFolder` wrote it; empty if unknown.
        flags: of the scan as a whole.
    """

    case: str
    status: str
    cause: str = ""
    label_map: Path | None = None
    record: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()

    @property
    def domain(self) -> str:
        """Its domain, empty if unknown."""
        return str(self.record.get("domain") or "")

    @property
    def labels(self) -> dict[int, str]:
        """Label value -> bone, in class order; empty if unknown."""
        labels = self.record.get("labels")
        found = labels.items() if isinstance(labels, Mapping) else ()
        return {int(value): str(name) for value, name in found if str(value).isdecimal() and int(value)}


def read_results(folder: Path) -> list[Result]:
    """Results in the order of `segment_report.csv`, then label maps that it does not list.

    Raises:
        InputError: the report cannot be read.
    """
    from custom_components.inference.report import REPORT

    maps = find_label_maps(folder)
    results = [_result(row, maps) for row in read_csv(folder / REPORT)]
    listed = {result.case for result in results}
    told = ("not in segment_report.csv: made by an earlier run",) if results else ()
    others = ((case, path) for case, path in maps.items() if case not in listed)
    return results + [Result(case, "segmented", "", path, read_record(path), told) for case, path in others]


def _result(row: Mapping[str, str], maps: Mapping[str, Path]) -> Result:
    file, output = row.get("file") or "", PurePath(row.get("output") or "").name
    cause = without_folders(row.get("cause") or "", file)
    if row.get("status") in ("written", "skipped"):
        case = case_of(output) if is_label_map(output) else case_id(file)
        path = maps.get(case)
        if path is None:
            return Result(case, "failed", "the label map is no longer in the folder")
        flags = tuple(part for part in (row.get("flags") or "").split("; ") if re.fullmatch(r"[a-z]+(-[a-z]+)*", part))
        return Result(case, "segmented", label_map=path, record=read_record(path), flags=flags)
    # As `scans.list_scans` names scans of equal names: with folders in front, which whole paths are not.
    parts = PurePath(file).parts
    case = case_id(file) if PurePath(file).is_absolute() else "_".join((*parts[:-1], case_id(file)))
    status = "waiting" if row.get("status") == "waiting" else "failed"
    path = maps.get(case)
    notes = ("the label map shown was there before this run",) if path else ()
    record = read_record(path) if path else {}
    return Result(case, status, cause or ("no cause given" if status == "failed" else ""), path, record, notes)


def read_csv(path: Path) -> list[dict[str, str]]:
    """Rows of a table, none if there is no such file; a cell that is missing is empty.

    Raises:
        InputError: it is no table.
    """
    try:
        return [{str(key): value or "" for key, value in row.items() if key} for row in files.read_csv(path)]
    except FileNotFoundError:
        return []
    except (OSError, csv.Error) as error:
        raise InputError(f"table {show_path(path)} must be readable CSV, got: {error}; write it again") from error


def read_bone_table(path: Path) -> dict[tuple[str, int], dict[str, str]]:
    """Rows of `bones.csv` or `quality.csv` by case and label value; see `read_csv`."""
    rows = read_csv(path)
    return {(row.get("case", ""), int(row["label"])): row for row in rows if row.get("label", "").isdecimal()}


def to_number(text: str | None) -> float:
    """A finite number in a cell of a table, or NaN."""
    try:
        number = float(text or "nan")
    except ValueError:
        return math.nan
    return number if math.isfinite(number) else math.nan


def find_scans(folder: Path, given: Sequence[Path]) -> dict[str, Path]:
    """Scans by case: those of `folder/scans`, and the given files and folders, which go before.

    Raises:
        InputError: a given folder holds none.
    """
    from custom_components.data.scans import list_scans

    own = sorted((folder / "scans").iterdir()) if (folder / "scans").is_dir() else []
    found = {case_id(path): path for path in own if is_volume(path)}
    return found | {item["name"]: item["image"] for item in (list_scans(list(given)) if given else ())}


def find_references(given: Sequence[Path]) -> dict[str, Path]:
    """Reference label maps by case, with its domain in front (`ankle/a01`) and without.

    They come from manifests, and from folders with `<case>` or `<case>_seg` in any format. A name that cases
    of several domains have is only there with its domain.

    Raises:
        InputError: a manifest cannot be used, a folder holds no label map, or a case has several references.
    """
    found: dict[str, tuple[Path, bool]] = {}
    shared: set[str] = set()
    for path in given:
        for name, label in _references(path).items():
            first, is_of_folder = found.setdefault(name, (label, path.is_dir()))
            if first.resolve() == label.resolve():
                continue
            if "/" in name or is_of_folder or path.is_dir():
                rule = f"reference of case {name} must be one label map, got another in {show_path(path)}"
                raise InputError(f"{rule}; leave out one of the two")
            shared.add(name)
    return {name: path for name, (path, _) in found.items() if name not in shared}


def _references(given: Path) -> dict[str, Path]:
    if given.is_dir():
        paths = sorted(filter(is_volume, given.iterdir()))
        if not paths:
            raise InputError(f"references {show_path(given)} must hold label maps ({KINDS}), got none; name another")
        return {case_of(path): path for path in paths} | {case_id(path): path for path in paths}
    from custom_components.data.manifests import load_manifest

    manifest = load_manifest(given)
    cases = [case for case in manifest.cases if case.label is not None]
    return {
        f"{prefix}{name}": case.label
        for case in cases
        for prefix in ("", f"{case.domain}/")
        for name in (case_id(case.image), case.name)
        if case.label is not None
    }


def without_folders(text: str, *files: str) -> str:
    """The text with files named by their own names alone: folders are often called after patients.

    Example:
        >>> without_folders("/clinic/Smith John/a.nii: could not open /tmp/x/b.nii", "/clinic/Smith John/a.nii")
        'a.nii: could not open b.nii'
    """
    for file in filter(None, files):
        text = text.replace(file, PurePath(file).name)
    return re.sub(r"(?<![\w.])(?:~|[A-Za-z]:)?[\\/](?:[^\\/\s:;,'\"]+[\\/])+", "", text)
