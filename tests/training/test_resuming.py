"""A run goes on only with the people, files and settings that it was begun with."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from custom_components.errors import InputError, find_cause
from custom_components.models.checkpoints import load_checkpoint
from custom_components.training.resuming import MAY_CHANGE, check_same
from support.bundles import SMALL, Run

from multijoint.phantoms import write_phantoms

Change = Callable[[Path], dict[str, Any]]
"""Of a copied data set, given its folder; returns settings."""


@pytest.fixture(scope="module")
def begun(run_bundle: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run of one epoch, and its data set of four."""
    folder = tmp_path_factory.mktemp("begun")
    write_phantoms(folder / "data", domains=["ankle"], num_cases=4, seed=0, size=32)
    train(run_bundle, folder / "run", folder / "data")
    return folder / "run", folder / "data"


def train(run_bundle: Run, run: Path, data: Path, **settings: Any) -> None:
    given = {"manifests": [str(data / "ankle" / "manifest.yaml")], "output_dir": str(run), "device": "cpu", **SMALL}
    run_bundle("multijoint", ["train.yaml"], **{**given, "empty_share": 1.0, **settings})


def content_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def settings(**changed: Any) -> Change:
    return lambda _: changed


def one_case_less(data: Path) -> dict[str, Any]:
    manifest = data / "ankle" / "manifest.yaml"
    lines = manifest.read_text().splitlines(keepends=True)
    manifest.write_text("".join(line for line in lines if "ankle_003" not in line))
    return {}


def another_label_map(data: Path) -> dict[str, Any]:
    (path,) = (data / "ankle" / "labels").glob("ankle_002*")
    label = nibabel.load(path)
    values = np.asarray(label.dataobj).copy()
    values[0, 0, 0] = 1
    nibabel.save(nibabel.Nifti1Image(values, label.affine, label.header), path)
    return {}


def another_bone(data: Path) -> dict[str, Any]:
    manifest = data / "ankle" / "manifest.yaml"
    manifest.write_text(manifest.read_text().replace("talus", "navicular"))
    return {}


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        (settings(fold=1), r"fold 1 in place of 0, ankle_001 \(ankle\) tested in place of validated on, .*, 1 more"),
        (settings(seed=1), "seed 1 in place of 0"),
        (settings(num_folds=3), "num_folds 3 in place of none, .*"),
        (settings(train_subjects={"ankle": 1}), r"train_subjects {'ankle': 1} in place of none, ankle_003 .* missing"),
        (settings(image_size=[64, 64]), r"image_size \[64, 64\] in place of \[32, 32\]"),
        (settings(widths=[8, 16]), r"widths \[8, 16\] in place of \[4, 8\]"),
        (settings(learning_rate=1e-4), "learning_rate 0.0001 in place of 0.001"),
        (settings(batch_size=4, dice_weight=0.5), "batch_size 4 in place of 8, dice_weight 0.5 in place of 1.0"),
        (settings(**{"optimizer#amsgrad": True}), "optimizer#amsgrad True in place of none"),
        (settings(max_epochs=0), "max_epochs 0 in place of 1"),
        (settings(attention=True), "attention True in place of False"),
        (one_case_less, r"ankle_003 \(ankle\) missing"),
        (another_label_map, r"another label map of ankle_002 \(ankle\)"),
        (another_bone, "labels of ankle .*navicular.* in place of .*talus.*"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_another_run_is_refused_by_its_differences_and_nothing_is_written(
    change: Change, difference: str, begun: tuple[Path, Path], run_bundle: Run, tmp_path: Path
) -> None:
    run, data = (Path(shutil.copytree(folder, tmp_path / folder.name)) for folder in begun)
    before = content_of(run)
    changed = change(data)
    with pytest.raises(RuntimeError) as caught:
        train(run_bundle, run, data, resume=True, **changed)
    rule = f"resume must continue the run in run as it was begun, got {difference}; use the run's own settings"
    assert re.match(rule, str(find_cause(caught.value, InputError)))
    assert content_of(run) == before


def test_a_longer_run_elsewhere_goes_on_and_stays_unfit_to_test_who_it_has_seen(
    begun: tuple[Path, Path], run_bundle: Run, tmp_path: Path
) -> None:
    run, data = (Path(shutil.copytree(folder, tmp_path / "moved" / folder.name)) for folder in begun)
    train(run_bundle, run, data, resume=True, max_epochs=2, batch_size="$4 + 4", tensorboard="false", num_folds="null")
    assert load_checkpoint(run / "last.pt")["training"]["epoch"] == 2
    how = {"manifests": [str(data / "ankle" / "manifest.yaml")], "checkpoint": str(run / "model.pt"), "device": "cpu"}
    configs = ["train.yaml", "evaluate.yaml"]
    for wrong in ({"fold": 1}, {"fold": 0, "tested": "$@split.training"}):
        with pytest.raises(RuntimeError) as caught:
            run_bundle("multijoint", configs, "evaluating", output_dir=str(tmp_path / "eval"), **how, **wrong)
        assert "must be unseen by the checkpoint" in str(find_cause(caught.value, InputError))
    run_bundle("multijoint", configs, "evaluating", output_dir=str(tmp_path / "eval"), **how, fold=0)
    assert "ankle_000" in (tmp_path / "eval" / "metrics.csv").read_text()


def test_what_the_state_says_of_files_and_settings_has_no_path(begun: tuple[Path, Path]) -> None:
    recorded = load_checkpoint(begun[0] / "last.pt")["resume"]["trained_with"]
    assert recorded["settings"]["batch_size"] == 8
    assert recorded["settings"]["optimizer#_target_"] == "torch.optim.AdamW"
    assert not recorded["settings"].keys() & (MAY_CHANGE - {"max_epochs"})
    assert str(begun[0].parent) not in str(recorded)
    assert list(recorded["files"]) == [f"ankle_{number:03d} (ankle)" for number in (2, 3, 1)]


def test_a_state_of_an_older_version_is_compared_in_what_it_says(begun: tuple[Path, Path]) -> None:
    new = load_checkpoint(begun[0] / "last.pt")
    old = {**new, "resume": {name: value for name, value in new["resume"].items() if name != "trained_with"}}
    check_same(old, new, folder=begun[0])
    split = {**new["training"]["split"], "testing": []}
    with pytest.raises(InputError, match=r"got ankle_000 \(ankle\) added;"):
        check_same({**old, "training": {**old["training"], "split": split}}, new, folder=begun[0])
    with pytest.raises(InputError, match="got seed 7 in place of 0;"):
        check_same(old, {**new, "training": {**new["training"], "seed": 7}}, folder=begun[0])


def test_another_start_is_refused_and_none_is_the_recorded_one(begun: tuple[Path, Path]) -> None:
    plain = load_checkpoint(begun[0] / "last.pt")
    first, second = ({**plain, "training": {**plain["training"], "start": {"digest": letter * 64}}} for letter in "ab")
    check_same(first, first, folder=begun[0])
    check_same(first, plain, folder=begun[0])
    for state, found in ((first, "a" * 12), (plain, "none")):
        with pytest.raises(InputError, match=f"got start_from {'b' * 12} in place of {found};"):
            check_same(state, second, folder=begun[0])
