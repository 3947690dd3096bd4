"""First steps and checks of a workflow that a bundle configuration describes."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
