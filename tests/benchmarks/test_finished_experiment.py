"""Tables and figures are made of planted files, in processes that import neither PyTorch nor MONAI."""

import sys
from pathlib import Path

import pytest
from support.processes import run

from multijoint.benchmarks.finished_experiment import make_experiment
from multijoint.experiments.rows import read_rows

CALLS = {
    "gather": "from multijoint.experiments import gather; from pathlib import Path; gather(Path({folder!r}))",
    "tables": "from multijoint.cli import main; main(['tables', {folder!r}])",
    "figures": "from multijoint.cli import main; main(['figures', {folder!r}, '--curves'])",
}
MADE = {
    "gather": ["cases.csv", "slices.csv", "jobs.csv", "curves.csv", "embeddings.npz", "examples.npz"],
    "tables": ["table1.md", "table2.md"],
    "figures": ["figure3.png", "figure4.svg", "curves.svg"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished").resolve()
    assert make_experiment(folder, folds=2) == 14
    return folder


def test_what_nobody_trained_is_gathered_tabled_and_drawn_without_pytorch(folder: Path) -> None:
    for name, code in CALLS.items():
        code = code.format(folder=str(folder))
        code += "; import sys; print([name for name in ('torch', 'monai', 'ignite', 'ray') if name in sys.modules])"
        done = run([sys.executable, "-c", code], check=True)
        assert done.stdout.splitlines()[-1] == "[]", name
        assert [made for made in MADE[name] if not (folder / made).is_file()] == []
    cases = read_rows(folder, "cases")
    assert len(cases) == 14 * 5  # three bones of the ankle, two of the shoulder
    assert cases["dice"].between(0.7, 1).all()
