"""The wheel alone, in an environment that does not know the repository and in a folder that is empty."""

import json
import re
import site
import sys
import venv
from collections.abc import Callable
from pathlib import Path

import pytest
from support.documented import ROOT, quick
from support.processes import run

SMALL = ["image_size=[32,32]", "widths=[4,8]", "max_epochs=1", "batch_size=8", "device=cpu", "tensorboard=false"]
COMMANDS = [
    ["phantoms", "phantoms", "--cases", "3", "--size", "40"],
    ["train", "phantoms/ankle/manifest.yaml", "phantoms/shoulder/manifest.yaml", "--out", "runs/x", "--set", *SMALL],
    ["segment", "phantoms/ankle/images/ankle_000.nii.gz", "--domain", "ankle", "--checkpoint", "runs/x/model.pt",
     "--out", "out"],
    ["report", "out"],
    ["package", "multijoint_mr_bone_segmentation", "--checkpoint", "runs/x/model.pt", "--single", "ankle",
     "--out", "dist"],
]  # fmt: skip


@pytest.fixture(scope="module")
def programs(made_once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """Folder of the programs of a new environment: the wheel, and the packages that it needs from this one."""

    def install(folder: Path) -> None:
        build = "import hatchling.build, sys; print(hatchling.build.build_wheel(sys.argv[1]))"
        done = run([sys.executable, "-c", build, folder], cwd=ROOT, check=True)
        wheel = folder / done.stdout.split()[-1]
        venv.create(folder / "new", with_pip=False, symlinks=True)
        [packages] = (folder / "new").glob("lib/python*/site-packages")
        # A folder that a .pth file names is searched, but its own .pth files, one of them for this repository, are not.
        (packages / "needed.pth").write_text("\n".join(site.getsitepackages()))
        pip = [sys.executable, "-m", "pip", "--python", folder / "new" / "bin" / "python", "install", "--quiet"]
        run([*pip, "--no-index", "--no-deps", "--no-compile", "--ignore-installed", wheel], check=True)

    return made_once("wheel", install) / "new" / "bin"


@pytest.fixture(scope="module")
def folder(programs: Path, tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]) -> Path:
    """An empty folder in which the commands were run, one after the other."""
    place = tmp_path_factory.mktemp("empty")
    for words in COMMANDS:
        done = run([programs / "multijoint", *words], cwd=place, env=environment, check=True)
        assert r"\n" not in done.stdout + done.stderr, "a table is printed in lines"
    return place


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    """Variables of its processes, without a path to the repository."""
    return {"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}


def test_the_commands_run_from_an_empty_folder(folder: Path) -> None:
    assert (folder / "out" / "ankle_000_seg.nii.gz").is_file()
    assert (folder / "out" / "report.html").is_file()
    assert list((folder / "dist").glob("*.zip"))


def test_the_configurations_are_those_of_the_wheel_and_ask_for_manifests_alone(
    programs: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    done = run([programs / "multijoint", "bundles", "--json"], cwd=tmp_path, env=environment, check=True)
    printed = json.loads(done.stdout)
    found = printed["bundles"]
    assert len(found) == 3
    own = {path.relative_to(ROOT / "bundles").as_posix() for path in (ROOT / "bundles").glob("*/configs/*.yaml")}
    assert {f"{each['name']}/configs/{name}" for each in found for name in each["configs"]} == own
    for each in found:
        assert Path(each["folder"]).is_relative_to(programs.parent)
    without = re.sub(r" --manifests .* --fold", " --fold", printed["example"])
    done = run(["bash", "-c", without.replace("python", str(programs / "python"), 1)], cwd=tmp_path, env=environment)
    assert done.returncode == 1
    rule = "error: manifests must be one or more files, got none; name one, as multijoint init writes it"
    assert done.stderr.splitlines()[-1] == rule


def test_the_python_page_runs(programs: Path, environment: dict[str, str], tmp_path: Path) -> None:
    page = (ROOT / "docs" / "how-to" / "python.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    code = (
        quick("\n".join(blocks)) + "\nimport custom_components; print(custom_components.__file__, multijoint.__file__)"
    )
    done = run([programs / "python", "-c", code], cwd=tmp_path, env=environment, check=True)
    assert list(tmp_path.glob("out/*_seg.nii.gz"))
    assert all(Path(name).is_relative_to(programs.parent) for name in done.stdout.splitlines()[-1].split())
