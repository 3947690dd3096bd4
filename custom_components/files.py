"""Writing a file whole or not at all."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from custom_components.errors import InputError

__all__ = ["write_arrays", "write_atomically"]


def write_atomically(path: Path, data: bytes) -> None:
    """Write `data` to `path` so that a reader sees the old file or the new one, never a part.

    The bytes go to a hidden temporary file in the same folder, are flushed to the disk, read back and compared, and
    only then take the final name. Whatever fails, Ctrl-C included, the temporary file is removed and an older `path`
    stays as it was. Missing parent folders are made.

    Args:
        path: file to write or replace.
        data: its whole content.

    Raises:
        InputError: `path` is a folder.
        OSError: the system refused (no permission, disk full, other bytes read back); the error names `path`.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_atomically(Path(folder, "fold", "scores.json"), b"{}")
        ...     [file.name for file in Path(folder, "fold").iterdir()]
        ['scores.json']
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"file to write must not be a folder, got {path}; name a file inside it")
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            if temporary.read_bytes() != data:
                raise OSError(5, "the bytes read back differ from those written")
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise type(error)(error.errno, f"could not write the file: {error.strerror or error}", str(path)) from error


def write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write arrays as a compressed `.npz`, whole or not at all; the same arrays give the same bytes.

    Args:
        path: file to write or replace.
        arrays: by name; anything that `numpy.asarray` takes, but no objects.
    """
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **dict(arrays))
    write_atomically(path, buffer.getvalue())
