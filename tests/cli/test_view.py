"""`multijoint view` as a process: what ends it."""

import signal
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from subprocess import PIPE

import pytest
from support.commands import scan_of
from support.processes import Process

from multijoint.cli import main


@pytest.mark.parametrize(
    ("ignored", "sent", "code"),
    [(None, signal.SIGINT, 0), (None, signal.SIGTERM, 143), (signal.SIGINT, signal.SIGTERM, 143)],
    ids=["Ctrl-C", "SIGTERM", "SIGTERM in the background"],
)
def test_signals_end_it(
    ignored: signal.Signals | None, sent: signal.Signals, code: int, manifests: dict[str, str]
) -> None:
    scan = scan_of(manifests, "ankle")
    label = scan.parents[1] / "labels" / scan.name
    ignore: Callable[[], object] | None = ignored and (lambda: signal.signal(ignored, signal.SIG_IGN))
    command = [sys.executable, "-m", "multijoint.cli", "view", scan, label, "--no-browser"]
    with Process(command, stdout=PIPE, stderr=PIPE, preexec_fn=ignore) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        assert first.startswith("1 case, until Ctrl-C: http://127.0.0.1:"), first
        with urllib.request.urlopen(first.split()[-1], timeout=20) as page:
            assert b"<title>" in page.read()
        process.send_signal(sent)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == code
    assert "Traceback" not in errors
    assert errors == ("" if code == 0 else "stopped by SIGTERM; the same command again does what is left\n")


def test_meshes_belong_to_one_scan(manifests: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(manifests["ankle"]).parent
    assert main(["view", str(folder / "images"), str(folder / "labels"), "--mesh", "bone.ply"]) == 1
    assert "--mesh must go with one scan, got folders" in capsys.readouterr().err
