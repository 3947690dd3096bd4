"""Segmentation of exams: conversion from DICOM, label maps, DICOM SEGs and meshes in one pass."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from custom_components.data.scans import list_scans, scan_of_channels
from custom_components.errors import InputError, explain
from custom_components.inference.domain_fit import channels_of, named_domain
from custom_components.inference.report import REPORT, read_own_report
from custom_components.models.ensembles import load_ensemble
from custom_components.system.terminal import count

from multijoint.api.archives import SHARE, segment_on_cluster
from multijoint.api.dicom_scans import find_scans, write_segs
from multijoint.api.meshing import format_meshed, mesh_cases
from multijoint.api.opening import open_model
from multijoint.api.segmenting import report_version, run_inference
from multijoint.api.zipped_scans import unpacked
from multijoint.clinic.dicom.export import convert_exam
from multijoint.clinic.dicom.seg import check_highdicom
from multijoint.clinic.dicom.series import RULE, format_exam
from multijoint.clinic.meshes.meshing import check_meshing, find_label_maps

_LOG = logging.getLogger(__name__)


def segment_exams(
    paths: Sequence[Path],
    *,
    model: Path | Sequence[Path],
    output_dir: Path,
    domain: str | None = None,
    channels: Mapping[str, Path] | None = None,
    series: str | None = None,
    dicom_seg: bool = False,
    mesh: str | None = None,
    overwrite: bool = False,
    trust: bool = False,
    engine: str = "local",
    address: str | None = None,
    threads: int = 1,
    share: int = SHARE,
    tell: Callable[[Sequence[Mapping[str, str]]], object] = len,
    **settings: Any,
) -> Iterator[str]:
    """Segment volumes and DICOM exams, then write DICOM SEGs and meshes of the label maps.

    Exams are converted to `scans/` in the output folder first. SEGs and meshes are made of whatever could be segmented.

    Args:
        paths: volumes, folders of them, folders of DICOM, or zip files of either.
        model: see `open_model`.
        output_dir: see `segment`.
        domain: of the scans, or "auto"; `None` if the model knows just one.
        channels: file of each channel of one more scan, by the names of the domain's channels.
        series: key or UID of the DICOM series to take.
        dicom_seg: write `<case>_seg.dcm` for scans that came as DICOM.
        mesh: format of the meshes, stl, ply or glb; `None` makes none.
        overwrite: segment finished scans again.
        trust: see `open_model`.
        engine: "local", or "ray" to share out the scans.
        address: of a Ray cluster; see `segment_on_cluster`.
        threads: processor threads of a share.
        share: scans of a share.
        tell: called with the rows of `segment_report.csv` for these scans, also if some could not be segmented.
        settings: as for `segment`.

    Yields:
        Text for the user about each exam that is converted and each case that is meshed.

    Raises:
        InputError: something cannot be used, which is found out first as far as possible; or some scans failed.
    """
    with open_model(model, trust=trust) as checkpoint, unpacked(paths) as opened:
        if mesh is not None:
            check_meshing(output_dir, format=mesh)
        known = load_ensemble(checkpoint)
        names = channels_of(known, named_domain(known, domain) or domain)
        scans, exams = find_scans(opened, channels=names)
        scans = [*scans, *([scan_of_channels(channels, names)] if channels else ())]
        if not exams and (dicom_seg or series is not None):
            option = "--dicom-seg" if dicom_seg else "--series"
            raise InputError(
                f"scans must be DICOM for {option}, got other files; leave it out or give the DICOM folder"
            )
        if exams and dicom_seg:
            check_highdicom()
        converted = []
        for exam in exams:
            converted.append(convert_exam(exam, output_dir, wanted=series, overwrite=overwrite))
            yield format_exam(exam, converted[-1].series)
        if exams:
            yield RULE
            scans = [*scans, *(done.item for done in converted)]
        items = list_scans(scans, channels=names)
        settings |= {"checkpoint": checkpoint, "output_dir": output_dir, "domain": domain, "overwrite": overwrite}
        failures = []
        before = report_version(output_dir)
        try:
            if engine == "local":
                run_inference(items, model=known, **settings)
            else:
                segment_on_cluster(items, engine=engine, address=address, threads=threads, share=share, **settings)
        except InputError as error:
            if report_version(output_dir) in (None, before):  # nothing was segmented, or nothing is left of it
                raise
            failures.append(explain(error))
        finally:
            if report_version(output_dir) not in (None, before):
                tell(read_own_report(output_dir / REPORT, items))
        if dicom_seg:
            if len(scans) > len(converted):
                others = count(len(scans) - len(converted), "scan")
                _LOG.warning("no DICOM SEG for %s that did not come from DICOM", others)
            failures += write_segs(output_dir, converted)
        if mesh is not None:
            try:
                rows = read_own_report(output_dir / REPORT, items)
                finished = [output_dir / row["output"] for row in rows if row["status"] in ("written", "skipped")]
                cases, images = find_label_maps(finished), {item["name"]: Path(item["image"]) for item in items}
                for meshed in mesh_cases(cases, format=mesh, output_dir=output_dir, scans=images):
                    yield format_meshed(meshed)
            except InputError as error:
                failures.append(explain(error))
        if failures:
            raise InputError("; ".join(failures))
