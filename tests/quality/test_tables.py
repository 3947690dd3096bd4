"""Tables that are merged into: what is there is read whole, or not at all."""

from pathlib import Path

import pytest
from custom_components.errors import InputError
from custom_components.quality.tables import read_table


def test_a_table_is_read_with_all_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    assert read_table(path, needed=["case"]) == ([], [])
    path.write_bytes('case,own\n"a,b",\nc\udcff,2\n'.encode(errors="surrogateescape"))
    assert read_table(path, needed=["case"]) == (
        ["case", "own"],
        [{"case": "a,b", "own": ""}, {"case": "c\udcff", "own": "2"}],
    )


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "none called case"),
        (b"mine\n1\n", "none called case"),
        (b"case,own\na,1\nb", "row 2 with more or fewer cells"),
        (b"case,own\na,1,2\n", "row 1 with more or fewer cells"),
        (b'case,own\n"a,1\n', "unexpected end of data"),
        (b"case,own\na,\0\0\n", "zeros"),
    ],
)
def test_a_damaged_table_is_one_line(tmp_path: Path, content: bytes, found: str) -> None:
    (tmp_path / "table.csv").write_bytes(content)
    with pytest.raises(InputError, match=rf"table table\.csv must be whole.*got.*{found}.*move it away"):
        read_table(tmp_path / "table.csv", needed=["case"])
    assert (tmp_path / "table.csv").read_bytes() == content
