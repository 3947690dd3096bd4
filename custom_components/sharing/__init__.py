"""Bundles for others: packaged, inspected before they are used, and adapted to new data sets."""

from custom_components.sharing.adapting import adapt_model
from custom_components.sharing.held_out import MOST_FALL
from custom_components.sharing.inspection import inspect_bundle, open_bundle
from custom_components.sharing.int8_networks import measure_int8, quantise_model, write_networks
from custom_components.sharing.packaging import package

__all__ = [
    "MOST_FALL",
    "adapt_model",
    "inspect_bundle",
    "measure_int8",
    "open_bundle",
    "package",
    "quantise_model",
    "write_networks",
]
