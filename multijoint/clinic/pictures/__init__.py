"""Segmentations drawn over their scans, and the legend of names and colours."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
