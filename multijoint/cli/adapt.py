"""`multijoint adapt`: a new data set for a trained model."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from multijoint.api.adapting import adapt_model
from multijoint.cli.experiment import parse_settings
from multijoint.cli.presenting import record

__all__ = ["adapt"]


def adapt(
    model: Path,
    *,
    manifest: Path,
    out: Path,
    freeze: str = "shared",
    like: str | None = None,
    dataset_dir: Path | None = None,
    settings: Sequence[str] = (),
) -> None:
    """Adapt a model and print where the adapted one is.

    Args:
        model: `model.pt` of a run, or the folder of a packaged bundle.
        manifest: of the new data set.
        out: folder of the run.
        freeze: "shared" or "none".
        like: domain whose norms the new ones start from; `None` for the one that fits the new labels best.
        dataset_dir: where the manifest's paths start, if not beside it.
        settings: `NAME=VALUE` overrides of `train.yaml` and `adapt.yaml`, or YAML files of them.

    Raises:
        InputError: see `adapt_model` and `parse_settings`.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    adapted = adapt_model(
        model,
        manifest=manifest,
        out=out,
        freeze=freeze,
        like=like,
        dataset_dir=dataset_dir,
        settings=parse_settings(settings),
    )
    record(written=[adapted])
    print(adapted)
