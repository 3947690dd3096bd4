"""The table of scores: hand-computed means with their counts, the CSV's exact text, and rows that must be refused."""

import csv
import dataclasses
import math
import os
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from custom_components.errors import InputError
from custom_components.metrics import BoneScore
from custom_components.scores import ALL_BONES, COLUMNS, format_summary, score_rows, summarise, write_scores_csv

NAN = math.nan
HEADER = "case,subject,domain,label,dice,assd_mm,mssd_mm,status"


def row(case="c1", domain="ankle", label="talus", dice=0.9, assd_mm=0.5, mssd_mm=4.0, status="ok"):
    values = (case, f"subject of {case}", domain, label, dice, assd_mm, mssd_mm, status)
    return dict(zip(COLUMNS, values, strict=True))


def lost(case, status, label="talus", domain="ankle"):
    return row(case, domain, label, NAN if status == "absent" else 0.0, NAN, NAN, status)


def ankle_and_shoulder():
    return [
        row("c1", dice=0.8, assd_mm=1.0, mssd_mm=4.0),
        row("c1", label="tibia", dice=0.9, assd_mm=2.0, mssd_mm=6.0),
        row("s1", "shoulder", "humerus", 0.7, 3.0, 20.0),
        row("c2", dice=0.6, assd_mm=3.0, mssd_mm=10.0),
        lost("c2", "missed", "tibia"),
        lost("c3", "false_find"),
        lost("c3", "absent", "tibia"),
    ]


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
    assert all(math.isnan(value) for value in dataclasses.astuple(talus)[8:])
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
@settings(max_examples=60, deadline=None)
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


def test_csv_is_exact(tmp_path):
    path = tmp_path / "metrics.csv"
    rows = [
        row(dice=2 / 3, assd_mm=0.1234567, mssd_mm=12),
        lost("c2", "missed", 'os "trigonum", left'),
        lost("c3", "absent"),
    ]
    write_scores_csv(path, rows)
    assert path.read_bytes().decode() == (
        f"{HEADER}\n"
        "c1,subject of c1,ankle,talus,0.666667,0.123457,12,ok\n"
        'c2,subject of c2,ankle,"os ""trigonum"", left",0,nan,nan,missed\n'
        "c3,subject of c3,ankle,talus,nan,nan,nan,absent\n"
    )
    with path.open(newline="") as file:
        read = list(csv.DictReader(file))
    for written, found in zip(rows, read, strict=True):
        assert found["label"] == written["label"]
        assert float(found["dice"]) == pytest.approx(written["dice"], rel=1e-5, nan_ok=True)
    write_scores_csv(str(path), [])
    assert path.read_text() == f"{HEADER}\n"


def test_an_older_csv_survives_a_failed_write(tmp_path, monkeypatch):
    path = tmp_path / "metrics.csv"
    write_scores_csv(path, [row()])
    before = path.read_bytes()
    with pytest.raises(InputError):
        write_scores_csv(path, [row("c1", dice=0.5), row("c2", dice=2.0)])

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="No space left"):
        write_scores_csv(path, [row(dice=0.5)])
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["metrics.csv"]


def test_rows_come_from_scores():
    scores = [BoneScore("talus", 7, 0.9, 0.5, 4.0, "ok"), BoneScore("tibia", 9, 0.0, NAN, NAN, "missed")]
    rows = score_rows(scores, case="c1", subject="s1", domain="ankle")
    assert [tuple(each) for each in rows] == [COLUMNS, COLUMNS]
    assert list(rows[0].values()) == ["c1", "s1", "ankle", "talus", 0.9, 0.5, 4.0, "ok"]
    assert [each.label for each in summarise(rows)] == ["talus", "tibia", ALL_BONES]


def test_the_text_table_shows_counts_and_convention():
    lines = format_summary(ankle_and_shoulder(), border="inside").splitlines()
    assert lines[0].split("  ")[0] == "domain"
    assert " ".join(lines[1].split()) == "ankle talus 2 0 1 0 46.7 (41.6) 2 2.00 (1.41) 7.0 (4.2)"
    assert " ".join(lines[2].split()) == "ankle tibia 2 1 0 1 45.0 (63.6) 1 2.00 - 6.0 -"
    assert lines[3].startswith("ankle     all bones")
    assert len({len(line) for line in lines[:6]}) == 1, "columns must line up"
    assert "nan" not in "\n".join(lines)
    assert "border=inside: the outside of the array counts as foreground" in lines[-1]
    assert "counts as background" in format_summary([], border="surface")
    only_absent = format_summary([lost("c1", "absent")], border="inside").splitlines()
    assert " ".join(only_absent[1].split()) == "ankle talus 0 0 0 1 - - 0 - - - -"


@pytest.mark.parametrize("use", [summarise, lambda rows: write_scores_csv("unwritten.csv", rows)])
@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"case": "c1"}], "keys of a score row must be case, subject, .*, got case"),
        ([row() | {"method": "base"}], "keys of a score row must be .*, got case, .*method"),
        ([row(label=ALL_BONES)], "label of a score row must be a bone's name, got 'all bones'"),
        ([row(), row(dice=0.3)], r"score of talus of case c1 \(ankle\) must appear once, got it twice"),
        ([row(dice="0.9")], r"of talus of case c1 \(ankle\) must be finite numbers or NaN, got \['0.9'"),
        ([row(assd_mm=None)], "must be finite numbers or NaN, got"),
        ([row(mssd_mm=math.inf)], "must be finite numbers or NaN, got .*inf"),
        ([row(status="lost")], r"must go with its status \(one of ok, missed, false_find, absent\), got .*'lost'"),
        ([row(dice=NAN)], "numbers of talus .* must go with its status .*'ok'"),
        ([row(dice=1.1)], "must go with its status .*'ok'"),
        ([row(assd_mm=NAN)], "must go with its status .*'ok'"),
        ([row(assd_mm=-1.0)], "must go with its status .*'ok'"),
        ([row(status="missed")], "must go with its status .*'missed'"),
        ([row(dice=0.0, status="missed")], "must go with its status .*'missed'"),
        ([row(dice=NAN, assd_mm=NAN, mssd_mm=NAN, status="false_find")], "must go with its status .*'false_find'"),
        ([row(dice=0.0, assd_mm=NAN, mssd_mm=NAN, status="absent")], "must go with its status .*'absent'"),
    ],
)
def test_unusable_rows_are_refused(use, rows, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        use(rows)
    assert not list(tmp_path.iterdir())


def test_the_convention_must_be_known():
    with pytest.raises(InputError, match="border must be one of inside, surface, got 'monai'; name the one used"):
        format_summary([row()], border="monai")
