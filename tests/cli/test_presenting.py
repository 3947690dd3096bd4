"""What every command has in common: help with an example, `--quiet`, `--json`, exit codes, bars on a terminal only."""

import argparse
import json
import os
import pty
import re
import shlex
import sys
import termios
from pathlib import Path

import pytest
from custom_components.errors import InputError
from custom_components.system import terminal as progress
from custom_components.system.terminal import QUIET, track
from support.bundles import BUNDLES
from support.processes import run

from multijoint.cli import main
from multijoint.cli.main import listed_commands, make_parser, parsers_of


def parsers() -> dict[str, argparse.ArgumentParser]:
    found = parsers_of(make_parser())
    return {name: found[name] for name in listed_commands()}


@pytest.mark.parametrize("name", parsers())
def test_help_has_an_example_that_can_be_parsed_and_says_what_each_argument_is(name: str) -> None:
    parser = parsers()[name]
    title, example = (parser.epilog or "").split("\n")
    assert title == "Example:"
    words = shlex.split(example)
    assert words[:2] == ["multijoint", name]
    assert make_parser().parse_args(words[1:]).command == name
    assert [action.dest for action in parser._actions if not action.help] == []
    assert {"--quiet", "--json", "--debug"} <= set(parser._option_string_actions)


def test_output_is_another_name_of_out_for_every_command_that_writes_somewhere() -> None:
    options = {name: parser._option_string_actions for name, parser in parsers().items()}
    assert {name for name, found in options.items() if found.get("--out") is not found.get("--output")} == set()
    writing = (
        "init check phantoms segment report mesh overlay train evaluate adapt experiment quality-study package bench"
    )
    assert {name for name, found in options.items() if "--out" in found} == {*writing.split(), "package", "bench"}


def test_every_command_is_listed_once_under_what_one_wants_to_do() -> None:
    text = make_parser().format_help()
    assert "\nother:" not in text
    assert sorted(re.findall(r"^  ([a-z][a-z-]+) {2,}\S", text, flags=re.MULTILINE)) == sorted(parsers())


@pytest.mark.parametrize("option", ["--debug", "--quiet", "--json"])
@pytest.mark.parametrize("name", parsers())
def test_common_options_stand_before_or_after_every_command(name: str, option: str) -> None:
    call = shlex.split((parsers()[name].epilog or "").split("\n")[1])[1:]
    plain, before, after = (make_parser().parse_args(words) for words in (call, [option, *call], [*call, option]))
    assert before == after
    assert vars(before) == vars(plain) | {option.removeprefix("--"): True}


def test_help_of_every_command_imports_nothing_heavy() -> None:
    code = """
import contextlib, io, json, sys
from multijoint.cli import main
for arguments in json.loads(sys.argv[1]):
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
        main(arguments)
heavy = ("torch", "monai", "numpy", "scipy", "nibabel", "skimage", "pandas", "matplotlib", "yaml", "pydicom", "mlflow")
print([name for name in heavy if name in sys.modules])
"""
    calls = json.dumps([["--help"], *([name, "--help"] for name in parsers())])
    environment = {**os.environ, "PYTHONPATH": str(BUNDLES.parent)}
    done = run([sys.executable, "-c", code, calls], check=True, env=environment)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def calls(trained: Path, manifests: dict[str, str], out: Path) -> dict[str, list[str]]:
    """A call of each of four commands that does something."""
    folder = Path(manifests["ankle"]).parent
    model = ["--checkpoint", str(trained / "model.pt"), "--domain", "ankle", "--device", "cpu"]
    return {
        "phantoms": ["phantoms", str(out), "--domains", "knee", "--cases", "1", "--size", "32"],
        "check": ["check", manifests["ankle"], "--out", str(out)],
        "segment": ["segment", str(folder / "images" / "ankle_000.nii.gz"), *model, "--out", str(out)],
        "init": ["init", str(folder), "--domain", "ankle", "--out", str(folder / "as_found.yaml"), "--overwrite"],
    }


COMMANDS = ["phantoms", "check", "segment", "init"]


