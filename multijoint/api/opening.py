"""Trained models as users name them: the `model.pt` of a run, a packaged bundle, or a model of this package."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def open_model(model: str | Path, *, trust: bool = False) -> Iterator[Path]:
    """Path of a model's `model.pt`; that of a bundle is there only within the block.

    Args:
        model: `model.pt` of a training run, or a packaged bundle, folder or zip. A bundle is inspected first, and
            nothing in it is run. Where no such path exists, the name of a shipped model.
        trust: also take a bundle that the inspection calls unsafe.

    Raises:
        InputError: the bundle is unsafe or not a bundle.
    """
    path = Path(model)
    if not path.exists():
        from multijoint.sharing.shipped_models import find_shipped, resembles_shipped

        if resembles_shipped(str(model)):
            path = find_shipped(str(model)).checkpoint
    if (path.is_file() and path.suffix.lower() != ".zip") or path.suffix == ".pt":
        yield path
        return
    from multijoint.sharing.inspection.inspection import open_bundle

    with open_bundle(path, trust=trust) as checkpoint:
        yield checkpoint
