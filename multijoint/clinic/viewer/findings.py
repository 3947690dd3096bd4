"""Notes on a case: confidence and flags of its bones, and hints for the reviewer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from custom_components.errors import explain
from custom_components.io.records import case_of, read_record
from custom_components.quality.flags import FlagRules
from custom_components.quality.tables import QUALITY_TABLE, quality_rows

from multijoint.clinic.report.glossary import FLAGS_OF_SCANS, explain_flag
from multijoint.clinic.report.results import read_bone_table, to_number
from multijoint.clinic.viewer.cases import ViewedCase


def read_findings(case: ViewedCase, *, digest: str) -> dict[str, Any]:
    """Findings of a case, and notes on how far to trust them.

    They come from `quality.csv` next to the label map or, where that has no row of the case, from its record.

    Args:
        case: whose label map lies in the folder of results.
        digest: SHA-256 of the label map as it is now.

    Returns:
        `bones`, by label value, each with `confidence`, 0..1 or None, `is_calibrated` (else it is the expected Dice as
        the network gives it), and `flags`; `flags` of the scan as a whole; `notes`. A flag has `name` and `meaning`.
    """
    record = read_record(case.segmentation)
    name, notes = case_of(case.segmentation), []
    try:
        table = read_bone_table(case.segmentation.with_name(QUALITY_TABLE))
    except ValueError as error:  # no table, or a label of thousands of digits
        table = {}
        notes.append(f"{QUALITY_TABLE} cannot be read: {explain(error)}.")
    rows: Mapping[int, Mapping[str, Any]] = {value: row for (each, value), row in table.items() if each == name}
    if not rows:
        try:
            rows = {int(row["label"]): row for row in quality_rows(record, case=name, rules=FlagRules())}
        except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError):  # a record by other hands
            rows = {}
    if not rows:
        notes.append(f"Confidence and flags are unknown: neither {QUALITY_TABLE} nor the record holds them.")
    if rows and (written := record.get("label_map_sha256")) and written != digest:
        notes.append("The label map was changed after it was written: confidence and flags are from before.")
    flags = {value: _flags(row) for value, row in rows.items()}
    return {
        "bones": {
            value: _confidence(row) | {"flags": _explained(flag for flag in flags[value] if flag not in FLAGS_OF_SCANS)}
            for value, row in rows.items()
        },
        "flags": _explained(flag for flag in FLAGS_OF_SCANS if any(flag in each for each in flags.values())),
        "notes": notes,
    }


def _confidence(row: Mapping[str, Any]) -> dict[str, Any]:
    calibrated, expected = to_number(row.get("confidence")), to_number(row.get("expected_dice"))
    confidence = expected if math.isnan(calibrated) else calibrated
    return {"confidence": None if math.isnan(confidence) else confidence, "is_calibrated": not math.isnan(calibrated)}


def _flags(row: Mapping[str, Any]) -> list[str]:
    flags = [flag.strip() for flag in str(row.get("flags") or "").split(";")]
    if str(row.get("cut") or "").lower() == "yes":
        flags.append("cut-by-field-of-view")
    # The label map itself says what is missing, also after a correction.
    return [flag for flag in dict.fromkeys(flags) if flag and flag != "missing"]


def _explained(flags: Iterable[str]) -> list[dict[str, str]]:
    return [{"name": flag, "meaning": explain_flag(flag)} for flag in flags]
