"""Means over rows of scores: hand-computed numbers with their counts, and the cases that are in none of them."""

import csv
import dataclasses
import math
import statistics

import pytest
from custom_components.errors import InputError
from custom_components.metrics.score_summaries import format_summary, summarise, write_summary_csv
from custom_components.metrics.score_tables import ALL_BONES
from hypothesis import given, settings
from hypothesis import strategies as st
from support.score_rows import NAN, ankle_and_shoulder, lost, row

SUMMARY_HEADER = (
    "domain,label,n,missed,false_finds,absent,n_dice,n_distance,dice_mean,dice_sd,assd_mean_mm,assd_sd_mm,"
    "mssd_mean_mm,mssd_sd_mm,level_errors,level_errors_percent,dice_as_one_mean,border,connectivity,cases_failed,failed_cases"
)


def test_summary_by_hand():
    talus, tibia, ankle, humerus, shoulder = summarise(ankle_and_shoulder())
    assert [(each.domain, each.label) for each in (talus, tibia, ankle, humerus, shoulder)] == [
        ("ankle", "talus"),
        ("ankle", "tibia"),
        ("ankle", ALL_BONES),
        ("shoulder", "humerus"),
        ("shoulder", ALL_BONES),
    ]
    counts = [(s.n, s.missed, s.false_finds, s.absent, s.n_dice, s.n_distance) for s in (talus, tibia, ankle)]
    assert counts == [(2, 0, 1, 0, 3, 2), (2, 1, 0, 1, 2, 1), (4, 1, 1, 1, 5, 3)]
    # Talus: Dice 0.8, 0.6 and a false find's 0; distances 1, 3 and 4, 10.
    assert talus.dice_mean == pytest.approx(1.4 / 3)
    assert talus.dice_sd == pytest.approx(statistics.stdev([0.8, 0.6, 0.0]))
    assert (talus.assd_mean_mm, talus.assd_sd_mm) == pytest.approx((2.0, math.sqrt(2)))
    assert (talus.mssd_mean_mm, talus.mssd_sd_mm) == pytest.approx((7.0, math.sqrt(18)))
    # Tibia: 0.9 and a miss's 0; one distance only, hence no deviation.
    assert tibia.dice_mean == pytest.approx(0.45)
    assert (tibia.assd_mean_mm, tibia.mssd_mean_mm) == (2.0, 6.0)
    assert math.isnan(tibia.assd_sd_mm)
    assert math.isnan(tibia.mssd_sd_mm)
    # All bones: the rows pooled, not the mean of the bones' means.
    assert ankle.dice_mean == pytest.approx(2.3 / 5)
    assert ankle.assd_mean_mm == pytest.approx(2.0)
    assert (humerus.n, humerus.dice_mean, humerus.mssd_mean_mm) == (1, 0.7, 20.0)
    assert repr(dataclasses.replace(humerus, label=ALL_BONES)) == repr(shoulder)


def test_only_absent_bones_have_no_mean():
    (talus, _) = summarise([lost("c1", "absent"), lost("c2", "absent")])
    assert (talus.n, talus.n_dice, talus.n_distance, talus.absent) == (0, 0, 0, 2)
    assert all(math.isnan(value) for value in dataclasses.astuple(talus)[8:14])
    assert summarise([]) == []


def test_a_found_bone_without_surface_keeps_its_dice_and_leaves_the_distances():
    talus, _ = summarise([row("c1", dice=1.0, assd_mm=NAN, mssd_mm=NAN), row("c2", dice=0.5, assd_mm=2.0)])
    assert (talus.n, talus.n_dice, talus.n_distance) == (2, 2, 1)
    assert (talus.dice_mean, talus.assd_mean_mm) == (0.75, 2.0)


statuses = st.sampled_from(["ok", "missed", "false_find", "absent"])


@given(
    entries=st.lists(
        st.tuples(
            statuses,
            st.sampled_from(["talus", "tibia"]),
            st.sampled_from(["a", "b"]),
            st.floats(0, 1),
            st.floats(0, 100),
        ),
        max_size=20,
    ),
    seed=st.randoms(use_true_random=False),
)
@settings(max_examples=60)
def test_summary_agrees_with_the_statistics_module_and_ignores_the_order_of_rows(entries, seed):
    rows = [
        row(f"c{i}", domain, label, dice, mm, 2 * mm) if status == "ok" else lost(f"c{i}", status, label, domain)
        for i, (status, label, domain, dice, mm) in enumerate(entries)
    ]
    summaries = {(each.domain, each.label): each for each in summarise(rows)}
    assert set(summaries) == {(r["domain"], label) for r in rows for label in (r["label"], ALL_BONES)}
    for (domain, label), each in summaries.items():
        mine = [r for r in rows if r["domain"] == domain and label in (r["label"], ALL_BONES)]
        assert each.n + each.false_finds + each.absent == len(mine)
        assert each.n_dice == each.n + each.false_finds
        for key, mean, sd in (
            ("dice", each.dice_mean, each.dice_sd),
            ("assd_mm", each.assd_mean_mm, each.assd_sd_mm),
            ("mssd_mm", each.mssd_mean_mm, each.mssd_sd_mm),
        ):
            values = [r[key] for r in mine if not math.isnan(r[key])]
            assert len(values) == (each.n_dice if key == "dice" else each.n_distance)
            assert mean == pytest.approx(statistics.fmean(values) if values else NAN, nan_ok=True)
            assert sd == pytest.approx(statistics.stdev(values) if len(values) > 1 else NAN, abs=1e-9, nan_ok=True)
    shuffled = seed.sample(rows, len(rows))
    for each in summarise(shuffled):
        again, before = dataclasses.astuple(each), dataclasses.astuple(summaries[each.domain, each.label])
        assert again[:8] == before[:8]
        assert again[8:] == pytest.approx(before[8:], abs=1e-9, nan_ok=True)


