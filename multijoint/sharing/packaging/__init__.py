"""Stand-alone bundles made from trained models: code, configurations, weights, exports and documents."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
