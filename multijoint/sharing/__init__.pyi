from .inspection import inspect_bundle, open_bundle
from .packaging import MOST_FALL, measure_int8, package, quantise_model, write_networks
from .shipped_models import find_shipped, shipped_models

__all__ = [
    "MOST_FALL",
    "find_shipped",
    "inspect_bundle",
    "measure_int8",
    "open_bundle",
    "package",
    "quantise_model",
    "shipped_models",
    "write_networks",
]
