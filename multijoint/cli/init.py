"""`multijoint init`: from a folder of images and labels to a manifest."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path

from multijoint.cli.presenting import record

__all__ = ["add_init"]


def add_init(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the command.

    Args:
        add: makes the parser of a command from its name, the function that runs it, `help` and `example`.
    """
    init = add(
        "init",
        _init,
        help="find the images and labels of a folder, show what was understood, and write a manifest",
        example="multijoint init knee --domain knee --out knee/knee.yaml",
        more="Understood are nnU-Net, Medical Segmentation Decathlon, BIDS with labels in derivatives, labels beside "
        "the images (_seg, -label, _mask), folders of images and labels, a folder for each case, and corrected results "
        "of multijoint segment. Nothing in the folder is changed.",
    )
    init.add_argument("folder", type=Path, metavar="FOLDER", help="searched with the folders below")
    init.add_argument("--domain", required=True, metavar="NAME", help="what a trained network will call this data set")
    init.add_argument("--out", type=Path, metavar="FILE", help="the manifest (default manifest.yaml in the folder)")
    init.add_argument("--overwrite", action="store_true", help="replace a manifest; its names of labels are kept")
    init.add_argument("--images", default="*", metavar="PATTERN", help="only images called so, e.g. '*_T1w*'")
    init.add_argument("--labels", default="*", metavar="PATTERN", help="only labels called so, e.g. '*_reader1*'")
    init.add_argument(
        "--names",
        type=Path,
        metavar="FILE",
        help="names of the label values: dataset.json, dseg.tsv, .ctbl of 3D Slicer, label descriptions of ITK-SNAP",
    )
    init.add_argument(
        "--plane", choices=["sagittal", "coronal", "axial"], help="acquisition plane (default: as the spacing tells)"
    )
    init.add_argument("--modality", default="MR", metavar="TEXT", help="e.g. 'MR, T1-weighted' (default MR)")
    init.add_argument("--licence", default="not stated", metavar="TEXT", help="of the data; a shared model names it")
    init.add_argument("--source", default="not stated", metavar="TEXT", help="where the data come from")
    init.add_argument(
        "--scans", type=Path, nargs="+", default=[], metavar="SCAN", help="what results in FOLDER were segmented from"
    )
    init.add_argument("--all", action="store_true", help="take results in FOLDER that nobody has corrected, too")


def _init(options: argparse.Namespace) -> None:
    import shlex

    from multijoint.discovery import format_understanding, understand_folder, write_manifest
    from multijoint.running import find_bundle

    found, manifest = understand_folder(
        options.folder,
        scans=options.scans,
        images=options.images,
        labels=options.labels,
        names=options.names,
        plane=options.plane,
        everything=options.all,
        manifest=options.out,
    )
    print(format_understanding(found))
    record(
        layout=found.layout,
        cases=[{"name": case.name, "subject": case.subject} for case in found.cases],
        unused=dict(found.unused),
        labels={str(value): name for value, name in found.names.items()},
        names_from=found.names_from,
        plane=found.plane,
        written=[],
    )
    write_manifest(
        manifest,
        found,
        domain=options.domain,
        modality=options.modality,
        licence=options.licence,
        source=options.source,
        overwrite=options.overwrite,
    )
    record(written=[manifest])
    name, bundle = (
        shlex.quote(str(manifest)),
        shlex.quote(min(str(find_bundle()), os.path.relpath(find_bundle()), key=len)),
    )
    listed = _quote(f"['{manifest}']")
    print(f"\n{manifest} is written. Next:")
    print(f"  multijoint check {name} --out check")
    print(f"  python -m monai.bundle run training --config_file {bundle}/configs/train.yaml --bundle_root {bundle} \\")
    print(f"      --manifests {listed} --fold 0 --output_dir runs/{options.domain}")


def _quote(text: str) -> str:
    """For a shell, in double quotes if nothing in it has a meaning there; easier to read than `shlex.quote`."""
    import shlex

    return shlex.quote(text) if set(text) & set('"$`\\!') else f'"{text}"'
