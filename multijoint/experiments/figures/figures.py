"""The figures of an experiment, drawn from its saved files alone."""

from __future__ import annotations

import json
import logging
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from custom_components.errors import InputError
from matplotlib import style
from matplotlib.figure import Figure
from threadpoolctl import threadpool_limits

from multijoint.cluster.forks import map_forked
from multijoint.experiments.figures.curves import draw_few_subjects, draw_learning_curves
from multijoint.experiments.figures.embeddings import check_methods, draw_embeddings
from multijoint.experiments.figures.exams import draw_exams
from multijoint.experiments.figures.layout import save_figure
from multijoint.experiments.rows import read_rows, write_table

_logger = logging.getLogger(__name__)

# On top of matplotlib's defaults, whatever the reader's own settings: the same files give the same bytes, and text in
# an SVG can be searched and edited.
_STYLE = {"svg.hashsalt": "multijoint", "svg.fonttype": "none", "savefig.facecolor": "white"}


def write_figures(folder: str | Path, *, curves: bool = False) -> list[Path]:
    """Draw every figure that an experiment's files allow, as PNG (150 dpi) and SVG, into its folder.

    `figure3` shows exams (from `examples.npz`), `figure4` embeddings (from `embeddings.npz`, with
    `figure4_checks.csv`), `few` scores against the number of training subjects (from `cases.csv`, if a job had few),
    `curves`, if asked, the training (from `curves.csv`). What cannot be drawn is left out with a warning that names the
    remedy. Returns the files written.

    Raises:
        InputError: a file cannot be used, or none allows a figure.
    """
    folder = Path(folder)
    drawn: dict[str, Figure | None] = {}
    checks: pd.DataFrame | None = None
    # One thread: on a busy machine the threads of t-SNE mostly wait for each other.
    with threadpool_limits(1), style.context(["default", _STYLE]):
        if _has(folder, "examples.npz", figure="figure3"):
            drawn["figure3"] = draw_exams(*_read_arrays(folder / "examples.npz"))
        if _has(folder, "embeddings.npz", figure="figure4"):
            meta, arrays = _read_arrays(folder / "embeddings.npz")
            checks = check_methods(meta, arrays)
            drawn["figure4"] = draw_embeddings(meta, arrays, checks)
        if _has(folder, "cases.csv", figure="few"):
            drawn["few"] = draw_few_subjects(read_rows(folder, "cases"))
        if curves and _has(folder, "curves.csv", figure="curves"):
            drawn["curves"] = draw_learning_curves(read_rows(folder, "curves"))
        figures = {name: figure for name, figure in drawn.items() if figure is not None}
        paths = [folder / f"{name}.{kind}" for name in figures for kind in ("png", "svg")]
        written = list(map_forked(lambda path: save_figure(path, figures[path.stem]), paths))
    if checks is not None:
        written.append(write_table(folder / "figure4_checks.csv", checks))
    if not written:
        raise InputError(
            f"experiment {folder} must hold examples.npz, embeddings.npz or curves.csv to draw figures from, got "
            "nothing to draw; run `multijoint experiment` first, or ask for --curves"
        )
    return written


class _Arrays(dict[str, np.ndarray]):
    """Arrays of a file; a missing one is an `InputError` that names the file."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def __missing__(self, key: str) -> np.ndarray:
        raise InputError(f"{self.path} must hold the array {key}, got none; run `multijoint experiment` again")


def _has(folder: Path, name: str, *, figure: str) -> bool:
    if (folder / name).is_file():
        return True
    _logger.warning("%s left out: no %s; run `multijoint experiment` to the end", figure, folder / name)
    return False


def _read_arrays(path: Path) -> tuple[dict[str, Any], _Arrays]:
    """The description in `meta`, and the arrays."""
    arrays = _Arrays(path)
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays.update(archive)
        return json.loads(str(arrays["meta"])), arrays
    except (OSError, EOFError, zipfile.BadZipFile, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{path} must be an archive of arrays, got {error}; run `multijoint experiment` again"
        ) from error
