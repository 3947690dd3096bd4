"""From a folder of images and labels to a manifest."""

from multijoint.discovery.folder import understand_folder
from multijoint.discovery.found_cases import Understanding, format_understanding
from multijoint.discovery.label_names import find_label_names, read_label_names
from multijoint.discovery.manifest_writing import write_manifest
from multijoint.discovery.pairing import Found, Pair, find_pairs

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
