"""Length of a training on all cases: the median of the best epochs of other runs."""

from dataclasses import replace
from pathlib import Path

import pytest
from custom_components.errors import InputError
from custom_components.models.checkpoints import save_checkpoint
from custom_components.training.fold_epochs import epochs_of_runs
from support.models import make_model


def run_of(folder: Path, epoch: object) -> Path:
    folder.mkdir()
    save_checkpoint(folder / "model.pt", replace(make_model(), training={"epoch": epoch}))
    return folder


def test_the_median_of_the_best_epochs_is_rounded_up(tmp_path: Path) -> None:
    runs = [run_of(tmp_path / str(epoch), epoch) for epoch in (40, 7, 11, 20)]
    assert epochs_of_runs(runs[:3], otherwise="auto") == 11
    assert epochs_of_runs([*runs[:3], runs[3] / "model.pt"], otherwise=5) == 16
    assert epochs_of_runs([], otherwise="auto") == "auto"


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must state its best epoch, got None; leave it out"):
        epochs_of_runs([run_of(tmp_path / "odd", None)], otherwise=1)
    with pytest.raises(InputError, match="must be a file, got none"):
        epochs_of_runs([tmp_path / "gone"], otherwise=1)
    with pytest.raises(InputError, match=r"must be a list of runs, got 'runs/x'; write \[runs/x\]"):
        epochs_of_runs("runs/x", otherwise=1)
