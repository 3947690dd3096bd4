"""From a folder of images and labels to a manifest."""

from custom_components.starting.label_names import find_label_names, read_label_names
from custom_components.starting.manifest_writing import write_manifest
from custom_components.starting.pairing import Found, Pair, find_pairs
from custom_components.starting.understand import understand_folder
from custom_components.starting.understanding import Understanding, format_understanding

__all__ = [
    "Found",
    "Pair",
    "Understanding",
    "find_label_names",
    "find_pairs",
    "format_understanding",
    "read_label_names",
    "understand_folder",
    "write_manifest",
]
