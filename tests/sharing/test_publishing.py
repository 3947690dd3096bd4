"""A shipped model's folder is made of runs: their scores pooled, the weights of the first."""

import csv
from pathlib import Path

import pytest
from custom_components.errors import InputError
from custom_components.metrics.score_summaries import write_summary_csv
from custom_components.metrics.score_tables import write_scores_csv
from custom_components.models.checkpoints import load_model, save_checkpoint
from support.models import make_model
from support.score_rows import lost, row

from multijoint.sharing.publishing import publish, score_table

CARD = "# A model\n\n<!-- scores -->\nold\n<!-- end of scores -->\n\nThe end.\n"


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    """Two runs, each with scores of its own case."""
    folders = [tmp_path / "fold_0", tmp_path / "fold_1"]
    for folder, rows in zip(folders, ([row("c1", dice=0.8)], [lost("c2", "missed")]), strict=True):
        (folder / "evaluation").mkdir(parents=True)
        write_scores_csv(folder / "evaluation" / "metrics.csv", rows)
        write_summary_csv(folder / "evaluation" / "summary.csv", rows, border="inside")
    save_checkpoint(folders[0] / "model.pt", make_model())
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "README.md").write_text(CARD)
    return folders


def test_scores_of_all_runs_and_the_weights_of_the_first(runs: list[Path], tmp_path: Path) -> None:
    for _ in range(2):  # the second time over the first
        publish(runs, folder=tmp_path / "model")
    with (tmp_path / "model" / "scores.csv").open(newline="") as file:
        pooled = list(csv.DictReader(file))
    assert [(each["label"], each["n"], each["missed"], each["dice_mean"]) for each in pooled] == [
        ("talus", "2", "1", "0.4"),
        ("all bones", "2", "1", "0.4"),
    ]
    assert load_model(tmp_path / "model" / "model.pt").digest == load_model(runs[0] / "model.pt").digest
    table = score_table(tmp_path / "model")
    assert table.splitlines()[2:] == [
        "| ankle | talus | 1 | 80.0 | 0.50 | 2 | 40.0 (56.6) | 0.50 |",
        "| ankle | **all bones** | 1 | 80.0 | 0.50 | 2 | 40.0 (56.6) | 0.50 |",
    ]
    assert (tmp_path / "model" / "README.md").read_text() == CARD.replace("old\n", table)


def test_runs_that_cannot_be_pooled_are_refused(runs: list[Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must appear once, got it twice"):
        publish([runs[0], runs[0]], folder=tmp_path / "model")
    with pytest.raises(InputError, match=r"run none must be evaluated, got no metrics\.csv"):
        publish([runs[0], "none"], folder=tmp_path / "model")
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["README.md"]


def test_a_card_without_a_place_is_left_alone(runs: list[Path], tmp_path: Path) -> None:
    (tmp_path / "model" / "README.md").write_text("# A model\n")
    with pytest.raises(InputError, match=r"card README\.md must have <!-- scores --> and"):
        publish(runs, folder=tmp_path / "model")
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["README.md"]
