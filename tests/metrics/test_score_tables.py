"""The table of scores: the CSV's exact text, and rows that must be refused."""

import csv
import math
import os

import numpy as np
import pytest
from custom_components.errors import InputError
from custom_components.metrics.bone_scores import BoneScore
from custom_components.metrics.score_summaries import summarise
from custom_components.metrics.score_tables import (
    ALL_BONES,
    COLUMNS,
    CONNECTIVITY,
    NAMING,
    score_rows,
    write_scores_csv,
)
from custom_components.metrics.surface_distances import surface_voxels
from support.score_rows import NAN, lost, row

HEADER = "case,subject,domain,label,dice,assd_mm,mssd_mm,status,border,connectivity,spacing_mm,taken_for,dice_as_one"


def test_csv_is_exact(tmp_path):
    path = tmp_path / "metrics.csv"
    rows = [
        row(dice=2 / 3, assd_mm=0.1234567, mssd_mm=12) | {"taken_for": "tibia", "dice_as_one": 0.875},
        lost("c2", "missed", 'os "trigonum", left'),
        lost("c3", "absent"),
    ]
    write_scores_csv(path, rows)
    assert path.read_bytes().decode() == (
        f"{HEADER}\n"
        "c1,subject of c1,ankle,talus,0.666667,0.123457,12,ok,inside,6,0.5x0.5x3,tibia,0.875\n"
        'c2,subject of c2,ankle,"os ""trigonum"", left",0,nan,nan,missed,inside,6,0.5x0.5x3,,nan\n'
        "c3,subject of c3,ankle,talus,nan,nan,nan,absent,inside,6,0.5x0.5x3,,nan\n"
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
    scores = [BoneScore("talus", 7, 0.9, 0.5, 4.0, "ok", "tibia"), BoneScore("tibia", 9, 0.0, NAN, NAN, "missed")]
    exam = {"case": "c1", "subject": "s1", "domain": "ankle"}
    rows = score_rows(scores, **exam, spacing_mm=(0.3125, 0.3125, 4.0), border="surface", dice_as_one=0.75)
    assert [tuple(each) for each in rows] == [(*COLUMNS, *NAMING)] * 2
    how = ["surface", 6, "0.3125x0.3125x4"]
    assert list(rows[0].values()) == ["c1", "s1", "ankle", "talus", 0.9, 0.5, 4.0, "ok", *how, "tibia", 0.75]
    assert [each.label for each in summarise(rows)] == ["talus", "tibia", ALL_BONES]


def test_connectivity_is_that_of_the_surface():
    bone = np.ones((3, 3, 3), dtype=bool)
    bone[1, 1, 1] = False
    assert np.count_nonzero(surface_voxels(bone, border="inside")) == CONNECTIVITY  # neighbours of the hole


@pytest.mark.parametrize("use", [summarise, lambda rows: write_scores_csv("unwritten.csv", rows)])
@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"case": "c1"}], "keys of a score row must be case, subject, .*, got case"),
        ([row() | {"method": "base"}], "keys of a score row must be .*, got case, .*method"),
        ([row(label=ALL_BONES)], "label of a score row must be a bone's name, got 'all bones'"),
        ([row(), row(dice=0.3)], r"score of talus of case c1 \(ankle\) must appear once, got it twice"),
        ([row(border="monai")], "border must be one of inside, surface, got 'monai'"),
        (
            [row("c1"), row("c2", border="surface")],
            r"scored with one border .*, got \('surface', 6\) for talus of case c2",
        ),
        ([row(dice="0.9")], r"of talus of case c1 \(ankle\) must be finite numbers or NaN, got \['0.9'"),
        ([row(assd_mm=None)], "must be finite numbers or NaN, got"),
        ([row(mssd_mm=math.inf)], "must be finite numbers or NaN, got .*inf"),
        ([row(status="lost")], r"must go with its status \(one of ok, missed, false_find, absent\), got .*'lost'"),
        ([row() | {"dice_as_one": "0.9"}], "dice_as_one of talus .* must be a number and taken_for another bone"),
        ([row() | {"taken_for": "talus"}], "must be a number and taken_for another bone; score the case again"),
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
