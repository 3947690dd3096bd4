"""Splits of data sets into training, validation and testing, by subject and for each data set by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from custom_components.data.cases import Case, as_case
from custom_components.data.manifests import Manifest
from custom_components.errors import InputError
from custom_components.system.terminal import align_columns

LEAST_TYPICAL = "least typical"
"""Value of `fold` that tests the subjects of each data set that are farthest from the rest."""

ALL = "all"
"""Value of `fold` that trains on every labelled case; none validates or tests."""

_Deal = Callable[[Manifest], tuple[list[str], list[str], list[str]]]


@dataclass(frozen=True)
class Split:
    """The cases of one fold, a number, `LEAST_TYPICAL` or `ALL`; all cases of a subject lie on one side."""

    training: tuple[Case, ...]
    validation: tuple[Case, ...]
    testing: tuple[Case, ...]
    fold: int | str
    num_folds: int

    def to_dict(self) -> dict[str, Any]:
        """Names and subjects, without paths, for results files."""
        sides = {"training": self.training, "validation": self.validation, "testing": self.testing}
        return {"fold": self.fold, "num_folds": self.num_folds} | {
            side: [{"domain": case.domain, "case": case.name, "subject": case.subject} for case in cases]
            for side, cases in sides.items()
        }


def split_of(
    *,
    training: Sequence[Case | Mapping[str, Any]],
    validation: Sequence[Case | Mapping[str, Any]],
    domain: str | None = None,
) -> Split:
    """A split into given training and validation data, with no test cases.

    The data are cases, or items as `cases.as_case` takes them; `domain` is that of items that do not say.
    """
    first, second = (tuple(as_case(item, domain=domain) for item in side) for side in (training, validation))
    return Split(first, second, testing=(), fold=0, num_folds=1)


def make_splits(
    manifests: Sequence[Manifest],
    *,
    fold: int | str,
    num_folds: int | None = None,
    train_subjects: Mapping[str, int] | None = None,
) -> Split:
    """Split every data set by subject for one fold of a cross-validation.

    Subjects count in the order of the manifest. Leave-one-out: fold i tests subject i, the next one (cyclic)
    validates, the rest trains. From fold n on a data set with n subjects tests none, but subject (i + 1) mod n still
    validates. With `num_folds` = k, subjects are dealt round-robin (group i is subject i, i + k, ...):
    fold i tests group i, group i + 1 (cyclic) validates. Either way a subject is tested exactly once over all folds.
    Subjects of equal name in two domains are two people. Cases without a label are in no split.

    The fold `LEAST_TYPICAL` tests the fifth of each data set's subjects that is least like the others, by
    `typicality.distances_from_typical`; of the remaining ones every k-th validates, a fifth of them, and the rest
    trains (fifths are rounded, at least 1). It reads all labelled cases; `num_folds` does not matter.

    The fold `ALL` trains on every labelled case, for a last model after a cross-validation; `num_folds` does not
    matter.

    Args:
        manifests: one per domain.
        fold: 0 .. `count_folds` - 1, `LEAST_TYPICAL` or `ALL`.
        num_folds: number of groups, 3 up to the subjects of the smallest data set; None for leave-one-out.
        train_subjects: domain -> how many of its training subjects to train on, for learning curves; the others of
            that domain stay out. They count from the one after the validation subjects (cyclic; in `LEAST_TYPICAL`
            from the first), so that a larger number adds subjects to those of a smaller one and other folds train on
            others.

    Raises:
        InputError: fewer than 3 labelled subjects in a data set, or `num_folds`, `fold` or `train_subjects` out of
            range.

    Source:
        Boutillon et al., "Multi-Task, Multi-Domain Deep Segmentation with Shared Representations and Contrastive
        Regularization for Sparse Pediatric Datasets" (leave-one-out). Who validates in a fold without a test subject
        is our choice.
    """
    deals: dict[Any, _Deal] = {ALL: _everybody, LEAST_TYPICAL: _least_typical}
    named = isinstance(fold, str) and fold in deals
    total = count_folds(manifests, num_folds=None if named else num_folds, least=1 if fold == ALL else 3)
    if named:
        total = 1
    elif isinstance(fold, bool) or not isinstance(fold, int) or not 0 <= fold < total:
        raise InputError(
            f"fold must be a whole number from 0 to {total - 1}, got {fold!r}; folds are counted from 0, and others "
            f"are {LEAST_TYPICAL!r} and {ALL!r}"
        )
    if not isinstance(train_subjects, Mapping | None):
        raise InputError(f"train_subjects must be a number by domain, got {train_subjects!r}; write {{domain: number}}")
    training, validation, testing = list[Case](), list[Case](), list[Case]()
    for manifest in manifests:
        deal = deals[fold] if isinstance(fold, str) else partial(_dealt, fold=fold, num_folds=num_folds)
        tested, validated, left = deal(manifest)
        trained = _trained_subjects(manifest, left, fold, train_subjects or {})
        for case in manifest.cases:
            if case.label is None:
                continue
            if case.subject in tested:
                testing.append(case)
            elif case.subject in validated:
                validation.append(case)
            elif case.subject in trained:
                training.append(case)
    unknown = sorted((train_subjects or {}).keys() - {manifest.domain.name for manifest in manifests})
    if unknown:
        known = ", ".join(manifest.domain.name for manifest in manifests)
        raise InputError(f"train_subjects must name domains among {known}, got {unknown[0]}; correct the name")
    return Split(tuple(training), tuple(validation), tuple(testing), fold, total)


def count_folds(manifests: Sequence[Manifest], *, num_folds: int | None = None, least: int = 3) -> int:
    """Number of folds: `num_folds`, or for leave-one-out the subjects of the largest data set (17 and 15 give 17).

    Raises:
        InputError: no manifest, fewer than `least` labelled subjects in one, or `num_folds` out of range for one.
    """
    if not manifests:
        raise InputError("manifests to split must be one or more, got none; load at least one data manifest")
    if num_folds is not None and (isinstance(num_folds, bool) or not isinstance(num_folds, int) or num_folds < 3):
        raise InputError(f"num_folds must be a whole number from 3, got {num_folds!r}; leave it out for leave-one-out")
    for manifest in manifests:
        count = len(_subjects(manifest))
        if count < least:
            sides = " (train, validate, test)" if least == 3 else ""
            raise InputError(
                f"labelled subjects in {manifest.path} must be at least {least}{sides}, got {count}; "
                "add labelled cases or leave the data set out"
            )
        if num_folds is not None and num_folds > count:
            raise InputError(
                f"num_folds must be at most the {count} labelled subjects of {manifest.domain.name} ({manifest.path}), "
                f"got {num_folds}; use fewer folds"
            )
    return num_folds or max(len(_subjects(manifest)) for manifest in manifests)


def describe(split: Split) -> list[str]:
    """Lines of a table: a row a domain with the subjects tested and validated and the numbers trained on."""
    rows = [("domain", "tested", "validated", "trained")]
    sides = (split.testing, split.validation, split.training)
    for domain in dict.fromkeys(case.domain for side in reversed(sides) for case in side):
        tested, validated, trained = ([case for case in side if case.domain == domain] for side in sides)
        subjects = len({case.subject for case in trained})
        amount = f"{subjects} subject{'s' * (subjects != 1)}, {len(trained)} case{'s' * (len(trained) != 1)}"
        rows.append((domain, _names(tested), _names(validated), amount))
    folds = "" if isinstance(split.fold, str) else f" of 0..{split.num_folds - 1}"
    return [f"fold {split.fold}{folds}", *align_columns(rows)]


def _dealt(manifest: Manifest, *, fold: int, num_folds: int | None) -> tuple[list[str], list[str], list[str]]:
    """Subjects tested, validated and left for the training, the last in the order in which they are taken."""
    subjects = _subjects(manifest)
    groups = num_folds or len(subjects)
    start = (fold + 2) % groups
    group_of = {subject: index % groups for index, subject in enumerate(subjects)}
    tested = [subject for subject in subjects if group_of[subject] == fold]
    validated = [subject for subject in subjects if group_of[subject] == (fold + 1) % groups]
    return tested, validated, _without(subjects[start:] + subjects[:start], tested + validated)


def _least_typical(manifest: Manifest) -> tuple[list[str], list[str], list[str]]:
    """As `_dealt`."""
    from custom_components.data.typicality import least_typical_subjects  # which reads volumes

    tested = least_typical_subjects(manifest)
    rest = _without(_subjects(manifest), tested)
    count = max(1, round(len(rest) / 5))
    step = len(rest) // count
    validated = rest[step // 2 :: step][:count]
    return tested, validated, _without(rest, validated)


def _everybody(manifest: Manifest) -> tuple[list[str], list[str], list[str]]:
    """As `_dealt`."""
    return [], [], _subjects(manifest)


def _without(subjects: Sequence[str], others: Sequence[str]) -> list[str]:
    return [subject for subject in subjects if subject not in others]


def _trained_subjects(
    manifest: Manifest, left: Sequence[str], fold: int | str, train_subjects: Mapping[str, int]
) -> set[str]:
    wanted = train_subjects.get(manifest.domain.name, len(left))
    if isinstance(wanted, bool) or not isinstance(wanted, int) or not 1 <= wanted <= len(left):
        raise InputError(
            f"train_subjects of {manifest.domain.name} must be a whole number from 1 to {len(left)} (those left in "
            f"fold {fold}), got {wanted!r}; take fewer"
        )
    return set(left[:wanted])


def _names(cases: Sequence[Case]) -> str:
    return ", ".join(dict.fromkeys(case.subject for case in cases)) or "-"


def _subjects(manifest: Manifest) -> list[str]:
    return list(dict.fromkeys(case.subject for case in manifest.cases if case.label is not None))
