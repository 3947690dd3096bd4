import json
from pathlib import Path
from typing import Any

import pytest
from custom_components.data import typicality
from custom_components.data.cases import Case
from custom_components.data.manifests import Manifest
from custom_components.data.splits import ALL, LEAST_TYPICAL, Split, count_folds, describe, make_splits
from custom_components.domains import Domain
from custom_components.errors import InputError
from hypothesis import given
from hypothesis import strategies as st


def manifest(name: str, scans: list[int], unlabelled: int = 0) -> Manifest:
    """Subject i has `scans[i]` labelled cases; then come people without a label."""
    cases = [
        Case(f"{name}{subject}_{scan}", name, Path("i.nii"), Path("l.nii"), f"s{subject:02d}")
        for subject, count in enumerate(scans)
        for scan in range(count)
    ]
    cases += [Case(f"{name}x{index}", name, Path("i.nii"), None, f"x{index}") for index in range(unlabelled)]
    return Manifest(Domain(name, {1: "bone"}, "axial"), tuple(cases), "CC0-1.0", "made up", Path(f"{name}.yaml"))


def subjects(cases: tuple[Case, ...], domain: str) -> list[str]:
    return list(dict.fromkeys(case.subject for case in cases if case.domain == domain))


def test_seventeen_and_fifteen_subjects_give_seventeen_folds() -> None:
    manifests = [manifest("ankle", [1] * 17), manifest("shoulder", [1] * 15)]
    assert count_folds(manifests) == 17

    first = make_splits(manifests, fold=0)
    assert [subjects(first.testing, name) for name in ("ankle", "shoulder")] == [["s00"], ["s00"]]
    assert [subjects(first.validation, name) for name in ("ankle", "shoulder")] == [["s01"], ["s01"]]
    assert len(first.training) == 15 + 13

    fifteenth = make_splits(manifests, fold=14)
    assert subjects(fifteenth.testing, "shoulder") == ["s14"]
    assert subjects(fifteenth.validation, "shoulder") == ["s00"]

    last = make_splits(manifests, fold=16)
    assert (subjects(last.testing, "ankle"), subjects(last.validation, "ankle")) == (["s16"], ["s00"])
    assert (subjects(last.testing, "shoulder"), subjects(last.validation, "shoulder")) == ([], ["s02"])
    assert len(subjects(last.training, "shoulder")) == 14


def test_all_train_every_labelled_case_and_hold_nobody_out() -> None:
    manifests = [manifest("ankle", [1, 2, 1], unlabelled=2), manifest("hip", [3])]
    split = make_splits(manifests, fold=ALL, num_folds=5)
    assert split.training == tuple(case for each in manifests for case in each.cases if case.label is not None)
    assert (split.validation, split.testing, split.fold, split.num_folds) == ((), (), "all", 1)
    assert describe(split)[0] == "fold all"
    assert describe(split)[-1].split() == ["hip", "-", "-", "1", "subject,", "3", "cases"]
    fewer = make_splits(manifests, fold=ALL, train_subjects={"ankle": 2})
    assert subjects(fewer.training, "ankle") == ["s00", "s01"]
    with pytest.raises(InputError, match=r"labelled subjects in ankle.yaml must be at least 1, got 0"):
        make_splits([manifest("ankle", [], unlabelled=2)], fold=ALL)
    with pytest.raises(InputError, match="and others are 'least typical' and 'all'"):
        make_splits([manifest("ankle", [1, 1, 1])], fold="most typical")


def test_fewer_training_subjects_are_nested_and_leave_the_rest_alone() -> None:
    manifests = [manifest("ankle", [1, 2] * 4), manifest("shoulder", [1] * 6)]
    whole = make_splits(manifests, fold=5)
    trained = []
    for number in (1, 3, 6):
        split = make_splits(manifests, fold=5, train_subjects={"ankle": number})
        assert (split.testing, split.validation) == (whole.testing, whole.validation)
        assert subjects(split.training, "shoulder") == subjects(whole.training, "shoulder")
        trained.append(set(subjects(split.training, "ankle")))
        assert len(trained[-1]) == number
    assert trained[0] < trained[1] < trained[2] == set(subjects(whole.training, "ankle"))
    assert trained[0] == {"s07"}  # fold 5 tests s05 and validates s06
    cases = make_splits(manifests, fold=5, train_subjects={"ankle": 1}).training
    assert sum(case.domain == "ankle" for case in cases) == 2  # both scans of the one subject


@pytest.mark.parametrize("number", [0, 7, -1, True, "3"])
def test_number_of_training_subjects_out_of_range(number: object) -> None:
    with pytest.raises(InputError, match="train_subjects of ankle must be a whole number from 1 to 6"):
        make_splits([manifest("ankle", [1] * 8)], fold=0, train_subjects={"ankle": number})


@pytest.mark.parametrize("wrong", [2, [1], "ankle"])
def test_training_subjects_are_numbers_by_domain(wrong: object) -> None:
    with pytest.raises(InputError, match=r"train_subjects must be a number by domain, got .*; write {domain: n"):
        make_splits([manifest("ankle", [1] * 8)], fold=0, train_subjects=wrong)


def test_training_subjects_of_an_unknown_domain() -> None:
    with pytest.raises(InputError, match="train_subjects must name domains among ankle, got elbow"):
        make_splits([manifest("ankle", [1] * 8)], fold=0, train_subjects={"elbow": 1})


def test_three_folds_deal_the_subjects_round_robin() -> None:
    split = make_splits([manifest("ankle", [1] * 7)], fold=2, num_folds=3)
    assert subjects(split.testing, "ankle") == ["s02", "s05"]
    assert subjects(split.validation, "ankle") == ["s00", "s03", "s06"]
    assert subjects(split.training, "ankle") == ["s01", "s04"]


