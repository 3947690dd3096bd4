"""`multijoint package`, `inspect` and `adapt`: their arguments; the work is done elsewhere, when they run."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable
from pathlib import Path

from multijoint.cli.presenting import record

__all__ = ["add_sharing"]


def add_sharing(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the three commands.

    Args:
        add: makes the parser of a command from its name, the function that runs it, `help` and `example`.
    """
    package = add(
        "package",
        _package,
        help="make a bundle with weights that runs on its own: a folder, and a zip for a model zoo",
        example="multijoint package bundles/multijoint_mr_bone_segmentation --checkpoint runs/x/model.pt --out dist",
    )
    package.add_argument("bundle", type=Path, metavar="BUNDLE", help="a folder of bundles/")
    package.add_argument("--checkpoint", type=Path, required=True, metavar="FILE", help="model.pt of a training run")
    package.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where folder and zip go")
    package.add_argument("--evaluation", type=Path, metavar="FOLDER", help="with summary.csv, for the model card")
    package.add_argument("--domain", metavar="NAME", help="default domain (default: the first)")
    package.add_argument("--single", metavar="NAME", help="take only this domain of a model of several")
    package.add_argument(
        "--fold", action="store_true", help="fold the norms of a single domain into the convolutions: smaller, faster"
    )
    package.add_argument("--weights-url", metavar="URL", help="where models/ will be; leave it out of the zip")
    package.add_argument(
        "--int8",
        type=Path,
        nargs="+",
        default=[],
        metavar="MANIFEST",
        help="add int8 networks, calibrated on these data sets, if Dice on unseen people falls by at most 0.1 points",
    )
    package.add_argument("--dataset-dir", type=Path, metavar="FOLDER", help="where the manifests' paths start")

    inspect = add(
        "inspect",
        _inspect,
        help="look into a foreign bundle without running anything of it",
        example="multijoint inspect bundle.zip",
    )
    inspect.add_argument("bundle", type=Path, metavar="BUNDLE", help="a folder or a zip")

    adapt = add(
        "adapt",
        _adapt,
        help="add a data set to a trained model: a norm and a head of its own, from one subject on",
        example="multijoint adapt --bundle dist/multijoint_mr_bone_segmentation --manifest knee.yaml --out runs/knee",
    )
    adapt.add_argument("--bundle", type=Path, required=True, metavar="BUNDLE", help="folder, zip, or a run's model.pt")
    adapt.add_argument("--manifest", type=Path, required=True, metavar="FILE", help="of the new data set")
    adapt.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="the new run's folder")
    adapt.add_argument("--dataset-dir", type=Path, metavar="FOLDER", help="where the manifest's paths start")
    adapt.add_argument(
        "--freeze",
        default="shared",
        choices=["shared", "none"],
        help="shared trains the new norm and head only; none trains everything (default shared)",
    )
    adapt.add_argument("--like", metavar="DOMAIN", help="whose norms the new one starts from")
    adapt.add_argument(
        "--set", dest="settings", nargs="+", default=[], metavar="NAME=VALUE", help="settings of train.yaml"
    )
    adapt.add_argument("--trust", action="store_true", help="also take a bundle that inspect calls unsafe")


def _package(options: argparse.Namespace) -> None:
    from multijoint.sharing import package

    paths = package(
        options.bundle,
        checkpoint=options.checkpoint,
        out=options.out,
        domain=options.domain,
        single=options.single,
        fold=options.fold,
        evaluation=options.evaluation,
        weights_url=options.weights_url,
        int8=options.int8,
        dataset_dir=options.dataset_dir,
    )
    record(written=paths)
    for path in paths:
        print(path)


def _inspect(options: argparse.Namespace) -> None:
    from multijoint.cli.inspect import inspect_bundle

    inspect_bundle(options.bundle)


def _adapt(options: argparse.Namespace) -> None:
    from multijoint.cli.adapt import adapt
    from multijoint.sharing import open_bundle

    with contextlib.ExitStack() as stack:
        model = options.bundle
        if model.suffix != ".pt":
            model = stack.enter_context(open_bundle(model, trust=options.trust))
        adapt(
            model,
            manifest=options.manifest,
            out=options.out,
            freeze=options.freeze,
            like=options.like,
            dataset_dir=options.dataset_dir,
            settings=options.settings,
        )
