"""The benchmarks by name, and the loop that runs them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path

from custom_components.errors import InputError
from custom_components.system.terminal import track

from multijoint.benchmarks.fixtures import Workplace
from multijoint.benchmarks.rows import Row

BENCHMARKS = {
    "dsbn": "norms:domain_specific_norm",
    "train-loop": "training:training_loop",
    "augment": "training:augmentation",
    "segment-cpu": "segmenting:float32",
    "segment-int8": "segmenting:int8",
    "segment-overhead": "segmenting:overhead",
    "segment-many": "segmenting:many_volumes",
    "postprocess": "postprocessing:postprocess",
    "surface-metrics": "surface_metrics:surface_metrics",
    "memory": "segmenting:memory",
    "start": "segmenting:start",
    "busy": "everyday:busy",
    "check": "everyday:check",
    "report": "everyday:report",
    "gzip": "gzip_files:gzip_files",
    "tables": "everyday:tables",
    "scale": "scaling.scaling:scale",
}
"""Name -> module and function; a function takes a `Workplace` and yields rows as they come."""


def run_benchmarks(names: Sequence[str], *, folder: Path, quick: bool = False) -> Iterator[Row]:
    """Measure, one after another, some of `BENCHMARKS`, or all if there are no names.

    The folder for data and models is made if missing, and used again by a later call. A quick run measures every figure
    once and on small inputs; its rows have no targets, which are for full runs. A benchmark that fails has a row that
    says why, and the others run all the same.

    Raises:
        InputError: an unknown name, or packages of `multijoint[bench]` are missing.
    """
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        raise InputError(f"benchmark must be one of {', '.join(BENCHMARKS)}, got {unknown[0]!r}")
    folder.mkdir(parents=True, exist_ok=True)
    for name in track(list(names or BENCHMARKS), "benchmarks"):
        module, _, function = BENCHMARKS[name].partition(":")
        try:
            for row in getattr(import_module(f"multijoint.benchmarks.{module}"), function)(Workplace(folder, quick)):
                yield replace(row, target=None) if quick else row
        except ImportError as error:
            raise InputError(f"{name} needs a package, got none: {error}; pip install 'multijoint[bench]'") from error
        except RuntimeError as error:  # a command that failed, or results that differ
            yield Row(f"{name}: {' '.join(str(error).split())}", math.nan, None, "", 0, failed=True)
