from .folder import find_dataset
from .found_cases import FoundCase, FoundDataset, format_dataset
from .label_names import LabelNames, find_label_names, read_label_names
from .manifest_writing import write_manifest
from .pairing import Pair, Pairing, find_pairs

__all__ = [
    "FoundCase",
    "FoundDataset",
    "LabelNames",
    "Pair",
    "Pairing",
    "find_dataset",
    "find_label_names",
    "find_pairs",
    "format_dataset",
    "read_label_names",
    "write_manifest",
]
