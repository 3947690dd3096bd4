"""Everything around a clinic's scans: DICOM in and out, meshes, pictures, reports and a viewer."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
