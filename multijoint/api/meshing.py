"""Surfaces of the bones of label maps."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

__all__ = ["meshing"]


@contextlib.contextmanager
def meshing(output_dir: Path, format: str | None) -> Iterator[None]:
    """Make meshes of what was segmented meanwhile; also of what could be, if not all scans could.

    Args:
        output_dir: of the segmentation, with its `segment_report.csv` at the end.
        format: of the meshes; `None` makes none.

    Raises:
        InputError: no meshes can be made, which is found out first; or some could not, after the others were written.
    """
    if format is None:
        yield
        return
    from custom_components.errors import InputError, explain
    from custom_components.inference.report import REPORT

    from multijoint.clinic import check_meshing

    check_meshing(output_dir, format=format)
    report = output_dir / REPORT
    before = _state(report)
    failure: InputError | None = None
    try:
        yield
    except InputError as error:
        if _state(report) == before:
            raise
        failure = error
    try:
        _mesh_all(_segmented(report), format=format, output_dir=output_dir)
    except InputError as error:
        raise InputError("; ".join(explain(each) for each in (failure, error) if each)) from error
    if failure is not None:
        raise failure


def _mesh_all(cases: Mapping[str, Path], *, format: str, output_dir: Path) -> None:
    from custom_components.errors import InputError, explain, list_first

    from multijoint.clinic import mesh_case

    failed = []
    for case, path in cases.items():
        try:
            meshed = mesh_case(path, case=case, format=format, output_dir=output_dir)
        except InputError as error:
            failed.append(explain(error))
            continue
        parts = {"meshed": meshed.found, "cut by the field of view": meshed.cut, "missing": meshed.missing}
        print(f"{case}: " + "; ".join(f"{what} {', '.join(names)}" for what, names in parts.items() if names))
    if failed:
        raise InputError(f"{len(failed)} of {len(cases)} label maps could not be meshed: {list_first(failed)}")


def _segmented(report: Path) -> dict[str, Path]:
    from custom_components.inference.report import read_report

    from multijoint.clinic import find_label_maps

    done = [row for row in read_report(report) if row["status"] in ("written", "skipped")]
    return find_label_maps([report.parent / row["output"] for row in done])


def _state(path: Path) -> tuple[int, int] | None:
    """Changes when the file is written anew."""
    if not path.exists():
        return None
    status = path.stat()
    return status.st_ino, status.st_mtime_ns
