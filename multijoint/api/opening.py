"""Trained models as users name them: `model.pt` of a run, a packaged bundle, one of this package, or several."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

Opened = Path | tuple[Path, ...]
"""A model's `model.pt`, or the folder of a bundle; a tuple for several, which `run_workflow` takes as it is."""


@contextlib.contextmanager
def open_model(model: str | Path | Sequence[str | Path], *, trust: bool = False) -> Iterator[Opened]:
    """Path of a model's `model.pt`; that of a bundle is there only within the block.

    Args:
        model: `model.pt` of a training run, or the run's folder, or a packaged bundle, folder or zip. A bundle is
            inspected first, and nothing in it is run. Where no such path exists, the name of a shipped model. Several
            are an ensemble, see `ensembles.join_models`.
        trust: also take a bundle that the inspection calls unsafe.

    Raises:
        InputError: a bundle is unsafe or not a bundle.
    """
    if isinstance(model, str | Path):
        with _open_one(Path(model), trust=trust) as path:
            yield path
        return
    with contextlib.ExitStack() as stack:
        paths = tuple(stack.enter_context(_open_one(Path(each), trust=trust)) for each in model)
        yield paths[0] if len(paths) == 1 else paths


@contextlib.contextmanager
def _open_one(path: Path, *, trust: bool) -> Iterator[Path]:
    if not path.exists():
        from multijoint.sharing.shipped_models import find_shipped, resembles_shipped

        if resembles_shipped(str(path)):
            path = find_shipped(str(path)).checkpoint
    if (path.is_file() and path.suffix.lower() != ".zip") or path.suffix == ".pt":
        yield path
        return
    if (path / "model.pt").is_file() and not (path / "configs").exists():  # a run's folder: nothing in it is executed
        yield path / "model.pt"
        return
    from multijoint.sharing.inspection.inspection import open_bundle

    with open_bundle(path, trust=trust) as checkpoint:
        yield checkpoint