@pytest.mark.parametrize("command", COMMANDS)
def test_quiet_prints_nothing_here_and_in_processes_that_are_started(
    command: str, trained: Path, manifests: dict[str, str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([*calls(trained, manifests, tmp_path / "out")[command], "--quiet"]) == 0
    assert tuple(capfd.readouterr()) == ("", "")
    assert QUIET not in os.environ
    assert command == "init" or any((tmp_path / "out").iterdir())


def test_what_a_command_switches_on_ends_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULTIJOINT_DEBUG", "0")
    before = dict(os.environ)
    with pytest.raises(InputError):
        main(["--debug", "phantoms", str(tmp_path), "--domains", "elbow", "--quiet"])
    assert dict(os.environ) == before


def test_quiet_still_says_what_went_wrong(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["phantoms", str(tmp_path), "--domains", "elbow", "--quiet"]) == 1
    printed = capfd.readouterr()
    assert printed.out == ""
    assert printed.err == "error: domains must be among ankle, ankles, shoulder, knee, dixon, shapes, got elbow\n"


EXPECTED = {
    "phantoms": {"written"},
    "check": {"cases", "errors", "warnings", "notes", "findings", "written"},
    "segment": {"output", "report", "written", "failed", "flagged", "scans"},
    "init": {"layout", "cases", "unused", "labels", "no_bones", "notes", "names_from", "plane", "written"},
}


@pytest.mark.parametrize("command", COMMANDS)
def test_json_is_one_object_that_names_existing_files(
    command: str, trained: Path, manifests: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*calls(trained, manifests, tmp_path / "out")[command], "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result.pop("command"), result.pop("ok"), result.pop("error")) == (command, True, None)
    assert set(result) == EXPECTED[command]
    assert result["written"]
    folder = Path(result.get("output", "."))
    assert all((folder / path).is_file() for path in result["written"])


def test_json_has_what_failed_and_the_same_exit_code(
    trained: Path, manifests: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.nii.gz").write_bytes(b"noise")
    call = calls(trained, manifests, tmp_path / "out")["segment"]
    assert main([call[0], str(tmp_path / "bad.nii.gz"), *call[1:], "--json"]) == 1
    printed = capsys.readouterr()
    result = json.loads(printed.out)
    assert result["ok"] is False
    assert "1 of 2 scans could not be segmented" in result["error"]
    assert list(result["failed"]) == ["bad.nii.gz"]
    assert "bad.nii.gz must be an intact gzip file" in result["failed"]["bad.nii.gz"]
    assert result["written"] == ["ankle_000_seg.nii.gz"]
    assert f"error: {result['error']}\n" in printed.err


def test_json_of_a_command_that_records_nothing_has_its_lines(
    manifests: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    label = Path(manifests["ankle"]).parent / "labels" / "ankle_000.nii.gz"
    assert main(["mesh", str(label), "--out", str(tmp_path), "--format", "stl", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["printed"][0].startswith("ankle_000: ")


def test_wrong_usage_ends_with_2_and_an_unusable_file_with_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["segment"])
    assert ended.value.code == 2
    assert "usage: multijoint segment" in capsys.readouterr().err
    assert main(["check", str(tmp_path / "none.yaml")]) == 1
    assert capsys.readouterr().err.startswith("error: ")


def test_no_bar_where_nobody_looks(
    trained: Path,
    manifests: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture,
) -> None:
    monkeypatch.setattr(progress, "_DELAY_S", 0.0)
    for call in calls(trained, manifests, tmp_path / "out").values():
        assert main(call) == 0
    printed = capfd.readouterr()
    assert "\r" not in printed.out + printed.err
    assert "it/s" not in printed.out + printed.err


def shown_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> str:
    """What three quick items and a word behind them leave on a terminal."""
    ours, theirs = pty.openpty()
    os.set_blocking(ours, False)
    termios.tcsetwinsize(theirs, (24, 80))
    with open(theirs, "w") as stream, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", stream)
        assert list(track(range(3), "cases")) == [0, 1, 2]
        stream.write("end")
        stream.flush()
        written = ""
        while not written.endswith("end"):
            written += os.read(ours, 10_000).decode()  # an error, where nothing more comes
    os.close(ours)
    return written


@pytest.mark.parametrize(("quiet", "delay", "shown"), [("0", 0.0, True), ("1", 0.0, False), ("0", 2.0, False)])
def test_a_terminal_gets_a_bar_after_a_while_unless_it_is_to_be_quiet(
    quiet: str, delay: float, shown: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert progress._DELAY_S == 2
    monkeypatch.setattr(progress, "_DELAY_S", delay)
    monkeypatch.setenv(QUIET, quiet)
    assert ("cases:" in shown_on_a_terminal(monkeypatch)) is shown
