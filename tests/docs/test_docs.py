"""Every command of README.md and docs/**/*.md runs, on small phantoms, in the order of its page.

A page in docs/ is covered by being there. A fenced block without a language holds commands; others are called `text`,
`yaml`, ... Files that a page needs and does not make are in `supplies`; steps by hand between two commands are in
`BY_HAND`; commands that cannot run here are in `NOT_RUN`. How commands are made small enough stands in documented.py.
"""

import argparse
import importlib
import json
import re
import shutil
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from custom_components.errors import explain, find_cause
from custom_components.models.checkpoints import load_model, save_checkpoint
from support.documented import PAGES, ROOT, Command, Folder, commands_of, copy, quick

from multijoint.cli import main
from multijoint.cli.main import listed_commands, make_parser, parsers_of
from multijoint.phantoms import write_phantoms

JOINT = "bundles/multijoint_mr_bone_segmentation"
VERSION = json.loads((ROOT / JOINT / "configs" / "metadata.json").read_text())["version"]

# Beginning of a command: why it is not run here, and what covers it.
NOT_RUN = {
    "make demo": "sets up an environment; its commands are those of the pages, at full size: Makefile",
    "make test": "runs this test: Makefile",
    "make lint": "checks style and types: Makefile",
    "make docs": "builds these pages: tests/docs/test_site.py",
    "make shipped-model": "trains for an hour; what it does with the runs: tests/sharing/test_publishing.py",
    "make bench": "takes a quarter of an hour: tests/benchmarks/test_registry.py",
    "multijoint bench": "measures for minutes, while nothing else runs: tests/benchmarks/test_registry.py",
    "torchrun": "starts two processes: tests/test_distributed.py",
    "tensorboard": "serves until it is stopped; what it reads: tests/training/test_tracking.py",
    "mlflow ui": "needs the whole mlflow; what it reads: tests/training/test_tracking.py",
    "multijoint package multijoint_mr_bone_segmentation --checkpoint runs/x/model.pt --out dist --int8": (
        "refuses a model that has hardly been trained: tests/sharing/packaging/test_int8_networks.py"
    ),
    "multijoint package bundles/multijoint_mr_bone_segmentation --model": (
        "takes long and is run elsewhere, its result inspected: tests/cli/test_models.py"
    ),
    "multijoint segment scan.nii.gz --bundle dist/multijoint_mr_bone_segmentation --domain ankle --precision int8": (
        "needs the former's networks: tests/sharing/packaging/test_int8_networks.py"
    ),
    "monailabel": "has an environment of its own: tests/consumers/monai_label/run.sh",
    "mkdir -p apps/monaibundle/model": "likewise: tests/consumers/monai_label/run.sh",
    "cp -r dist/multijoint_mr_bone_segmentation apps": "likewise: tests/consumers/monai_label/run.sh",
    "curl -F": "likewise: tests/consumers/monai_label/run.sh",
    "ulimit": "has an environment of its own: tests/consumers/monai_deploy/run.sh",
    "export LD_LIBRARY_PATH": "likewise: tests/consumers/monai_deploy/run.sh",
    "python app.py": "likewise: tests/consumers/monai_deploy/run.sh",
    "PYTHONPATH=multijoint_mr_bone_segmentation python app.py": "likewise: tests/consumers/monai_deploy/run.sh",
}


def reason_not_to_run(command: Command) -> str | None:
    return next((why for start, why in NOT_RUN.items() if command.text.startswith(start)), None)


def problem_with(command: Command, folder: Folder) -> str | None:
    """In one line, with page and line; None if there is none."""
    try:
        code = folder.run(command)
        problem = f"ended with {code}" if code else ""
    except KeyError:
        problem = "is no command of ours; name it in NOT_RUN, or give its block a language, such as `text`"
    except (Exception, SystemExit) as error:
        cause = find_cause(error, ValueError, OSError) or error
        problem = f"{explain(cause)} ({traceback.extract_tb(error.__traceback__)[-1].name})"
    return f"{command.page}, line {command.line}: `{command.text}`: {problem}" if problem else None


