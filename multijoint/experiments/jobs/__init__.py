"""The jobs of an experiment: methods, plans, their execution, and the rows gathered from them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
