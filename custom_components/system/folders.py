"""Output folders that several runs may write to: one changes it at a time, and it must stay where it is meanwhile."""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path

from custom_components.errors import InputError, show_path
from custom_components.system.files import make_folder
from custom_components.system.locks import HAS_LOCKS, lock_file, unlock_file

_held = threading.local()  # `paths`: the folders that this thread has locked


class OutputFolder:
    """A folder that results go to. It is made at the first use; from then on it must not be removed or replaced.

    Args:
        path: the folder.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as parent:
        ...     folder = OutputFolder(Path(parent, "out"))
        ...     with folder.locked():
        ...         folder.path.is_dir()
        True
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._first: os.stat_result | None = None

    @contextlib.contextmanager
    def locked(self, *, wait: bool = True) -> Iterator[None]:
        """Within the block no other process or thread is within such a block of this folder.

        The lock is on the folder itself, leaves no file behind and goes with its process. It is for the moment in which
        files that belong together are written; a thread that has it may ask for it again. Where folders
        cannot be locked, as on Windows or NFS, there is no lock. Without `wait` the block is not entered while another
        one goes on.

        Raises:
            InputError: the folder was removed or replaced since its first use; or, without `wait`, it is locked.
            OSError: it cannot be made.
        """
        paths: set[str] = vars(_held).setdefault("paths", set())
        own = os.path.realpath(self.path)
        self._remember()
        if not HAS_LOCKS or own in paths:
            yield
            return
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            try:
                lock_file(descriptor, wait=wait)
            except BlockingIOError as error:
                raise InputError(
                    f"folder {show_path(self.path)} must be written to by one run at a time, got a second one; "
                    "wait for the other, or choose another folder"
                ) from error
            except OSError:  # a file system without such locks
                pass
            paths.add(own)
            try:
                self.check()  # it may have gone while this waited
                yield
            finally:
                paths.discard(own)
                with contextlib.suppress(OSError):  # not by closing alone: a process forked meanwhile has a copy
                    unlock_file(descriptor)
        finally:
            os.close(descriptor)

    def check(self) -> None:
        """Raise an `InputError` if the folder was removed or replaced since its first use."""
        if self._first is not None:
            try:
                same = os.path.samestat(os.stat(self.path), self._first)
            except OSError:
                same = False
            if not same:
                raise InputError(
                    f"output folder {show_path(self.path)} must stay until the run ends, got it removed or replaced "
                    "meanwhile, and the results in it lost; run the command again"
                )

    def _remember(self) -> None:
        if self._first is None:
            make_folder(self.path)
            self._first = os.stat(self.path)
            if HAS_LOCKS:  # while the folder is open, no other one can take its number
                descriptor = os.open(self.path, os.O_RDONLY)
                weakref.finalize(self, os.close, descriptor)
                self._first = os.fstat(descriptor)
        self.check()
