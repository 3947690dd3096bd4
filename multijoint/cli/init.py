"""`multijoint init`."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from multijoint.cli.commands import Commands
from multijoint.cli.presenting import record

__all__ = ["add_command"]


def add_command(commands: Commands) -> None:
    """Add the command and its arguments."""
    parser = commands.add(
        "init",
        _init,
        help="find the images and labels of a folder, show what was understood, and write a manifest",
        example="multijoint init knee --domain knee --out knee/knee.yaml",
        more="Understood are nnU-Net, Medical Segmentation Decathlon, BIDS with labels in derivatives, labels beside "
        "the images (_seg, -label, _mask), folders of images and labels, a folder for each case, and corrected results "
        "of multijoint segment. Nothing in the folder is changed.",
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="searched with the folders below")
    parser.add_argument(
        "--domain", required=True, metavar="NAME", help="what a trained network will call this data set"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="the manifest (default manifest.yaml in the folder)")
    parser.add_argument("--overwrite", action="store_true", help="replace a manifest; its names of labels are kept")
    parser.add_argument("--images", default="*", metavar="PATTERN", help="only images called so, e.g. '*_T1w*'")
    parser.add_argument("--labels", default="*", metavar="PATTERN", help="only labels called so, e.g. '*_reader1*'")
    parser.add_argument(
        "--names",
        type=Path,
        metavar="FILE",
        help="names of the label values: dataset.json, dseg.tsv, .ctbl of 3D Slicer, label descriptions of ITK-SNAP",
    )
    parser.add_argument(
        "--plane", choices=["sagittal", "coronal", "axial"], help="acquisition plane (default: as the spacing tells)"
    )
    parser.add_argument("--modality", default="MR", metavar="TEXT", help="e.g. 'MR, T1-weighted' (default MR)")
    parser.add_argument("--licence", default="not stated", metavar="TEXT", help="of the data; a shared model names it")
    parser.add_argument("--source", default="not stated", metavar="TEXT", help="where the data come from")
    parser.add_argument(
        "--scans", type=Path, nargs="+", default=[], metavar="SCAN", help="what results in FOLDER were segmented from"
    )
    parser.add_argument("--all", action="store_true", help="take results in FOLDER that nobody has corrected, too")


def _init(options: argparse.Namespace) -> None:
    import shlex

    from multijoint.discovery import find_dataset, format_dataset, write_manifest
    from multijoint.running import find_bundle

    found, manifest = find_dataset(
        options.folder,
        scans=options.scans,
        images=options.images,
        labels=options.labels,
        names=options.names,
        plane=options.plane,
        everything=options.all,
        manifest=options.out,
    )
    print(format_dataset(found))
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
