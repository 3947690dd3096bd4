"""Speed and memory against peers, measured in the same run: `multijoint bench`."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
