from .closing import spherical_closing
from .components import component_sizes, largest_component
from .rows import find_row, name_in_order
from .transforms import KeepLargestComponentd, NameInOrderd, SphericalClosingd, default_steps

__all__ = [
    "KeepLargestComponentd",
    "NameInOrderd",
    "SphericalClosingd",
    "component_sizes",
    "default_steps",
    "find_row",
    "largest_component",
    "name_in_order",
    "spherical_closing",
]
