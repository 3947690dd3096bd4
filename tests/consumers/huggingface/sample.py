"""A small folder laid out as `multijoint package` does, and ways to spoil it: the rules must see each."""

import hashlib
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import torch

NAME = "sample_mr_bone_segmentation"
LICENSE = Path(__file__).resolve().parents[3] / "LICENSE"


def write_sample(folder: Path) -> None:
    """Write the folder; its model is two tensors."""
    for part in ("configs", "docs", "models", "custom_components"):
        (folder / part).mkdir(parents=True)
    (folder / "LICENSE").write_bytes(LICENSE.read_bytes())
    (folder / "docs/data_license.txt").write_text("phantoms: CC0\n")
    (folder / "docs" / "README.md").write_text("# Sample\n\nNot a model. See [MONAI](https://monai.io).\n")
    (folder / "configs" / "metadata.json").write_text(json.dumps({"version": "0.1.0", "changelog": {"0.1.0": "first"}}))
    (folder / "configs" / "inference.json").write_text("{}\n")
    (folder / "custom_components" / "__init__.py").write_text('"""Empty."""\n')
    torch.save({"weight": torch.zeros(8), "bias": torch.ones(8)}, folder / "models" / "model.pt")
    write_checksums(folder)


def write_checksums(folder: Path) -> None:
    """Write `checksums.sha256` anew."""
    path = folder / "checksums.sha256"
    path.unlink(missing_ok=True)
    lines = [
        f"{hashlib.sha256(each.read_bytes()).hexdigest()}  {each.relative_to(folder).as_posix()}\n"
        for each in sorted(folder.rglob("*"))
        if each.is_file()
    ]
    path.write_text("".join(lines))


def _archive(folder: Path) -> None:
    with zipfile.ZipFile(folder / "models" / "model.ts", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model/code/debug.pkl", b"/home/somebody/networks.py" * 9)


# The damage, and a part of the fault that must be named.
SPOILS: list[tuple[Callable[[Path], object], str]] = [
    (lambda folder: (folder / "LICENSE").unlink(), "LICENSE: missing"),
    (lambda folder: (folder / "models" / "model.pt").unlink(), "neither there nor in large_files.yml"),
    (lambda folder: (folder / "docs" / "README.md").write_text("---\nlicense: mit\n---\n# x\n"), "metadata of its own"),
    (lambda folder: (folder / "docs" / "README.md").write_text("text\n"), "no title"),
    (lambda folder: (folder / "docs" / "README.md").write_text("# x\n[y](RESULTS.md)\n"), "the link RESULTS.md breaks"),
    (lambda folder: (folder / "README.md").write_text("# x\n"), "would overwrite it"),
    (lambda folder: (folder / "token.txt").write_text("hf_" + "a" * 34), "token.txt: a secret"),
    (lambda folder: (folder / "notes.txt").write_text("from /home/somebody/data"), "path of its maker, /home/somebody"),
    (_archive, "model.ts, model/code/debug.pkl: a path of its maker"),
    (lambda folder: (folder / "custom_components" / "a.pyc").write_text(""), "a.pyc: a cache"),
    (lambda folder: (folder / "link").symlink_to("LICENSE"), "link: a link"),
    (lambda folder: (folder / "configs" / "metadata.json").write_text('{"version": "new"}'), "'new' is no tag"),
]
