"""Locks of files, and all that trains and segments where the system has neither them nor anything else of POSIX."""

import json
import sys
from pathlib import Path

import pytest
from custom_components.system import locks
from custom_components.system.locks import lock_file, unlock_file, wait_for_lock
from support.bundles import SMALL
from support.hostile_bundles import write_good, write_zip
from support.processes import run

# What Windows lacks is taken away before anything of this project is imported, and after the libraries, which here are
# those for Linux. An open file may be neither moved nor removed, and a folder may not be opened.
WITHOUT_POSIX = """
import os, shutil, signal, sys
import monai.bundle, monai.engines, ignite.engine, nibabel, skimage.measure, torch.utils.data, yaml
for name in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules[name] = None
for name in ("fork", "forkpty", "register_at_fork", "getuid", "geteuid", "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK",
             "sched_getaffinity", "set_blocking", "killpg", "setsid"):
    delattr(os, name)
for name in ("SIGKILL", "SIGCHLD", "SIGHUP", "SIGALRM", "SIGUSR1", "pthread_sigmask", "alarm", "setitimer"):
    delattr(signal, name)
real = {name: getattr(os, name) for name in ("open", "replace", "unlink")}

def open_file(path, flags, mode=0o777, *, dir_fd=None):
    if dir_fd is None and os.path.isdir(path) and "shutil" not in sys._getframe(1).f_code.co_filename:
        raise PermissionError(13, "folders cannot be opened", path)
    return real["open"](path, flags, mode, dir_fd=dir_fd)

def refuse_open(path):
    if isinstance(path, (str, os.PathLike)) and os.path.isabs(path):
        held = [os.path.realpath(f"/proc/self/fd/{each}") for each in os.listdir("/proc/self/fd")]
        if os.path.realpath(path) in held:
            raise PermissionError(13, "an open file cannot be moved or removed", path)

def replace(source, target, **how):
    refuse_open(source)
    return real["replace"](source, target, **how)

def unlink(path, **how):
    refuse_open(path)
    return real["unlink"](path, **how)

os.open, os.replace, os.unlink = open_file, replace, unlink
"""


@pytest.fixture(scope="module")
def done_without(manifests: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """Folder and printed lines of a process without POSIX that trains, and segments with the run and with a zip."""
    folder = tmp_path_factory.mktemp("without")
    settings = {**SMALL, "device": "cpu", "num_workers": 0}
    (folder / "good").mkdir()
    bundle = write_zip(write_good(folder / "good"), folder / "bundle.zip")
    scan = Path(manifests["ankle"]).parent / "images" / "ankle_000.nii.gz"
    code = f"""
import importlib, pkgutil, custom_components, multijoint
from multijoint.cli import main
for each in pkgutil.walk_packages(custom_components.__path__, "custom_components."):
    importlib.import_module(each.name)
out = {str(folder)!r}
run = multijoint.train([{manifests["ankle"]!r}], out=out + "/run", **{settings})
print("peak", run.log[-1]["peak_memory_mib"])
print("segment", main(["segment", {str(scan)!r}, "--checkpoint", str(run.model), "--out", out + "/out"]))
with multijoint.load(run.model) as model:
    print("load", model.segment({str(scan)!r}).names)
words = ["--domain", "ankle", "--out", out + "/out", "--overwrite"]
print("again", main(["segment", {str(scan)!r}, "--bundle", {str(bundle)!r}, *words]))
"""
    done = run([sys.executable, "-W", "ignore", "-c", WITHOUT_POSIX + code], check=True)
    return folder, done.stdout.splitlines()


def test_training_and_segmenting_need_nothing_of_posix(done_without: tuple[Path, list[str]]) -> None:
    folder, printed = done_without
    assert {"peak nan", "segment 0", "load {1: 'calcaneus', 2: 'talus', 3: 'tibia'}", "again 0"} <= set(printed)
    assert (folder / "out" / "ankle_000_seg.nii.gz").is_file()
    assert not [*folder.rglob(".*.tmp-*"), *folder.rglob(".lock")]
    assert json.loads((folder / "out" / "ankle_000_seg.json").read_text())["labels"]


def test_a_lock_that_is_waited_for_is_held_to_the_end_and_left_out_without_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / ".lock"
    with wait_for_lock(path), path.open("rb") as second, pytest.raises(BlockingIOError):
        lock_file(second)
    with wait_for_lock(path):
        pass  # it had gone
    monkeypatch.setattr(locks, "HAS_LOCKS", False)
    with wait_for_lock(path), wait_for_lock(path):
        assert path.is_file()


def test_a_lock_is_of_one_opening_at_a_time(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (tmp_path / "file").open("rb") as first, (tmp_path / "file").open("rb") as second:
        lock_file(first)
        with pytest.raises(BlockingIOError):
            lock_file(second)
        unlock_file(first)
        lock_file(second)
