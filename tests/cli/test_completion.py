"""The completion of the shells, asked as each shell asks it; shells that are not here are passed over."""

import shlex
import shutil

import pytest
from support.processes import run

from multijoint.cli import main
from multijoint.cli.main import listed_commands

TYPED = {
    "se": {"segment"},
    "--json seg": {"segment"},
    "segment --che": {"--checkpoint"},
    "segment scan.nii.gz --precision ": {"float32", "bfloat16", "int8"},
    "mesh --format p": {"ply"},
    "completion ": {"bash", "zsh", "fish"},
    "--deb": {"--debug"},
    "report --o": {"--out"},
}


@pytest.fixture
def script(shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["completion", shell]) == 0
    return capsys.readouterr().out


def ask(shell: str, script: str, typed: str) -> set[str]:
    """What a shell offers at the end of `multijoint <typed>`."""
    words = ["multijoint", *typed.split(" ")]
    calls = {
        "bash": [
            f"COMP_WORDS=({shlex.join(words)}); COMP_CWORD={len(words) - 1}",
            '_multijoint; printf "%s\\n" "${COMPREPLY[@]}"',
        ],
        "zsh": [  # with stand-ins for what works only while a line is being typed
            "compadd() { print -l -- $@ }; _describe() { print -l -- ${${(P)@[-1]}%%:*} }; _files() {}",
            f"words=({shlex.join(words)}); CURRENT={len(words)}; _multijoint",
        ],
        "fish": [f"complete -C {shlex.quote(f'multijoint {typed}')}"],
    }
    plain = {"bash": ["--norc"], "zsh": ["-f"], "fish": ["--no-config"]}[shell]
    before = ["compdef() {}"] if shell == "zsh" else []
    done = run([shell, *plain, "-c", "\n".join([*before, script, *calls[shell]])], check=True)
    offered = {line.partition("\t")[0] for line in done.stdout.splitlines()}
    return {each for each in offered if each.startswith(words[-1])}


@pytest.mark.parametrize("shell", [shell for shell in ("bash", "zsh", "fish") if shutil.which(shell)])
def test_commands_options_and_choices_are_offered(shell: str, script: str) -> None:
    assert {typed: ask(shell, script, typed) for typed in TYPED} == TYPED
    assert ask(shell, script, "") == set(listed_commands())
