"""`multijoint completion`: scripts for bash, zsh and fish, made from the parser.

Everything that may be completed stands in the script, so that the Tab key starts no Python. Where nothing in it fits,
the shell completes names of files.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator, Mapping, Sequence

from multijoint.cli.commands import command, text

Parsers = Mapping[str, argparse.ArgumentParser]
"""By command; that of `multijoint` itself is called ""."""

_BASH = """\
_multijoint() {
    local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} command= word words=
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        if [[ $word != -* ]]; then command=$word; break; fi
    done
    case "$command $before" in
<choices>
    esac
    if [[ -z $words && $current == -* ]]; then
        case "$command" in
<options>
        esac
    elif [[ -z $words && -z $command ]]; then
        words="<commands>"
    fi
    COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o default -F _multijoint multijoint"""

_ZSH = """\
#compdef multijoint
_multijoint() {
    local command word
    local -a found
    for word in "${(@)words[2,CURRENT-1]}"; do
        if [[ $word != -* ]]; then command=$word; break; fi
    done
    case "$command $words[CURRENT-1]" in
<choices>
    esac
    if [[ $words[CURRENT] == -* ]]; then
        case "$command" in
<options>
        esac
        _describe -o option found
    elif [[ -z $command ]]; then
        found=(<commands>)
        _describe command found
    else
        _files
    fi
}
if [[ $funcstack[1] == _multijoint ]]; then _multijoint "$@"; else compdef _multijoint multijoint; fi"""


@command(
    text("shell", "SHELL", "bash, zsh or fish", choices=("bash", "zsh", "fish")), example="multijoint completion bash"
)
def completion(shell: str) -> None:
    """Print a script that lets a shell complete commands and options."""
    from multijoint.cli.main import listed_commands, make_parser, parsers_of

    parser = make_parser()
    own = parsers_of(parser)
    parsers = {"": parser, **{name: own[name] for name in listed_commands()}}
    print({"bash": _for_bash, "zsh": _for_zsh, "fish": _for_fish}[shell](parsers))


def _for_bash(parsers: Parsers) -> str:
    choices = [f'"{name} {before}") words="{" ".join(words)}" ;;' for name, before, words in _choices(parsers)]
    options = [f'"{name}") words="{" ".join(_options(parser))}" ;;' for name, parser in parsers.items()]
    return _fill(_BASH, choices=choices, options=options, commands=" ".join(filter(None, parsers)))


def _for_zsh(parsers: Parsers) -> str:
    def described(names: Mapping[str, str]) -> str:
        return " ".join(shlex.quote(f"{name}:{help}") for name, help in names.items())

    choices = [f'("{name} {before}") compadd {" ".join(words)}; return ;;' for name, before, words in _choices(parsers)]
    options = [f'("{name}") found=({described(_options(parser))}) ;;' for name, parser in parsers.items()]
    return _fill(_ZSH, choices=choices, options=options, commands=described(_commands(parsers)))


def _for_fish(parsers: Parsers) -> str:
    def quote(text: str) -> str:
        return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"

    lines = [
        f"complete -c multijoint -n __fish_use_subcommand -f -a {name} -d {quote(help)}"
        for name, help in _commands(parsers).items()
    ]
    choices = {(name, before): " ".join(words) for name, before, words in _choices(parsers)}
    for name, parser in parsers.items():
        when = f"__fish_seen_subcommand_from {name}" if name else "__fish_use_subcommand"
        begin = f"complete -c multijoint -n '{when}'"
        if (name, name) in choices:
            lines.append(f"{begin} -f -a '{choices[name, name]}'")
        for option, help in _options(parser).items():
            words = choices.get((name, option))
            value = f" -x -a '{words}'" if words else " -r" if _takes_value(parser, option) else ""
            lines.append(f"{begin} -l {option.removeprefix('--')}{value} -d {quote(help)}")
    return "\n".join(lines)


def _fill(script: str, *, choices: Sequence[str], options: Sequence[str], commands: str) -> str:
    for name, lines in (("choices", choices), ("options", options)):
        script = script.replace(f"<{name}>", "\n".join(f"            {line}" for line in lines))
    return script.replace("<commands>", commands)


def _commands(parsers: Parsers) -> dict[str, str]:
    """What each command is for."""
    first = {name: (parser.description or "").partition(". ")[0].rstrip(".") for name, parser in parsers.items()}
    return {name: text for name, text in first.items() if name}


def _options(parser: argparse.ArgumentParser) -> dict[str, str]:
    """The help of each option, under the name that the help gives it."""
    named = {next((name for name in action.option_strings if len(name) > 2), ""): action for action in parser._actions}
    return {name: (action.help or "") % {"default": action.default} for name, action in named.items() if name}


def _takes_value(parser: argparse.ArgumentParser, option: str) -> bool:
    return parser._option_string_actions[option].nargs != 0


def _choices(parsers: Parsers) -> Iterator[tuple[str, str, Sequence[str]]]:
    """A command, a word, and the words of which one must follow it: those of an option, or of the command itself."""
    for name, parser in parsers.items():
        for action in parser._actions:
            if name and action.choices:
                for before in action.option_strings or [name]:
                    yield name, before, list(action.choices)
