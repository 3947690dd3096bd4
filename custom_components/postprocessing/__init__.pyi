from .closing import spherical_closing
from .components import component_sizes, largest_component
from .transforms import KeepLargestComponentd, SphericalClosingd, default_steps

__all__ = [
    "KeepLargestComponentd",
    "SphericalClosingd",
    "component_sizes",
    "default_steps",
    "largest_component",
    "spherical_closing",
]
