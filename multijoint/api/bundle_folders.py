"""Where the project's own bundles are: in an installed package, or in the repository."""

from __future__ import annotations

from pathlib import Path

from custom_components.errors import InputError

__all__ = ["JOINT_BUNDLE", "find_bundle"]

JOINT_BUNDLE = "multijoint_mr_bone_segmentation"


def find_bundle(name: str = JOINT_BUNDLE) -> Path:
    """Folder of one of the project's bundles.

    Raises:
        InputError: it is not there.
    """
    package = Path(__file__).parents[1]
    for folder in (package / "bundles", package.parent / "bundles"):
        if (folder / name).is_dir():
            return folder / name
    raise InputError(f"the bundle {name} must be installed with the package, got none; reinstall multijoint")
