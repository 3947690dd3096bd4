"""Looking a data set over before anybody trains on it."""

from custom_components.checks.checking import CheckResult, check_manifests
from custom_components.checks.exams import examine
from custom_components.checks.findings import Finding
from custom_components.checks.records import Exam
from custom_components.checks.report import format_exams, format_finding, write_check

__all__ = [
    "CheckResult",
    "Exam",
    "Finding",
    "check_manifests",
    "examine",
    "format_exams",
    "format_finding",
    "write_check",
]
