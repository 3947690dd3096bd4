from pathlib import Path

import pytest
from custom_components.errors import InputError
from monai.bundle import ConfigParser

from multijoint.cli import main
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


@pytest.mark.parametrize(
    ("command", "name", "where"),
    [
        ("train", "fold", "--fold"), ("train", "out", "--out"), ("train", "output_dir", "--out"),
        ("train", "manifests", "the arguments"), ("train", "recipe", "--recipe"),
        ("evaluate", "run", "the argument"), ("evaluate", "output_dir", "--out"),
    ],
)  # fmt: skip
def test_what_a_command_takes_elsewhere_is_no_setting(
    command: str, name: str, where: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "x", "--out", str(tmp_path / "out"), "--set", "device=cpu", f"{name}=3"]) == 1
    assert f"setting {name} must be given as {where}, got it in --set; move it there" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_number_sign_is_a_separator_to_monai_and_stays_in_names(tmp_path: Path) -> None:
    """The reason why values must be free of it."""
    assert ConfigParser({"path": "exam#1.nii"}).get_parsed_content("path") == "exam::1.nii"
    file = tmp_path / "settings.yaml"
    file.write_text("train#trainer#max_epochs: 3\n")
    assert parse_settings([str(file)]) == {"train#trainer#max_epochs": 3}
