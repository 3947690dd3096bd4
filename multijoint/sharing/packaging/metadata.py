"""`configs/metadata.json` of a packaged bundle: requirements, inputs and outputs, filled from the model."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import custom_components
from custom_components.domains import Domain
from custom_components.errors import InputError
from custom_components.models.trained_model import TrainedModel

from multijoint.sharing.packaging.held_out import BoneDice

CHECKSUMS = "checksums.sha256"
PACKAGED_BY = "packaged by multijoint "
_MOST_NAME = 100
_VERSION = r"\d{1,6}(\.\d{1,6}){1,3}([-+.]?[a-zA-Z0-9.]{1,20})?"
_PACKAGES = ("nibabel", "scipy", "scikit-image", "pytorch-ignite", "pyyaml", "fire", "tensorboard", "tqdm")
"""Requirements of the components and of MONAI's command line, in addition to MONAI, PyTorch and NumPy."""


def describe_single(domain: Domain, *, together: str) -> dict[str, str]:
    """Name, task and description of a domain packaged alone, whose network was trained on the domains `together`."""
    *first, last = domain.labels.values()
    bones = f"{', '.join(first)} and {last}" if first else last
    alone = (
        "trained on that data set alone" if together == domain.name else f"of a network trained on {together} together"
    )
    return {
        "name": f"{domain.name.capitalize()} MR bone segmentation",
        "task": f"Segmentation of {bones} in {domain.name} MR",
        "description": f"A 2D U-Net that segments {bones} slice by slice, {alone}.",
    }


def describe_owner(*, name: str | None, version: str | None, author: str | None) -> dict[str, Any]:
    """Entries that are the user's own, as far as they are given.

    The change log of an own version says which release of this project packaged it.

    Raises:
        InputError: a text that is empty, has control characters, or begins like code or a path.
    """
    for what, text in (("name", name), ("author", author)):
        if text is not None and (not text.isprintable() or not re.match(r"[^\s$@%/~\\]", text)):
            raise InputError(f"{what} of a package must be plain text, got {text!r}; correct --{what}")
    found: dict[str, Any] = {} if name is None else {"name": name}
    if version is not None:
        found |= {"version": version, "changelog": {version: f"{PACKAGED_BY}{custom_components.__version__}"}}
    return found if author is None else found | {"authors": author, "copyright": f"Copyright (c) {author}"}


def own_folder_name(name: str) -> str:
    """The name of a package as one word of letters, digits, "_", "-" and "." for its folder and zip.

    Raises:
        InputError: no letter or digit of ASCII is left.

    Example:
        >>> own_folder_name("Hip MR (2 bones)")
        'Hip_MR_2_bones'
    """
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    word = re.sub(r"[^\w.-]+|(?<![a-zA-Z0-9])\.+", "_", plain).strip("_.-")
    if not re.search(r"[a-zA-Z0-9]", word) or len(word) > _MOST_NAME or not name.isprintable():
        rule = f"name of a package must have letters or digits of English and at most {_MOST_NAME} characters"
        raise InputError(f"{rule}, got {name!r}; choose another --name")
    return word


def check_version(version: str | None) -> None:
    """Raise `InputError` for a version that is not of numbers such as 1.0.0."""
    if version is not None and not re.fullmatch(_VERSION, version, re.ASCII):
        raise InputError(f"version of a package must be of numbers such as 1.0.0, got {version!r}; correct --version")


def fill_metadata(
    template: Mapping[str, Any],
    model: TrainedModel,
    *,
    domain: Domain,
    data: Sequence[Mapping[str, Any]],
    scores: Sequence[Mapping[str, Any]],
    int8: Sequence[BoneDice] = (),
) -> dict[str, Any]:
    """The metadata of a bundle with weights.

    Args:
        template: of the bundle without weights.
        model: the packaged model.
        domain: the default domain.
        data: rows of `model_card.data_rows`.
        scores: rows of an evaluation's `summary.csv`; none if there was no evaluation.
        int8: Dice of its int8 networks; none without them.
    """
    versions = model.training.get("versions", {})
    size = list(model.preprocessing.size_of(domain.name))
    over = "slice" if model.preprocessing.normalization == "slice" else "volume"
    common = {"type": "image", "spatial_shape": size, "dtype": "float32", "is_patch_data": False}
    named = {each.name: {0: "background", **each.labels} for each in model.data_sets}
    classes = "; ".join(
        f"{name}: {', '.join(f'{value} {label}' for value, label in labels.items())}" for name, labels in named.items()
    )
    return dict(template) | {
        "version": custom_components.__version__,
        "monai_version": _version("monai", versions),
        "pytorch_version": _version("torch", versions),
        "numpy_version": _version("numpy", versions),
        "required_packages_version": {
            name: _version(name, versions) for name in _PACKAGES if name in versions or _is_installed(name)
        },
        "network_data_format": {
            "inputs": {
                "image": common
                | {
                    "format": "magnitude",
                    "modality": "MR",
                    "num_channels": model.in_channels(domain.name),
                    "value_range": [-10, 10],
                    "channel_def": _describe_channels(
                        model, domain, f"{domain.plane} slice, zero mean and unit variance over the {over}"
                    ),
                }
            },
            "outputs": {
                "pred": common
                | {
                    "format": "segmentation",
                    "num_channels": domain.num_classes,
                    "value_range": [0, 1],
                    "channel_def": {str(index): name for index, name in enumerate(named[domain.name].values())},
                }
            },
        },
        "image_classes": "; ".join(dict.fromkeys(f"{each.name}: {each.modality}" for each in model.data_sets)),
        "label_classes": classes,
        "pred_classes": classes,
        "data_source": "; ".join(f"{row['domain']}: {row['source']}" for row in data) or "not recorded",
        "eval_metrics": {
            f"mean_dice {row['domain']} {row['label']}": float(row["dice_mean"]) for row in scores if row["dice_mean"]
        }
        | {
            f"held_out_dice_{precision} {row.domain} {row.label}": round(value, 6)
            for row in int8
            for precision, value in (("float32", row.float32), ("int8", row.int8))
        },
    }


def _is_installed(package: str) -> bool:
    """Whether the environment has a package; TensorBoard is optional."""
    try:
        return bool(version(package))
    except PackageNotFoundError:
        return False


def _version(package: str, trained_with: Mapping[str, str]) -> str:
    """Version at the training, or else at packaging, without a local suffix such as "+cpu"."""
    return str(trained_with.get(package) or version(package)).split("+")[0]


def _describe_channels(model: TrainedModel, domain: Domain, slices: str) -> dict[str, str]:
    """What each channel of the image holds."""
    settings = model.preprocessing
    around = [_describe_step(step, settings.context_mm) for step in range(-settings.context, settings.context + 1)]
    each = [f"{channel}, {slices}" for channel in domain.channels] or [slices]
    channels = [own + distance for own in each for distance in around]
    if settings.position:
        channels += [f"{axis} coordinate from the volume's centre in dm" for axis in ("row", "column", "slice")]
    return {str(index): channel for index, channel in enumerate(channels)}


def _describe_step(step: int, context_mm: float | str) -> str:
    """Distance of a neighbouring slice; nothing for the slice itself."""
    if step == 0:
        return ""
    distance = f"{step:+d} times a pixel's size" if isinstance(context_mm, str) else f"{step * context_mm:+g} mm"
    return f", {distance} (rounded to whole slices)"