@pytest.fixture(scope="module")
def supplies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Callable[[Path], object]]:
    """What pages suppose to be there: path -> how it is made. Costly things are made once."""
    root = tmp_path_factory.mktemp("supplies")
    write_phantoms(root, domains=["ankle", "shoulder", "knee"], num_cases=5, size=40, dicom=True)
    trained = root / "trained"
    manifests = [str(root / domain / "manifest.yaml") for domain in ("ankle", "shoulder")]
    folder = Folder(root, {})
    training = f"python -m monai.bundle run training --config_file {ROOT / JOINT}/configs/train.yaml --bundle_root"
    words = (*training.split(), str(ROOT / JOINT), "--manifests", str(manifests), "--output_dir", str(trained))
    assert folder.run(Command("supplies", 0, words)) == 0
    exams = root / "ankle" / "dicom"
    shoulder, ankle = (root / name / "images" / f"{name}_000.nii.gz" for name in ("shoulder", "ankle"))

    def package(target: Path) -> None:
        if not (root / "dist").exists():
            call = [
                "package",
                str(ROOT / JOINT),
                "--checkpoint",
                str(trained / "model.pt"),
                "--out",
                str(root / "dist"),
            ]
            assert main(call) == 0
        shutil.copytree(root / "dist", target)

    def package_zip(target: Path) -> None:
        package(target.with_name("to_zip"))
        shutil.copyfile(next(target.with_name("to_zip").glob("*.zip")), target)

    def segment(target: Path) -> None:
        model = ["--checkpoint", str(trained / "model.pt"), "--domain", "ankle", "--output", str(target)]
        assert main(["segment", str(exams), *model, "--mesh", "ply"]) == 0

    def evaluate(target: Path) -> None:
        configs = [f"{ROOT / JOINT}/configs/{name}.yaml" for name in ("train", "evaluate")]
        words = ["python", "-m", "monai.bundle", "run", "evaluating", "--config_file", str(configs)]
        words += ["--bundle_root", str(ROOT / JOINT), "--manifests", str(manifests)]
        words += ["--checkpoint", str(trained / "model.pt"), "--output_dir", str(target)]
        assert folder.run(Command("supplies", 0, tuple(words))) == 0

    def fold(number: int) -> Callable[[Path], object]:
        def make(target: Path) -> None:
            """A model like the trained one, of other weights."""
            model = load_model(trained / "model.pt")
            weights = {name: each * (1 + number / 100) for name, each in model.weights.items() if "heads" in name}
            save_checkpoint(target / "model.pt", replace(model, weights=dict(model.weights) | weights))

        return make

    def others(target: Path) -> None:
        (path,) = write_phantoms(target.parent, domains=[target.name], num_cases=2, seed=9, size=40)
        path.write_text(re.sub(r"subject: ", "subject: new_", path.read_text()))

    def without_manifest(source: Path) -> Callable[[Path], object]:
        return lambda target: shutil.copytree(source, target, ignore=shutil.ignore_patterns("manifest.yaml"))

    def scans(target: Path) -> None:
        target.mkdir()
        for number in range(3):
            shutil.copy(root / "ankle" / "images" / f"ankle_00{number}.nii.gz", target)

    return {
        **{name: without_manifest(root / name) for name in ("ankle", "shoulder", "knee")},
        **{f"{name}/manifest.yaml": copy(root / name / "manifest.yaml") for name in ("ankle", "shoulder", "knee")},
        "phantoms/ankle": copy(root / "ankle"),
        "scan.nii.gz": copy(shoulder),
        "more": lambda target: (target.mkdir(), shutil.copyfile(ankle, target / "another.nii.gz")),
        "scans": scans,
        "exam": copy(exams / "ankle_000"),
        "runs/x": copy(trained),
        "runs/mine": copy(trained),
        **{f"runs/fold{number}": fold(number) for number in range(3)},
        "new/ankle": others,
        "runs/x/eval": evaluate,
        "runs/demo/model": copy(trained),
        "dist": package,
        "bundle.zip": package_zip,
        f"{Path(JOINT).name}_v{VERSION}.zip": package_zip,
        "out": segment,
    }


def correct(folder: Path) -> None:
    """A user draws the bones of two results again, as they are in the phantoms' labels."""
    write_phantoms(folder / "truth", domains=["ankle"], num_cases=3, size=40)
    for number in range(3):
        label = folder / "truth" / "ankle" / "labels" / f"ankle_00{number}.nii.gz"
        shutil.move(label, folder / "out" / f"ankle_00{number}_seg.nii.gz")
    shutil.rmtree(folder / "truth")


BY_HAND = {("docs/how-to/corrections.md", "multijoint init out"): correct}


