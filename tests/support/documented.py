"""The commands that the pages of this project show, and running them in a folder of small phantoms."""

from __future__ import annotations

import re
import runpy
import shlex
import shutil
import signal
import sys
import urllib.request
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE

from support.bundles import BUNDLES
from support.forking import forked_jobs, start
from support.processes import run

from multijoint.cli import main

ROOT = BUNDLES.parent
PAGES = [ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "CHANGELOG")]
PAGES += sorted((ROOT / "docs").rglob("*.md"))
_ASSIGNMENT = re.compile(r"([A-Z]+)=(\S+)")

# What makes a command small enough for a test. Each replaces the option where the page gives it, and is added if not.
_TRAINING = {"image_size": "[32,32]", "widths": "[8,16]", "batch_size": "8", "logging_file": "False"}
_TRAINING |= {
    "max_epochs": "12",
    "scaling": "[1.0,1.0]",
    "intensity_augmentation": "0.0",
    "learning_rate": "1.0e-2",
    "head_learning_rate_factor": "10",
}  # finds some bone
_SMALLER: dict[str, dict[str, str]] = {
    "phantoms": {"--cases": "5", "--size": "40"},
    "training": {f"--{name}": value for name, value in _TRAINING.items()},
    "evaluating": {"--logging_file": "False"},
    "inference": {"--logging_file": "False"},
    "experiment": {"--methods": "proposed", "--folds": "0", "--jobs": "1"},
    "quality-study": {"--degradations": "none"},
}
_SETTINGS = {  # of --set
    "train": [f"{name}={value}" for name, value in _TRAINING.items() if name != "logging_file"],
    "adapt": ["max_epochs=1", "min_batches=1"],
    "experiment": ["max_epochs=1", "image_size=[32,32]", "widths=[4,8]", "batch_size=8"],
}
_WRITTEN_BY = ("--output", "--out", "--output_dir", "--marks")  # options whose value need not be there before


@dataclass(frozen=True)
class Command:
    """A command of a page.

    Args:
        page: file name, with its folder if it is not README.md.
        line: that it begins on.
        words: as a shell would split it, variables of the page replaced.
    """

    page: str
    line: int
    words: tuple[str, ...]

    @property
    def text(self) -> str:
        return " ".join(self.words)


def commands_of(page: Path) -> Iterator[Command]:
    """Commands in the fenced blocks that name no language; others are no commands (`text`, `yaml`)."""
    name, variables = page.relative_to(ROOT).as_posix(), dict[str, str]()
    for line, text in _logical_lines(page.read_text(encoding="utf-8")):
        lexer = shlex.shlex(text, posix=True, punctuation_chars=";&|")
        lexer.whitespace_split = True
        words: list[str] = []
        for word in (*lexer, ";"):
            if word not in (";", "&&"):
                words.append(re.sub(r"\$([A-Z]+)\b", lambda found: variables.get(found[1], found[0]), word))
            elif len(words) == 1 and (assignment := _ASSIGNMENT.fullmatch(words[0])):
                variables[assignment[1]] = assignment[2]
                words = []
            elif words:
                yield Command(name, line, tuple(words))
                words = []


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    fence, begun = None, 0
    whole = ""
    for number, line in enumerate(text.splitlines(), start=1):
        mark = re.match(r"\s*```\s*(\S*)", line)
        if mark:
            fence = None if fence is not None else mark[1]
        elif fence == "" and line.strip():
            begun = begun if whole else number
            whole += line.removesuffix("\\")
            if not line.endswith("\\"):
                yield begun, whole
                whole = ""


class Folder:
    """A folder in which the commands of a page are run.

    Args:
        path: of the folder, which is the working directory.
        makers: path below it -> makes it when a command first needs it, and nothing before has.
    """

    def __init__(self, path: Path, makers: dict[str, Callable[[Path], object]]) -> None:
        self.path = path
        self.makers = makers
        (path / "bundles").symlink_to(BUNDLES)

    def provide(self, words: tuple[str, ...]) -> None:
        """Make the files that a command reads."""
        for option, word in zip(("", *words), words, strict=False):
            if option in _WRITTEN_BY:
                continue
            for name in re.findall(r"[\w./-]+", word):
                for wanted, make in self.makers.items():
                    if (f"{name}/".startswith(f"{wanted}/")) and not (self.path / wanted).exists():
                        (self.path / wanted).parent.mkdir(parents=True, exist_ok=True)
                        make(self.path / wanted)

    def run(self, command: Command) -> int:
        """Run a command, smaller than its page has it.

        Raises:
            KeyError: it is of no kind that can be run here.
        """
        self.provide(command.words)
        program, *arguments = command.words
        if command.words[:2] == ("multijoint", "view"):
            return _view(arguments)
        if program == "multijoint":
            with forked_jobs():
                return main(_smaller(arguments[0], arguments))
        if command.words[:4] == ("python", "-m", "monai.bundle", "run"):
            return _run_bundle(_smaller(arguments[3], arguments[2:]))
        if program == "unzip":
            with zipfile.ZipFile(arguments[0]) as archive:
                archive.extractall()
            return 0
        if program in ("mkdir", "cp", "mv"):
            return run(command.words).returncode
        raise KeyError(program)


def _smaller(kind: str, arguments: list[str]) -> list[str]:
    result = list(arguments)
    for option, value in _SMALLER.get(kind, {}).items():
        if option in result:
            place = result.index(option) + 1
            both = value.isdigit() and result[place].isdigit()  # a page may say auto
            result[place] = str(min(int(value), int(result[place]))) if both else value
        else:
            result += [option, value]
    if kind in _SETTINGS and not {"--status", "--dry-run", "--test-manifests"} & set(result):
        if "--set" in result:
            end = result.index("--set") + 1
            while end < len(result) and not result[end].startswith("--"):
                end += 1
            result[end:end] = _SETTINGS[kind]
        else:
            result += ["--set", *_SETTINGS[kind]]
    return result


def _run_bundle(arguments: list[str]) -> int:
    """`python -m monai.bundle`, in this process."""
    earlier = sys.argv, list(sys.path), sys.excepthook
    sys.argv = ["monai.bundle", *arguments]
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "parsing config_file", UserWarning)  # of MONAI, about trust
            runpy.run_module("monai.bundle", run_name="__main__")
    finally:
        sys.argv, sys.path[:], sys.excepthook = earlier
    return 0


def _view(arguments: list[str]) -> int:
    """Until its page has been fetched, then Ctrl-C."""
    more = [] if "--no-browser" in arguments else ["--no-browser"]
    process = start(["multijoint.cli", *arguments, *more], fork=True, stdout=PIPE)
    assert process.stdout is not None
    first = process.stdout.readline()
    address = re.search(r"http://127\.0\.0\.1:\S+", first)
    if address:
        with urllib.request.urlopen(address[0], timeout=20) as page:
            assert b"<title>" in page.read()
        process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    return process.wait()


def copy(source: Path) -> Callable[[Path], object]:
    """A maker that copies a file or a folder."""
    return lambda target: shutil.copytree(source, target) if source.is_dir() else shutil.copyfile(source, target)


def quick(code: str) -> str:
    """Python of a page with a training of seconds on few small phantoms."""
    small = 'max_epochs=1, image_size=[32, 32], widths=[4, 8], batch_size=8, device="cpu"'
    return code.replace('budget="5min"', small).replace("num_cases=6", "num_cases=3, size=40")
