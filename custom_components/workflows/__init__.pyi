from .begin import begin, select_device
from .packaged import checked_datasets, identify, new_folder, publish
from .settings import check_settings

__all__ = ["begin", "check_settings", "checked_datasets", "identify", "new_folder", "publish", "select_device"]