@pytest.mark.parametrize("page", PAGES, ids=[page.relative_to(ROOT).as_posix() for page in PAGES])
def test_commands_run(
    page: Path,
    supplies: dict[str, Callable[[Path], object]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    folder = Folder(tmp_path, supplies)
    monkeypatch.chdir(tmp_path)
    for command in commands_of(page):
        if reason_not_to_run(command):
            continue
        for (where, start), act in BY_HAND.items():
            if command.page == where and command.text.startswith(start):
                act(tmp_path)
        capfd.readouterr()
        problem = problem_with(command, folder)
        if problem:
            last = "\n".join(capfd.readouterr().err.strip().splitlines()[-5:])
            pytest.fail(f"{problem}\n{last}", pytrace=False)


@pytest.mark.parametrize("page", ["README.md", "docs/how-to/python.md"])
def test_python_of_the_pages_runs(
    page: str, supplies: dict[str, Callable[[Path], object]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Folder(tmp_path, supplies if page == "README.md" else {})  # the other makes what it needs
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), flags=re.DOTALL)
    assert blocks
    for block in blocks:
        folder.provide((block,))
        exec(compile(quick(block), page, "exec"), {})
    assert list(tmp_path.glob("out/*_seg.nii.gz"))


def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    notebook = json.loads((ROOT / "docs" / "how-to" / "notebook.ipynb").read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
    names: dict[str, object] = {}
    for cell in cells:
        assert not cell["outputs"], "the notebook is kept without outputs"
        exec(compile(quick("".join(cell["source"])), cell["id"], "exec"), names)
    assert (tmp_path / "out" / "ankle_000_seg.nii.gz").is_file()
    assert "<table>" in names["result"]._repr_html_()  # type: ignore[attr-defined]


def test_what_is_not_run_is_there_and_covered_elsewhere() -> None:
    commands = [command for page in PAGES for command in commands_of(page)]
    for start, why in NOT_RUN.items():
        assert any(command.text.startswith(start) for command in commands), f"no page has `{start}`"
        assert (ROOT / why.rsplit(": ", 1)[1]).is_file(), why
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert {command.words[1] for command in commands if command.words[0] == "make"} <= targets


def parsers() -> dict[str, argparse.ArgumentParser]:
    found = parsers_of(make_parser())
    return {name: found[name] for name in listed_commands()}


@pytest.mark.parametrize("page", PAGES, ids=[page.relative_to(ROOT).as_posix() for page in PAGES])
def test_commands_in_the_text_exist_with_their_options(page: Path) -> None:
    for number, line in enumerate(page.read_text().splitlines(), start=1):
        for name, rest in re.findall(r"`multijoint ([a-z-]+)([^`]*)`", line):
            where = f"{page.name}, line {number}: multijoint {name}{rest}"
            if name.startswith("--"):
                assert name in make_parser()._option_string_actions, where
                continue
            assert name in parsers(), where
            options = re.findall(r"--[a-z0-9-]+", rest)
            assert set(options) <= set(parsers()[name]._option_string_actions), where


LINKING = [*PAGES, *sorted(ROOT.glob("data_manifests/*.md")), *sorted(ROOT.glob("bundles/*/docs/*.md"))]
LINKING += sorted(path for path in ROOT.glob("tests/*/**/README.md"))


@pytest.mark.parametrize("page", LINKING, ids=[page.relative_to(ROOT).as_posix() for page in LINKING])
def test_links_lead_somewhere(page: Path) -> None:
    for number, line in enumerate(page.read_text().splitlines(), start=1):
        for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)", line):
            path = (page.parent / target).resolve() if target else page
            assert path.exists(), f"{page.name}, line {number}: {target}"
            if anchor:
                titles = re.findall(r"^#+ (.+)$", path.read_text(), flags=re.MULTILINE)
                anchors = {re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-") for title in titles}
                assert anchor in anchors, f"{page.name}, line {number}: {target}#{anchor}"


def test_pages_that_code_names_exist() -> None:
    """In messages, docstrings and configurations."""
    files = [path for folder in ("custom_components", "multijoint", "bundles") for path in (ROOT / folder).rglob("*")]
    named = {
        (path.name, page)
        for path in files
        if path.suffix in (".py", ".yaml")
        for page in re.findall(r"\bdocs/[\w/-]+\.md", path.read_text(encoding="utf-8"))
    }
    made = {"docs/README.md"}  # of a packaged bundle
    assert named
    assert [where for where in sorted(named) if where[1] not in made and not (ROOT / where[1]).is_file()] == []


def test_readme_takes_three_minutes() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.split()) <= 700
    assert len(text.splitlines()) <= 130


def test_architecture_names_every_package() -> None:
    text = (ROOT / "docs" / "concepts" / "architecture.md").read_text()
    drawing = set(re.findall(r"\w+", (ROOT / "docs" / "images" / "architecture.svg").read_text()))
    for storey in ("custom_components", "multijoint"):
        parts = {path.parent.name for path in (ROOT / storey).glob("**/__init__.py")}
        parts |= {path.stem for path in (ROOT / storey).glob("[!_]*.py")}
        assert parts <= drawing, parts - drawing
    files = re.findall(r"`((?:custom_components|multijoint|bundles|tests)/[\w/.]+\.\w+)`", text)
    assert files
    assert [name for name in files if not (ROOT / name).is_file()] == []


def test_new_import_paths_of_the_changelog_exist() -> None:
    rows = re.findall(r"^\| `(custom_components[\w.]+)` \| `(custom_components\.\w+)` \| (.+) \|$",
                      (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)  # fmt: skip
    assert len(rows) > 20
    for old, new, names in rows:
        assert not (ROOT / f"{old.replace('.', '/')}.py").exists()
        for name in re.findall(r"`(\w+)`", names):
            assert hasattr(importlib.import_module(new), name), f"{new}.{name}"


def rows_below(title: str, page: str) -> list[list[str]]:
    """Cells of the first table below a title of a page of the reference."""
    text = (ROOT / "docs" / "reference" / page).read_text()
    below = re.split(rf"^#+ {re.escape(title)}$", text, maxsplit=1, flags=re.MULTILINE)[1]
    (table, *_) = re.findall(r"(?:^\|.*\n)+", below, flags=re.MULTILINE)
    return [[cell.strip() for cell in line.strip("|\n").split("|")] for line in table.splitlines()[2:]]


def test_reference_has_every_command_with_every_option() -> None:
    listed = {}
    for command, options, *_ in rows_below("Commands", "commands.md"):
        listed[re.findall(r"[a-z-]+", command)[0]] = set(re.findall(r"--[a-z0-9-]+", options))
    everywhere = {"--help", "--quiet", "--json", "--debug", "--output"}  # the last stands for --out
    assert listed == {
        name: {option for option in parser._option_string_actions if option.startswith("--")} - everywhere
        for name, parser in parsers().items()
    }


@pytest.mark.parametrize("name", ["train.yaml", "evaluate.yaml", "inference.yaml"])
def test_reference_has_every_setting_with_its_default(name: str) -> None:
    """A setting is neither a part made by `_target_` nor computed from others; a few are listed although computed."""
    config = yaml.safe_load((ROOT / JOINT / "configs" / name).read_text())
    listed = {key.strip("`"): default for key, default, *_ in rows_below(name, "settings.md")}
    assert set(listed) <= set(config)
    for key, value in config.items():
        computed = "$" in str(value) or "@" in str(value) or "%" in str(value) or "_target_" in str(value)
        if computed:
            continue
        assert key in listed, key
        assert yaml.safe_load(listed[key].strip("`")) == value, key
    assert {"manifests", "output_dir"} <= set(listed) or name == "evaluate.yaml" or "images" in listed


def test_reference_has_every_file_of_a_run(trained: Path) -> None:
    listed = " ".join(row[0] for row in rows_below("A training run", "files.md"))
    named = {path.name for path in trained.iterdir() if not path.name.endswith(".sha256")}
    assert {name for name in named if f"`{name}`" not in listed and f"`{name}/`" not in listed} == set()


def test_commands_of_a_page_are_read_as_a_shell_reads_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("support.documented.ROOT", tmp_path)
    page = tmp_path / "page.md"
    block = "B=a/b; C=$B/c\nrun \"['$C/x y']\" \\\n    --more 'it' && next # why\n"
    page.write_text(f"text\n```\n{block}```\n```yaml\nno: command\n```\n")
    assert list(commands_of(page)) == [
        Command("page.md", 4, ("run", "['a/b/c/x y']", "--more", "it")),
        Command("page.md", 4, ("next",)),
    ]


def test_a_failing_command_is_named_with_its_page_and_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Folder(tmp_path, {})
    problem = problem_with(Command("page.md", 7, ("multijoint", "inspect", "none.zip")), folder)
    assert problem == "page.md, line 7: `multijoint inspect none.zip`: ended with 1"
    problem = problem_with(Command("page.md", 8, ("rsync", "a", "b")), folder)
    assert str(problem).startswith("page.md, line 8: `rsync a b`: is no command of ours; name it in NOT_RUN")
    words = ("python", "-m", "monai.bundle", "run", "training", "--config_file", "none.yaml")
    assert "none.yaml" in str(problem_with(Command("page.md", 9, words), folder))
    assert problem_with(Command("page.md", 10, ("mkdir", "a")), folder) is None
