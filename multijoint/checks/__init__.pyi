from .checked_case import CheckedCase
from .checking import CheckResult, check_manifests
from .examining import examine
from .findings import Finding
from .report import format_cases, format_finding, prepare_folder, write_check

__all__ = [
    "CheckResult",
    "CheckedCase",
    "Finding",
    "check_manifests",
    "examine",
    "format_cases",
    "format_finding",
    "prepare_folder",
    "write_check",
]
