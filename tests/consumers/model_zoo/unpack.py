"""Unpack the zip of a packaged bundle as a stranger would, and write down its declared requirements.

Needs the standard library alone, for there is no environment yet.
"""

import argparse
import hashlib
import json
import re
import shutil
import zipfile
from pathlib import Path


def main() -> None:
    """Write the bundle's folder and `requirements.txt` into a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path, metavar="dist/NAME", help="NAME_v<version>.zip lies next to it")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    bundle = options.bundle.resolve()
    archives = sorted(bundle.parent.glob(f"{bundle.name}_v*.zip"))
    if len(archives) != 1:
        raise SystemExit(f"red: {bundle.name} must have one zip next to it, got {[each.name for each in archives]}")
    with zipfile.ZipFile(archives[0]) as archive:
        roots = {name.split("/")[0] for name in archive.namelist()}
        if roots != {bundle.name}:
            raise SystemExit(f"red: the zip must hold the folder {bundle.name} alone, got {sorted(roots)}")
        archive.extractall(options.out)
    folder = options.out / bundle.name
    fetch_large_files(folder, bundle)
    metadata = json.loads((folder / "configs" / "metadata.json").read_text())
    if archives[0].name != f"{bundle.name}_v{metadata['version']}.zip":
        raise SystemExit(f"red: the zip must carry the version {metadata['version']}, got {archives[0].name}")
    (options.out / "requirements.txt").write_text("".join(f"{each}\n" for each in requirements(metadata)))


def requirements(metadata: dict) -> list[str]:
    """The requirements of the metadata, as pip reads them; a version without an operator means exactly this one."""
    versions = {"monai": metadata["monai_version"], "torch": metadata["pytorch_version"]}
    versions |= {"numpy": metadata["numpy_version"]} | metadata["required_packages_version"]
    return [f"{name}{version}" if version[0] in "<>=!~" else f"{name}=={version}" for name, version in versions.items()]


def fetch_large_files(folder: Path, bundle: Path) -> None:
    """Stand in for the download: take the files of `large_files.yml` from the folder next to the zip, by digest."""
    listing = folder / "large_files.yml"
    if not listing.is_file():
        return
    text = listing.read_text()
    paths = re.findall(r"path: *\"?([^\s\"]+)", text)
    digests = re.findall(r"hash_val: *\"?([0-9a-f]{64})", text)
    if not paths or len(paths) != len(digests):
        raise SystemExit(f"red: every file of large_files.yml must have a path and a SHA-256, got {paths}")
    for path, digest in zip(paths, digests, strict=True):
        data = (bundle / path).read_bytes()
        if hashlib.sha256(data).hexdigest() != digest:
            raise SystemExit(f"red: {path} must have the digest of large_files.yml, got another file")
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(bundle / path, folder / path)


if __name__ == "__main__":
    main()
