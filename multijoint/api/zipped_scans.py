"""Scans that wait in a zip file, unpacked for as long as they are needed."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from multijoint.sharing.inspection.archives import Limits, unpack_files

_ENDING = ".zip"
_LIMITS = Limits(ratio=1100, members=50_000)  # deflate packs black slices up to a thousandfold


@contextlib.contextmanager
def unpacked(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """The paths, with a folder of the same name in place of each zip file; the folders go with the block.

    Raises:
        InputError: a zip file is damaged, unsafe (a member that leaves its folder, a link, a bomb) or too large.
    """
    with tempfile.TemporaryDirectory(prefix="multijoint-") as name:
        found = []
        for number, path in enumerate(paths):
            if path.name.lower().endswith(_ENDING) and path.is_file():
                folder = Path(name, str(number), path.name[: -len(_ENDING)] or "exam")
                folder.mkdir(parents=True)
                unpack_files(path, folder, limits=_LIMITS)
                changed = path.stat().st_mtime_ns  # by which an exam that was converted before is known again
                for file in folder.rglob("*"):
                    os.utime(file, ns=(changed, changed))
                path = folder
            found.append(path)
        yield found
