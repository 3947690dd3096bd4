"""One segmentation network trained on several small MR data sets, as components of MONAI bundles.

Import from the modules (`custom_components.networks.unet`, ...): this file stays empty so that
the command line starts fast and a bundle loads only the modules that its configuration names.
"""

__version__ = "0.6.0"
