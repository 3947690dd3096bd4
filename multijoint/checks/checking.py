"""Data sets examined case by case, with one case a processor in memory at a time."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from custom_components.data.cases import Case
from custom_components.data.manifests import Manifest, load_manifest
from custom_components.data.splits import count_folds, make_splits
from custom_components.errors import LOG_PATHS, InputError, failure_of, show_path

from multijoint.checks.checked_case import CheckedCase
from multijoint.checks.duplicates import find_duplicates
from multijoint.checks.examining import examine
from multijoint.checks.findings import Finding, find, sort_findings
from multijoint.cluster.forks import map_forked

_LEAST_SUBJECTS = 3
_FILE_RULES = ("missing-file", "unreadable")


@dataclass(frozen=True)
class CheckResult:
    """Every case of every readable manifest, in order, and the findings of the data sets, errors first."""

    cases: tuple[CheckedCase, ...]
    findings: tuple[Finding, ...]

    def count(self, level: str) -> int:
        """Number of findings of a level."""
        return sum(finding.level == level for finding in self.findings)


def check_manifests(
    paths: Sequence[str | Path], *, dataset_dir: str | Path | None = None, num_folds: int | None = None
) -> CheckResult:
    """Examine data sets as a training would meet them.

    Paths in a manifest start at `dataset_dir`, by default the manifest's own folder. The folds are as in the training,
    None for leave-one-out.

    Returns:
        Cases and findings. A manifest or a case that cannot be used is a finding; the others are examined.
    """
    cases: list[CheckedCase] = []
    findings: list[Finding] = []
    files = [Path(path) for path in paths]
    dataset_dir = None if dataset_dir is None else Path(dataset_dir)
    manifests: dict[str, Manifest] = {}
    shown_paths = [show_path(path) for path in files]
    for place, path in enumerate(files, start=1):
        shown = show_path(path)  # where several files have one name, with their number on the command line
        shown = shown if shown_paths.count(shown) == 1 else f"{shown} #{place}"
        try:
            manifest = load_manifest(path, dataset_dir=dataset_dir, check_files=False)
        except Exception as error:
            findings.append(_manifest_error(shown, error, path, dataset_dir))
            continue
        name = manifest.domain.name
        if name in manifests:
            rule = f"domain must differ from those of the other manifests, got {name!r} twice"
            findings.append(Finding("error", "manifest", shown, "", f"{rule}; rename it or leave it out"))
            continue
        manifests[name] = manifest
        own = list(map_forked(partial(examine, domain=manifest.domain), manifest.cases, what=f"{name}: cases"))
        cases += own
        findings += _strict_errors(path, dataset_dir, manifest, own)
        findings += find(own, manifest.domain)
    findings += find_duplicates(cases)
    findings += _split_errors(list(manifests.values()), num_folds)
    findings += _shared_names(list(manifests.values()))
    return CheckResult(tuple(cases), tuple(sort_findings(findings)))


def _manifest_error(
    shown: str, error: Exception, path: Path, dataset_dir: Path | None, *, domain: str = "", case: str = ""
) -> Finding:
    text = _without_folders(failure_of(error), [path.parent, *([] if dataset_dir is None else [dataset_dir])])
    return Finding("error", "manifest", domain or shown, case, text)


def _without_folders(text: str, folders: Sequence[Path]) -> str:
    """Cut the folders off the files in a message, as `show_path` does.

    Example:
        >>> _without_folders("got no file /John Smith/a.nii.gz; check", [Path("/John Smith")])
        'got no file a.nii.gz; check'
    """
    if os.environ.get(LOG_PATHS) == "1":
        return text
    for folder in folders:
        if str(folder) not in (".", "/"):
            text = re.sub(rf"(?<![\w.-]){re.escape(str(folder))}/(?:[^\s;,'\"]+/)*", "", text)
    return re.sub(r"(?<![\w./-])/(?:[^\s/;,'\"]+/)+", "", text)


def _strict_errors(
    path: Path, dataset_dir: Path | None, manifest: Manifest, cases: Sequence[CheckedCase]
) -> Iterator[Finding]:
    """The reason why a training would refuse the manifest, unless the file at fault has been named already."""
    try:
        load_manifest(path, dataset_dir=dataset_dir)
    except Exception as error:
        named = [case.case for case in cases if _names(str(error), case.case)]
        bad = {case.name for case in cases if any(rule in _FILE_RULES for rule, _ in case.problems)}
        if not any(case.name in bad for case in named):
            case = named[0].name if len(named) == 1 else ""
            domain = manifest.domain.name
            yield _manifest_error(show_path(path), error, path, dataset_dir, domain=domain, case=case)


def _names(text: str, case: Case) -> bool:
    files = {show_path(file) for file in (*case.images, case.label) if file}
    return any(re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w.-])", text) for name in files)


def _split_errors(manifests: Sequence[Manifest], num_folds: int | None) -> Iterator[Finding]:
    """Whether a training can split the data sets; those that are too small have been named already."""
    large = [
        manifest
        for manifest in manifests
        if len({case.subject for case in manifest.cases if case.label is not None}) >= _LEAST_SUBJECTS
    ]
    if not large:
        return
    try:
        for fold in range(count_folds(large, num_folds=num_folds)):
            make_splits(large, fold=fold, num_folds=num_folds)
    except InputError as error:
        yield Finding("error", "split", "", "", _without_folders(str(error), [each.path.parent for each in large]))


def _shared_names(manifests: Sequence[Manifest]) -> Iterator[Finding]:
    domains: dict[str, list[str]] = {}
    for manifest in manifests:
        for subject in {case.subject for case in manifest.cases}:
            domains.setdefault(subject, []).append(manifest.domain.name)
    for subject, names in sorted(domains.items()):
        if len(names) > 1:
            text = f"subject {subject} stands in {' and '.join(names)}: taken for different people"
            yield Finding("note", "subject-names", "", "", text)
