"""The code that a packaged bundle carries: every module of `custom_components` that its configurations reach."""

from __future__ import annotations

from pathlib import Path

import custom_components

SHIPPED = {
    "": "distributed domains errors label_maps losses",
    "data": "augmentation cases channels datasets layouts manifests preprocessing sampling scans sides splits "
    "typicality",
    "inference": "domain_fit engine flagged inferers int8 items loaders networks openvino_runtime "
    "probability_maps report results transforms views",
    "io": "binary_headers formats geometry label_files label_names library_voxels metaimage_headers nifti_files "
    "nifti_headers nifti_voxels nrrd_headers pictures planes probability_maps raster raster_files records "
    "segment_layers values volumes",
    "metrics": "bone_scores evaluation nearest_voxels score_summaries score_tables surface_distances",
    "models": "checkpoints digests ensembles pickled_files seen tensor_files trained_model",
    "networks": "arguments blocks first_convolutions folding forwards heads joined_norms means norms parameters "
    "synchronised_norms unet",
    "postprocessing": "closing components rows transforms",
    "quality": "calibration expected_dice flags tables",
    "system": "colours files folders freed_memory locks number_formats terminal termination threads",
    "training": "averaging batches epoch_log fold_epochs handlers interruption model_quality norm_statistics planning "
    "precision preemption resuming run_lock runs schedules slice_sizes state step_timing tracking validation",
    "workflows": "begin monai_workarounds packaged settings",
}
"""Modules by package, "" for `custom_components` itself; the face of each package, `__init__`, goes with them.

A test follows the imports from the configurations and names modules that are missing here or not needed.
A face may name a module that is left out, for it imports a module only when a name of it is asked for.
"""


def shipped_code() -> dict[str, bytes]:
    """Content of the Python files of a packaged bundle, by their paths in it."""
    root = Path(custom_components.__file__).parent
    files: dict[str, bytes] = {}
    for package, modules in SHIPPED.items():
        names = [f"{module}.py" for module in ("__init__", *modules.split())]
        if package:
            names.append("__init__.pyi")  # which lazy_loader reads when the package is imported
        for name in names:
            path = root / package / name
            files[path.relative_to(root.parent).as_posix()] = path.read_bytes()
    return files
