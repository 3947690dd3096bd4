"""Output folders that several runs may write to: one changes it at a time, and it must stay where it is meanwhile."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path

from custom_components.errors import InputError, show_path
from custom_components.system.files import make_folder

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
        self._first: int | None = None  # descriptor: while it is open, no other folder can take its number

    @contextlib.contextmanager
    def locked(self, *, wait: bool = True) -> Iterator[None]:
        """Within the block no other process or thread is within such a block of this folder.

        The lock is on the folder itself, leaves no file behind and goes with its process. It is for the moment in which
        files that belong together are written; a thread that has it may ask for it again. On a file system that cannot
        lock folders, as NFS, there is no lock. Without `wait` the block is not entered while another one goes on.

        Raises:
            InputError: the folder was removed or replaced since its first use; or, without `wait`, it is locked.
            OSError: it cannot be made.
        """
        paths: set[str] = vars(_held).setdefault("paths", set())
        own = os.path.realpath(self.path)
        descriptor = self._open()
        try:
            if own in paths:
                yield
                return
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
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
                    fcntl.flock(descriptor, fcntl.LOCK_UN)
        finally:
            os.close(descriptor)

    def check(self) -> None:
        """Raise an `InputError` if the folder was removed or replaced since its first use."""
        if self._first is not None:
            try:
                same = os.path.samestat(os.stat(self.path), os.fstat(self._first))
            except OSError:
                same = False
            if not same:
                raise InputError(
                    f"output folder {show_path(self.path)} must stay until the run ends, got it removed or replaced "
                    "meanwhile, and the results in it lost; run the command again"
                )

    def _open(self) -> int:
        if self._first is None:
            make_folder(self.path)
            self._first = os.open(self.path, os.O_RDONLY)
            weakref.finalize(self, os.close, self._first)
        self.check()
        return os.open(self.path, os.O_RDONLY)
