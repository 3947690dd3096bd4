"""Volumes and label maps in and out of files, their geometry, and the records of results."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
