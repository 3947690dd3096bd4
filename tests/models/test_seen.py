"""Whom a model has seen, over all models behind it."""

from custom_components.models.seen import Seen, seen_by

ANN, BOB, EVE = ({"domain": "ankle", "subject": name} for name in ("Ann", "Bob", "Eve"))


def test_people_of_both_sides_and_of_earlier_models_count_and_tested_ones_do_not() -> None:
    split = {"fold": 0, "training": [ANN | {"case": "a1"}], "validation": [BOB], "testing": [EVE]}
    seen = seen_by({"split": split})
    assert seen == Seen(frozenset({("ankle", "Ann")}), frozenset({("ankle", "Bob")}))
    later = seen_by({"split": {**split, "training": [EVE], "validation": []}, "seen": seen.to_dict()})
    assert later.training == {("ankle", "Ann"), ("ankle", "Eve")}
    assert later.everybody == {("ankle", "Ann"), ("ankle", "Bob"), ("ankle", "Eve")}
    assert later.complete


def test_a_model_that_names_nobody_leaves_all_later_ones_incomplete() -> None:
    packaged = seen_by({"epoch": 3})
    assert packaged == Seen(complete=False)
    split = {"training": [ANN], "validation": []}
    later = seen_by({"split": split, "seen": packaged.to_dict()})
    assert not later.complete
    assert not seen_by({"split": split, "seen": later.to_dict()}).complete
    assert later.training == {("ankle", "Ann")}
