"""gzip files read and written by ISA-L, against Python's zlib."""

from __future__ import annotations

import contextlib
import gzip
import math
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from custom_components.io import nifti_files
from custom_components.io.label_files import compress, voxels_of

from multijoint.benchmarks.fixtures import SLICE_SIZE, Workplace
from multijoint.benchmarks.noisy_knee import make_noisy_knee
from multijoint.benchmarks.rows import Row, Target, interleave

_PART = 2**22  # bytes that a reader of volumes asks for


def gzip_files(place: Workplace) -> Iterator[Row]:
    """Decompress and verify a scan, and compress a label map of a knee; the bytes must be the same."""
    if nifti_files.isal_zlib is None:
        yield Row("gzip: isal is not installed", math.nan, None, "ms", 0)
        return
    n, voxels = place.choose(15), voxels_of(make_noisy_knee()[1])
    scan = place.scan((*SLICE_SIZE, place.choose(64, 24)))
    tasks: list[tuple[str, Callable[[], Any], Callable[[Any], bytes], float]] = [
        ("reading a scan", partial(_read, scan), b"".join, 2),
        ("writing a label map", partial(compress, b"", voxels), gzip.decompress, 6),
    ]
    for name, work, content, factor in tasks:
        if content(work()) != content(_by_zlib(work)):
            raise RuntimeError(f"{name} by both libraries must give the same bytes, got others")
        ours, peer = (1000 * each for each in interleave(work, partial(_by_zlib, work), repetitions=n))
        target = Target(factor, at_least=True)
        yield Row(f"gzip, {name}", ours, peer, "ms", n, target, packages=("isal",), inverse=True)


def _read(path: Path) -> list[bytes]:
    with nifti_files.open_content(path) as content:
        return list(iter(partial(content.read, _PART), b""))


def _by_zlib(work: Callable[[], Any]) -> Any:
    with contextlib.ExitStack() as stack:
        stack.callback(setattr, nifti_files, "isal_zlib", nifti_files.isal_zlib)
        nifti_files.isal_zlib = None  # type: ignore[assignment]
        return work()
