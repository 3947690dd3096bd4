"""Looking a data set over before anybody trains on it."""

from multijoint.checks.checking import CheckResult, check_manifests
from multijoint.checks.exams import examine
from multijoint.checks.findings import Finding
from multijoint.checks.records import Exam
from multijoint.checks.report import format_exams, format_finding, write_check

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
