"""Bundles for others: packaged, inspected before they are used, and adapted to new data sets."""

from multijoint.sharing.inspection.inspection import inspect_bundle, open_bundle
from multijoint.sharing.packaging.held_out import MOST_FALL
from multijoint.sharing.packaging.int8_networks import measure_int8, quantise_model, write_networks
from multijoint.sharing.packaging.packaging import package

__all__ = ["MOST_FALL", "inspect_bundle", "measure_int8", "open_bundle", "package", "quantise_model", "write_networks"]
