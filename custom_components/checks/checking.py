"""Data sets examined case by case, with one case in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from custom_components.checks.exams import Exam, examine
from custom_components.checks.findings import LEVELS, Finding, find
from custom_components.errors import InputError
from custom_components.manifests import Manifest, load_manifest, load_manifests
from custom_components.splits import make_splits

__all__ = ["CheckResult", "check_manifests"]


@dataclass(frozen=True)
class CheckResult:
    """What was found in some data sets.

    Args:
        exams: every case of every readable manifest, in order.
        findings: errors first.
    """

    exams: tuple[Exam, ...]
    findings: tuple[Finding, ...]

    def count(self, level: str) -> int:
        """Number of findings of a level."""
        return sum(finding.level == level for finding in self.findings)


def check_manifests(
    paths: Sequence[Path], *, dataset_dir: Path | None = None, num_folds: int | None = None
) -> CheckResult:
    """Examine data sets as a training would meet them.

    Args:
        paths: manifests.
        dataset_dir: where their paths start, if not beside each.
        num_folds: as the training's; None for leave-one-out.

    Returns:
        What was measured and found. A manifest or a case that cannot be used is a finding; the others are examined.
    """
    exams: list[Exam] = []
    findings: list[Finding] = []
    manifests: list[Manifest] = []
    for path in paths:
        try:
            manifest = load_manifest(path, dataset_dir=dataset_dir, check_files=False)
        except (InputError, OSError) as error:
            findings.append(Finding("error", "manifest", path.parent.name, "", str(error)))
            continue
        manifests.append(manifest)
        own = [examine(case, manifest.domain) for case in manifest.cases]
        found = find(own, manifest.domain)
        exams += own
        findings += found
        if not any(finding.level == "error" for finding in found):
            findings += _manifest_errors(path, dataset_dir, manifest)
    if not any(finding.level == "error" for finding in findings):
        findings += _training_errors(paths, dataset_dir, manifests, num_folds)
    findings += _shared_names(manifests)
    return CheckResult(tuple(exams), tuple(sorted(findings, key=lambda each: LEVELS.index(each.level))))


def _manifest_errors(path: Path, dataset_dir: Path | None, manifest: Manifest) -> Iterator[Finding]:
    """What a training would refuse the manifest for, though each file of it is fine."""
    try:
        load_manifest(path, dataset_dir=dataset_dir)
    except InputError as error:
        yield Finding("error", "manifest", manifest.domain.name, "", str(error))


def _training_errors(
    paths: Sequence[Path], dataset_dir: Path | None, manifests: Sequence[Manifest], num_folds: int | None
) -> Iterator[Finding]:
    try:
        make_splits(load_manifests(paths, dataset_dir=dataset_dir), fold=0, num_folds=num_folds)
    except InputError as error:
        yield Finding("error", "split", "", "", str(error))


def _shared_names(manifests: Sequence[Manifest]) -> Iterator[Finding]:
    domains: dict[str, list[str]] = {}
    for manifest in manifests:
        for subject in {case.subject for case in manifest.cases}:
            domains.setdefault(subject, []).append(manifest.domain.name)
    for subject, names in sorted(domains.items()):
        if len(names) > 1:
            text = f"subject {subject} stands in {' and '.join(names)}: taken for different people"
            yield Finding("note", "subject-names", "", "", text)