def test_level_errors_are_of_bones_and_all_bones_as_one_of_exams():
    rows = [
        row("c1") | {"taken_for": "tibia", "dice_as_one": 0.9},
        row("c1", label="tibia") | {"taken_for": "", "dice_as_one": 0.9},
        lost("c1", "absent", "fibula") | {"taken_for": "", "dice_as_one": 0.9},
        lost("c2", "missed") | {"taken_for": "tibia", "dice_as_one": 0.6},
        row("c3") | {"taken_for": "", "dice_as_one": NAN},
    ]
    talus, tibia, fibula, ankle = summarise(rows)
    assert [each.level_errors for each in (talus, tibia, fibula, ankle)] == [2, 0, 0, 2]
    percent = [each.level_errors_percent for each in (talus, tibia, fibula, ankle)]
    assert percent == pytest.approx([200 / 3, 0, NAN, 50], nan_ok=True)
    # Each exam counts once, however many bones it has.
    assert ankle.dice_as_one_mean == pytest.approx(0.75)
    assert math.isnan(talus.dice_as_one_mean)
    assert " ".join(format_summary(rows, border="inside").splitlines()[4].split()).endswith(" 2 (50.0) 75.0")


def test_the_text_table_shows_counts_and_convention():
    lines = format_summary(ankle_and_shoulder(), border="inside").splitlines()
    assert lines[0].split("  ")[0] == "domain"
    assert " ".join(lines[1].split()) == "ankle talus 2 0 1 0 46.7 (41.6) 2 2.00 (1.41) 7.0 (4.2) 0 (0.0) -"
    assert " ".join(lines[2].split()) == "ankle tibia 2 1 0 1 45.0 (63.6) 1 2.00 - 6.0 - 0 (0.0) -"
    assert lines[3].startswith("ankle     all bones")
    assert len({len(line) for line in lines[:6]}) == 1, "columns must line up"
    assert "nan" not in "\n".join(lines)
    assert "border=inside: the outside of the array counts as foreground" in lines[-2]
    assert "connectivity=6" in lines[-2]
    assert lines[-1] == "Every case was scored."
    assert "counts as background" in format_summary([], border="surface")
    assert format_summary([], border="inside").endswith("No case was scored.")
    only_absent = format_summary([lost("c1", "absent")], border="inside").splitlines()
    assert " ".join(only_absent[1].split()) == "ankle talus 0 0 0 1 - - 0 - - - - 0 - -"


def test_summary_csv_by_hand(tmp_path):
    path = tmp_path / "summary.csv"
    failures = [("ankle", "c7"), ("knee", "k1"), ("ankle", "c8")]
    write_summary_csv(path, ankle_and_shoulder(), border="inside", failures=failures)
    header, talus, _, ankle, humerus, _, knee = path.read_text().splitlines()
    assert header == SUMMARY_HEADER
    assert talus == "ankle,talus,2,0,1,0,3,2,0.466667,0.416333,2,1.41421,7,4.24264,0,0,nan,inside,6,2,c7; c8"
    assert ankle.startswith("ankle,all bones,4,1,1,1,5,3,0.46,")
    assert humerus == "shoulder,humerus,1,0,0,0,1,1,0.7,nan,3,nan,20,nan,0,0,nan,inside,6,0,"
    assert knee == "knee,all bones,0,0,0,0,0,0,nan,nan,nan,nan,nan,nan,0,nan,nan,inside,6,1,k1"
    with path.open(newline="") as file:
        read = list(csv.DictReader(file))
    for each, found in zip(summarise(ankle_and_shoulder()), read, strict=False):
        for name, value in dataclasses.asdict(each).items():
            assert found[name] == value or float(found[name]) == pytest.approx(value, rel=1e-5, nan_ok=True)


def test_cases_that_were_not_scored_are_named(tmp_path):
    text = format_summary([row()], border="inside", failures=[("ankle", "c7"), ("knee", "k1")])
    assert text.splitlines()[-1] == "NOT SCORED, and in no mean above: 2 cases: ankle/c7, knee/k1."
    assert " ".join(text.splitlines()[3].split()) == "knee all bones 0 0 0 0 - - 0 - - - - 0 - -"
    nothing = format_summary([], border="inside", failures=[("knee", "k1")])
    assert nothing.splitlines()[-1] == "NOT SCORED, so there is no mean: 1 case: knee/k1."


@pytest.mark.parametrize(
    "write", [format_summary, lambda *rows, **how: write_summary_csv("unwritten.csv", *rows, **how)]
)
def test_the_convention_must_be_that_of_the_rows(write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="border must be that of the rows, got 'surface' and 'inside'; score with one"):
        write([row()], border="surface")
    assert not list(tmp_path.iterdir())


def test_the_convention_must_be_known():
    with pytest.raises(InputError, match="border must be one of inside, surface, got 'monai'; 'inside' is CHAOS's"):
        format_summary([row()], border="monai")
