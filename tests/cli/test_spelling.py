"""Misspelt commands and options are refused before anything is done, with the nearest that there is."""

import pytest

from multijoint.cli import main
from multijoint.cli.main import listed_commands


def refusal(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that wrong words are answered with."""
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "segment-share" not in printed.err
    (line,) = printed.err.splitlines()
    return line


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["segmnt"], "segment"),
        (["SEGMENT", "scan.nii.gz"], "segment"),
        (["segment-shar"], "segment"),
        (["--json", "quality_study"], "quality-study"),
        (["calib"], "calibrate"),
        (["exp", "--out", "x"], "experiment"),
        (["segment", "--chekpoint", "model.pt"], "--checkpoint"),
        (["segment", "scan.nii.gz", "--checkpont=model.pt"], "--checkpoint"),
        (["segment", "scan.nii.gz", "-out", "x"], "--out"),
        (["segment", "scan.nii.gz", "--ouptut", "x"], "--out"),
        (["check", "x.yaml", "--dataset_dir", "x"], "--dataset-dir"),
        (["phantoms", "x", "--jsno"], "--json"),
        (["--debgu", "phantoms", "x"], "--debug"),
    ],
)
def test_the_nearest_is_named(words: list[str], meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert refusal(words, capsys).endswith(f"; did you mean {meant}?")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ["frobnicate"],
            "error: command must be one that multijoint has, got frobnicate; `multijoint --help` lists them",
        ),
        (
            ["mesh", "x", "--colour", "red"],
            "error: option --colour must be one that `multijoint mesh` has; `multijoint mesh --help` lists them",
        ),
        (["mesh", "x", "--version"], "error: option --version must stand alone; write multijoint --version"),
        (["--out", "x", "mesh"], "error: option --out must follow its command; write multijoint COMMAND --out"),
    ],
)
def test_where_nothing_is_near_the_help_is(words: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert refusal(words, capsys) == line


def test_beginnings_of_options_and_values_that_begin_with_a_dash_are_no_mistakes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["phantoms", "none", "--dom", "elbow", "--seed", "-1"]) == 1
    assert "domains must be among" in capsys.readouterr().err


def test_multijoint_alone_lists_its_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    printed = capsys.readouterr()
    assert [name for name in listed_commands() if f"\n  {name} " not in printed.out] == []
    assert "segment-share" not in printed.out
    assert printed.err == ""


def test_an_option_alone_is_no_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--json"])
    assert ended.value.code == 2
    assert "segment-share" not in capsys.readouterr().err
