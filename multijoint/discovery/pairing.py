"""Pairs of images and labels among the files of a folder, by their names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from custom_components.io.formats import SEGMENTATION, case_id, is_volume
from custom_components.system.terminal import count

_LABEL_WORDS = frozenset(
    (
        *("seg", "dseg", "segmentation", "segmentations", "label", "labels", "labelmap", "labelmaps", "lbl"),
        *("mask", "masks", "gt", "groundtruth", "annotation", "annotations", "manual", "reference", "references"),
        *("labelstr", "labelsts"),
    )
)
_IMAGE_WORDS = frozenset(
    ("image", "images", "img", "imgs", "scan", "scans", "volume", "volumes", "imagestr", "imagests", "0000")
)
_CORRECTED_WORDS = frozenset(("correction", "corrections", "corrected"))
_SILENT_WORDS = frozenset(["derivatives", *_LABEL_WORDS, *_IMAGE_WORDS, *_CORRECTED_WORDS])
_DEPTH = 8  # nested folders


@dataclass(frozen=True)
class Pair:
    """An image and its label, as paths below the folder.

    Args:
        image: relative path.
        label: relative path; `None` if there is only a corrected one.
        correction: relative path of a label map in a folder of corrections.
        key: common part of both paths: folders, then words of the file name.
    """

    image: str
    label: str | None
    correction: str | None
    key: tuple[str, ...]


@dataclass(frozen=True)
class Pairing:
    """The pairs of a folder.

    Args:
        layout: of the folder, in words.
        pairs: sorted by the path of the image.
        unused: relative path of a file in no pair -> reason.
    """

    layout: str
    pairs: tuple[Pair, ...]
    unused: dict[str, str] = field(default_factory=dict)


def find_pairs(folder: Path, *, images: str = "*", labels: str = "*") -> Pairing:
    """Pair the images of a folder with their labels by their names, in any of the usual layouts.

    A file is a label if its name has a word such as `seg`, `label` or `mask`, or else if the nearest folder with such a
    word or one such as `image` says so. These words are then removed from names and folders, and files with the same
    remainder make a pair (`imagesTr/a_0000` and `labelsTr/a`; `a/image` and `a/label`). In a BIDS folder only the path
    from `sub-` on counts. The files left over are paired within their folder if one name begins with the other, or if
    the folder holds one image and one label. A file that fits several others stays unpaired.

    Args:
        folder: searched with its subfolders, except hidden files and folders.
        images: pattern (`*_T1w*`) that the file name of an image must fit.
        labels: pattern that the file name of a label must fit.

    Returns:
        The pairs, and every other volume with a reason.
    """
    unused: dict[str, str] = {}
    sides: dict[str, list[str]] = {"image": [], "label": [], "correction": []}
    for path in _volumes(folder):
        kind = _kind_of(path)
        name = PurePosixPath(path).name
        if not fnmatch(name, images if kind == "image" else labels):
            unused[path] = f"does not fit --{'images' if kind == 'image' else 'labels'}"
        else:
            sides[kind].append(path)
    matched, no_image = _match(sides["image"], sides["label"], unused)
    corrected, strange = _match(sides["image"], sides["correction"], {})
    unused |= {path: "no image of that name" for path in (*no_image, *strange) if path not in unused}
    pairs = [
        Pair(image, matched.get(image), corrected.get(image), _key(image))
        for image in sides["image"]
        if image in matched or image in corrected
    ]
    paired = {pair.image for pair in pairs}
    unused |= {image: "no label" for image in sides["image"] if image not in paired and image not in unused}
    return Pairing(_name_layout(pairs), tuple(pairs), dict(sorted(unused.items())))


def _volumes(folder: Path) -> list[str]:
    found = []
    for path in folder.rglob("*"):
        parts = path.relative_to(folder).parts
        hidden = any(part.startswith(".") for part in parts)
        if is_volume(path) and not hidden and len(parts) <= _DEPTH and path.is_file():
            found.append("/".join(parts))
    return sorted(found)


def _words(text: str) -> list[str]:
    return [word for word in re.split(r"[_\-. ]+", text) if word]


def _kind_of(path: str) -> str:
    *folders, name = path.split("/")
    stem = {word.lower() for word in _words(case_id(name))}
    around = [{word.lower() for word in _words(part)} for part in reversed(folders)]
    if any(words & _CORRECTED_WORDS for words in (stem, *around)):
        return "correction"
    if stem & _LABEL_WORDS or name.lower().endswith(SEGMENTATION):
        return "label"
    telling = next((words for words in around if words & (_LABEL_WORDS | _IMAGE_WORDS)), set())
    return "label" if telling & _LABEL_WORDS and not stem & (_IMAGE_WORDS - {"0000"}) else "image"


def _folders(path: str) -> tuple[str, ...]:
    folders = path.split("/")[:-1]
    subject = next((place for place, part in enumerate(folders) if part.startswith("sub-")), 0)
    kept = ("_".join(word for word in _words(part) if word.lower() not in _SILENT_WORDS) for part in folders[subject:])
    return tuple(part for part in kept if part)


def _stem(path: str) -> tuple[str, ...]:
    return tuple(word for word in _words(case_id(path.split("/")[-1])) if word.lower() not in _SILENT_WORDS)


def _key(path: str) -> tuple[str, ...]:
    return (*_folders(path), *_stem(path))


def _match(images: Sequence[str], labels: Sequence[str], unused: dict[str, str]) -> tuple[dict[str, str], list[str]]:
    """Label of each image that has one, and the labels left over; ambiguous files go to `unused`."""
    matched: dict[str, str] = {}
    by_key: dict[tuple[str, ...], tuple[list[str], list[str]]] = {}
    for side, paths in enumerate((images, labels)):
        for path in paths:
            by_key.setdefault(_key(path), ([], []))[side].append(path)
    free_images, free_labels = set(images), set(labels)
    for some_images, some_labels in by_key.values():
        if some_images and some_labels:
            free_images -= set(some_images)
            free_labels -= set(some_labels)
            if len(some_images) == len(some_labels) == 1:
                matched[some_images[0]] = some_labels[0]
            else:
                option = "--images" if len(some_images) > 1 else "--labels"
                several = f"{count(len(some_images), 'image')} and {count(len(some_labels), 'label')}"
                reason = f"{several} of one name: choose with {option}"
                unused |= dict.fromkeys((*some_images, *some_labels), reason)
    begins = {label: _beginning_alike(label, free_images) for label in sorted(free_labels)}
    for label, image in begins.items():
        if image is not None and list(begins.values()).count(image) == 1:
            matched[image] = label
    free_images -= set(matched)
    free_labels -= set(matched.values())
    for folders in {_folders(label) for label in free_labels}:
        near = [image for image in free_images if _folders(image) == folders]
        own = [label for label in free_labels if _folders(label) == folders]
        if folders and len(near) == len(own) == 1:
            matched[near[0]] = own[0]
            free_labels.discard(own[0])
        elif folders and own and near:
            several = f"{count(len(near), 'image')} and {count(len(own), 'label')}"
            reason = f"{several} in its folder: choose with --images or --labels"
            unused |= dict.fromkeys((*near, *own), reason)
    return matched, sorted(free_labels)


def _beginning_alike(label: str, images: Iterable[str]) -> str | None:
    """The image in the label's folder if exactly one has a name that begins the label's name, or the reverse."""
    own = _stem(label)
    fits = [
        image
        for image in images
        if _folders(image) == _folders(label)
        and min(len(own), len(_stem(image))) > 0
        and all(first == second for first, second in zip(own, _stem(image), strict=False))
    ]
    return fits[0] if len(fits) == 1 else None


def _name_layout(pairs: Sequence[Pair]) -> str:
    if not pairs:
        return "no images with labels"
    image, label = pairs[0].image, pairs[0].label or pairs[0].correction or ""
    tops = {image.split("/")[0].lower(), label.split("/")[0].lower()}
    if any(re.match(r"sub-[^/]+/", pair.image) for pair in pairs):
        return "BIDS, labels in derivatives" if label.startswith("derivatives/") else "BIDS"
    if tops == {"imagestr", "labelstr"}:
        return "nnU-Net" if case_id(image).endswith("_0000") else "Medical Segmentation Decathlon"
    if PurePosixPath(image).parent == PurePosixPath(label).parent:
        own_folder = len({PurePosixPath(pair.image).parent for pair in pairs}) == len(pairs) and "/" in image
        return "a folder for each case" if own_folder else "labels next to the images"
    return f"images in {PurePosixPath(image).parent}, labels in {PurePosixPath(label).parent}"
