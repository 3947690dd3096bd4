"""`multijoint init`."""

from pathlib import Path
from typing import Any

from multijoint.cli.commands import command, dataset_dir, flag, out_path, path, text
from multijoint.cli.presenting import record


@command(
    path("folder", "FOLDER", "searched with the folders below"),
    text("--domain", "NAME", "what a trained network will call this data set", required=True),
    out_path("FILE", "the manifest (default manifest.yaml in the folder)"),
    dataset_dir("where its paths start (default next to the manifest, or the folder if --out is elsewhere)"),
    flag("--overwrite", "replace a manifest; its names of labels are kept"),
    text("--images", "PATTERN", "only images called so, e.g. '*_T1w*'", default="*"),
    text("--labels", "PATTERN", "only labels called so, e.g. '*_reader1*'", default="*"),
    path(
        "--names",
        "FILE",
        "names of the label values: dataset.json, dseg.tsv, .ctbl or .seg.nrrd of 3D Slicer, .label of ITK-SNAP",
    ),
    text(
        "--plane", None, "acquisition plane (default: as the spacing tells)", choices=["sagittal", "coronal", "axial"]
    ),
    text("--modality", "TEXT", "e.g. 'MR, T1-weighted' (default MR)", default="MR"),
    text("--licence", "TEXT", "of the data; a shared model names it", default="not stated"),
    text("--source", "TEXT", "where the data come from", default="not stated"),
    path("--scans", "SCAN", "what results in FOLDER were segmented from", nargs="+", default=[]),
    flag("--all", "take results in FOLDER that nobody has corrected, too", dest="everything"),
    example="multijoint init knee --domain knee --out knee/knee.yaml",
)
def init(folder: Path, domain: str, out: Path | None, dataset_dir: Path | None, overwrite: bool, **given: Any) -> None:
    """Find the images and labels of a folder, show what was understood, and write a manifest.

    Understood are nnU-Net, Medical Segmentation Decathlon, BIDS with labels in derivatives, labels next to the images
    (_seg, -label, _mask), folders of images and labels, a folder for each case, and corrected results of multijoint
    segment. Nothing in the folder is changed.
    """
    import shlex

    from multijoint.discovery import find_dataset, format_dataset, write_manifest

    described = {name: given.pop(name) for name in ("modality", "licence", "source")}
    found, manifest = find_dataset(folder, manifest=out, **given)
    print(format_dataset(found))
    record(
        layout=found.layout,
        cases=[{"name": case.name, "subject": case.subject} for case in found.cases],
        unused=dict(found.unused),
        labels={str(value): name for value, name in found.names.items()},
        names_from=found.names_from,
        no_bones={str(value): reason for value, reason in found.no_bones.items()},
        notes=list(found.notes),
        plane=found.plane,
        written=[],
    )
    beside = manifest.parent.absolute() in folder.absolute().parents or manifest.parent.absolute() == folder.absolute()
    if dataset_dir is None and out is not None and not beside:
        dataset_dir = folder
    write_manifest(manifest, found, domain=domain, dataset_dir=dataset_dir, overwrite=overwrite, **described)
    record(written=[manifest])
    name = shlex.quote(str(manifest))
    where = "" if dataset_dir is None else f" --dataset-dir {shlex.quote(str(dataset_dir))}"
    print(f"\n{manifest} is written. Next:")
    print(f"  multijoint check {name}{where} --out check")
    print(f"  multijoint train {name}{where} --fold 0 --out runs/{domain}")
