"""Models for others: packaged as bundles, inspected before a foreign one is used, and shipped with this package."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
