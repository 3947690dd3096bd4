"""OpenVINO is imported without the part of it that sends messages."""

import os
import sys
from pathlib import Path

import pytest
from custom_components.errors import InputError
from custom_components.inference.openvino_runtime import import_openvino, openvino_core
from support.processes import run

CODE = (
    "import socket, sys; socket.socket.connect = socket.getaddrinfo = None\n"
    "from custom_components.inference.openvino_runtime import import_openvino; core = import_openvino().Core()\n"
    "print([name for name in sys.modules if 'telemetry' in name])"
)


def test_it_reports_to_nobody(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "CI"} | {"HOME": str(tmp_path)}
    command = [sys.executable, "-W", "ignore", "-c", CODE]
    done = run(command, env=environment)
    assert done.stdout == "[]\n", done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_later_import_gets_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    before = dict(sys.modules)
    assert import_openvino().__name__ == "openvino"
    assert sys.modules.get("openvino.tools.ovc") is before.get("openvino.tools.ovc")
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(InputError, match=r"int8 needs openvino, got none; pip install 'multijoint\[fast\]'"):
        import_openvino()


def test_a_signal_finds_its_stack() -> None:
    """With a Core each, networks that came and went left the thread without one (on a processor with AMX)."""
    code = (
        "import faulthandler, signal; faulthandler.enable(); signal.signal(signal.SIGUSR1, lambda *_: None)\n"
        "from custom_components.inference.openvino_runtime import import_openvino, openvino_core\n"
        "openvino = import_openvino(); from openvino import opset13\n"
        "node = opset13.parameter([1, 4]); graph = openvino.Model([opset13.relu(node)], [node])\n"
        "networks = [openvino_core().compile_model(graph, 'CPU') for _ in range(3)]\n"
        "del networks[0]; del networks[0]; del networks[0]; signal.raise_signal(signal.SIGUSR1); print('alive')"
    )
    done = run([sys.executable, "-W", "ignore", "-c", code])
    assert (done.returncode, done.stdout) == (0, "alive\n"), done.stderr
    assert openvino_core() is openvino_core()
