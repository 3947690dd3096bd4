"""Bundles for others: packaged, inspected before they are used, and adapted to new data sets."""

from custom_components.sharing.adapting import adapt_model
from custom_components.sharing.inspection import inspect_bundle, open_bundle
from custom_components.sharing.packaging import package

__all__ = ["adapt_model", "inspect_bundle", "open_bundle", "package"]
