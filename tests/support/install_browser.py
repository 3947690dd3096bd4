"""Put a headless Chromium into the virtual environment: `python tests/support/install_browser.py [FOLDER]`.

It is the build of npm's @sparticuz/chromium, which has everything inside the package: the browser, the libraries that a
bare machine lacks, a font and SwiftShader for WebGL without a graphics card. No root, no other download.
"""

from __future__ import annotations

import io
import shutil
import sys
import tarfile
from pathlib import Path

import brotli
from custom_components.errors import InputError

from multijoint.clinic.viewer.niivue import fetch_npm_package

VERSION = "153.0.0"
SHA512 = "jiGWqSvPMdu4+P9TilYqAR7yEGPEHINx+lCvE/NqNO/EHYzF/x1hUiI5T6ioVIt7dEy7n88byyT0vk+dnsgQwA=="
FOLDER = Path(sys.prefix) / "browser"
FONTS = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir prefix="cwd">{folder}</dir><cachedir>{folder}/cache</cachedir></fontconfig>
"""


def install(folder: Path = FOLDER) -> Path:
    """Unpack the browser into `folder`; returns its program."""
    program = folder / "chromium"
    if (folder / "version").is_file() and (folder / "version").read_text() == VERSION:
        return program
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    archive = fetch_npm_package("@sparticuz/chromium", VERSION, sha512=SHA512)
    with tarfile.open(fileobj=io.BytesIO(archive)) as package:
        program.write_bytes(_unpacked(package, "chromium.br"))
        for name, where in (("swiftshader.tar.br", ""), ("al2023.tar.br", ""), ("fonts.tar.br", "fonts")):
            with tarfile.open(fileobj=io.BytesIO(_unpacked(package, name))) as inner:
                inner.extractall(folder / where, filter="data")
    program.chmod(0o755)
    (folder / "fonts" / "fonts.conf").write_text(FONTS.format(folder=(folder / "fonts").resolve()))
    (folder / "version").write_text(VERSION)
    return program


def _unpacked(package: tarfile.TarFile, name: str) -> bytes:
    file = package.extractfile(f"package/bin/{name}")
    assert file is not None
    return brotli.decompress(file.read())


if __name__ == "__main__":
    try:
        print(install(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER))
    except (InputError, OSError) as error:
        sys.exit(f"error: no browser to test pages with: {error}")
