"""DICOM exams as scans, and label maps as DICOM segmentations."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
