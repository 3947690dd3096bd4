import csv
import datetime
from pathlib import Path

import pytest
from custom_components.errors import InputError

from multijoint.clinic.viewer.review_marks import ReviewMarks


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_case_has_one_row_with_its_last_mark_and_a_date(tmp_path: Path) -> None:
    marks = ReviewMarks(tmp_path / "review.csv")
    assert not marks.path.exists()
    before = datetime.datetime.now().astimezone().replace(microsecond=0)
    marks.write("b", mark="good")
    marks.write("a", mark="needs correction", comment='edge of the "talus",\nsee slice 4')
    marks.write("b", mark="needs correction")
    found = rows(marks.path)
    assert [(row["case"], row["mark"], row["comment"]) for row in found] == [
        ("a", "needs correction", 'edge of the "talus", see slice 4'),
        ("b", "needs correction", ""),
    ]
    assert all(datetime.datetime.fromisoformat(row["date"]) >= before for row in found)


def test_marks_outlive_the_viewer_and_rows_of_others_stay(tmp_path: Path) -> None:
    path = tmp_path / "review.csv"
    first, second = ReviewMarks(path), ReviewMarks(path)
    first.write("a", mark="good", comment="é")
    second.write("b", mark="good")
    first.write("a", mark="", comment="")
    assert list(ReviewMarks(path).read()) == ["b"]


def test_a_table_saved_by_a_spreadsheet_is_read(tmp_path: Path) -> None:
    path = tmp_path / "review.csv"
    path.write_bytes("\ufeffcase,mark,comment,date\r\na,good,fine,2026-01-02\r\n".encode())
    ReviewMarks(path).write("b", mark="good")
    assert [row["case"] for row in rows(path)] == ["a", "b"]


def test_marks_that_cannot_be_saved_lose_nothing(tmp_path: Path) -> None:
    marks = ReviewMarks(tmp_path / "review.csv")
    marks.write("a", mark="good")
    content = marks.path.read_bytes()
    with pytest.raises(InputError, match="mark of a must be one of good, needs correction, got 'bad'"):
        marks.write("a", mark="bad")
    with pytest.raises(InputError, match="comment on a must have at most 2000 characters, got 2001; shorten it"):
        marks.write("a", mark="good", comment="x" * 2001)
    assert marks.path.read_bytes() == content


def test_another_table_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text("case,dice\na,1\n")
    with pytest.raises(InputError, match=r"scores.csv must have the columns case,mark,comment,date, got case,dice"):
        ReviewMarks(path)