@pytest.fixture
def farthest(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fewer scans, the farther: files that are not there cannot be measured."""

    def distances(manifest: Manifest) -> dict[str, float]:
        labelled = [case.subject for case in manifest.cases if case.label]
        return {subject: 1 / labelled.count(subject) for subject in labelled}

    monkeypatch.setattr(typicality, "distances_from_typical", distances)


@pytest.mark.usefixtures("farthest")
def test_the_least_typical_are_tested_and_of_the_rest_every_kth_validates() -> None:
    manifests = [manifest("ankle", [2] * 5 + [1] + [2] * 10 + [1, 1]), manifest("shoulder", [2, 1, 2], unlabelled=2)]
    split = make_splits(manifests, fold=LEAST_TYPICAL)
    # 18 subjects: round(3.6) tested, the first of the equally far; of the 14 others round(2.8), every 4th.
    assert subjects(split.testing, "ankle") == ["s00", "s05", "s16", "s17"]
    assert subjects(split.validation, "ankle") == ["s03", "s08", "s12"]
    assert len(subjects(split.training, "ankle")) == 11
    assert [subjects(side, "shoulder") for side in _sides(split)] == [["s00"], ["s02"], ["s01"]]
    assert len(split.testing) == 2 + 3 + 1  # all scans of a subject
    assert make_splits(manifests, fold=LEAST_TYPICAL, num_folds=5) == split
    assert json.loads(json.dumps(split.to_dict()))["fold"] == "least typical"
    assert describe(split)[0] == "fold least typical"


@pytest.mark.usefixtures("farthest")
def test_fewer_training_subjects_beside_the_least_typical() -> None:
    manifests = [manifest("ankle", [2, 2, 2, 1, 2, 2])]
    trained = [
        subjects(make_splits(manifests, fold=LEAST_TYPICAL, train_subjects={"ankle": number}).training, "ankle")
        for number in (1, 2, 4)
    ]
    assert trained == [["s00"], ["s00", "s01"], ["s00", "s01", "s04", "s05"]]
    with pytest.raises(InputError, match=r"whole number from 1 to 4 .those left in fold least typical"):
        make_splits(manifests, fold=LEAST_TYPICAL, train_subjects={"ankle": 5})


@given(
    scans=st.lists(st.lists(st.integers(1, 3), min_size=3, max_size=7), min_size=1, max_size=3),
    folds=st.none() | st.just(3),
)
def test_every_subject_is_tested_once_and_sides_are_disjoint(scans: list[list[int]], folds: int | None) -> None:
    manifests = [manifest(f"d{index}", counts, unlabelled=1) for index, counts in enumerate(scans)]
    tested: list[Case] = []
    for fold in range(count_folds(manifests, num_folds=folds)):
        split = make_splits(manifests, fold=fold, num_folds=folds)
        sides = [{(case.domain, case.subject) for case in side} for side in _sides(split)]
        assert sum(map(len, sides)) == len(set.union(*sides)) == sum(map(len, scans))
        assert sum(map(len, _sides(split))) == sum(map(sum, scans))
        assert (
            {domain for domain, _ in sides[0]}
            == {domain for domain, _ in sides[1]}
            == {m.domain.name for m in manifests}
        )
        tested += split.testing
    assert sorted(case.name for case in tested) == sorted(c.name for m in manifests for c in m.cases if c.label)


def _sides(split: Split) -> tuple[tuple[Case, ...], ...]:
    return split.training, split.validation, split.testing


def test_to_dict_is_json_without_paths() -> None:
    split = make_splits([manifest("ankle", [2, 1, 1])], fold=0)
    data = json.loads(json.dumps(split.to_dict()))
    assert data["testing"] == [
        {"domain": "ankle", "case": "ankle0_0", "subject": "s00"},
        {"domain": "ankle", "case": "ankle0_1", "subject": "s00"},
    ]
    assert "nii" not in json.dumps(data)
    assert (data["fold"], data["num_folds"]) == (0, 3)


def test_describe_is_a_row_a_domain() -> None:
    split = make_splits([manifest("ankle", [1, 1, 1, 2]), manifest("shoulder", [1, 1, 1])], fold=3)
    assert describe(split) == [
        "fold 3 of 0..3",
        "domain    tested  validated  trained",
        "ankle     s03     s00        2 subjects, 2 cases",
        "shoulder  -       s01        2 subjects, 2 cases",
    ]


@pytest.mark.parametrize("fold", [-1, 3, 1.0, True, "typical"])
def test_fold_out_of_range(fold: Any) -> None:
    with pytest.raises(InputError, match=r"fold must be a whole number from 0 to 2, got .*'least typical'"):
        make_splits([manifest("ankle", [1, 1, 1])], fold=fold)


def test_impossible_splits() -> None:
    with pytest.raises(InputError, match=r"labelled subjects in ankle\.yaml must be at least 3 .*got 2"):
        make_splits([manifest("ankle", [3, 3], unlabelled=5)], fold=0)
    with pytest.raises(InputError, match="num_folds must be a whole number from 3, got 2"):
        make_splits([manifest("ankle", [1] * 5)], fold=0, num_folds=2)
    with pytest.raises(InputError, match=r"at most the 4 labelled subjects of shoulder .*got 5"):
        make_splits([manifest("ankle", [1] * 5), manifest("shoulder", [1] * 4)], fold=0, num_folds=5)
    with pytest.raises(InputError, match="must be one or more, got none"):
        make_splits([], fold=0)
