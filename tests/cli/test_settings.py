from pathlib import Path

import pytest
from custom_components.errors import InputError
from monai.bundle import ConfigParser

from multijoint.cli.settings import parse_settings


@pytest.mark.parametrize("mark", "$@%#")
def test_what_monai_reads_as_code_is_refused(mark: str, tmp_path: Path) -> None:
    value = f"a{mark}b"
    with pytest.raises(InputError, match=r"value of freeze must be free of \$, @, % and # \(code to MONAI\)"):
        parse_settings([f"freeze={value}"])
    file = tmp_path / "settings.yaml"
    file.write_text(f"freeze: {value!r}\n")
    with pytest.raises(InputError, match=r"free of \$, @ and %, and of # in values"):
        parse_settings([str(file)])


def test_a_number_sign_is_a_separator_to_monai_and_stays_in_names(tmp_path: Path) -> None:
    """The reason why values must be free of it."""
    assert ConfigParser({"path": "exam#1.nii"}).get_parsed_content("path") == "exam::1.nii"
    file = tmp_path / "settings.yaml"
    file.write_text("train#trainer#max_epochs: 3\n")
    assert parse_settings([str(file)]) == {"train#trainer#max_epochs": 3}
