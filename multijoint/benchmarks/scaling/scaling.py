"""The benchmark `scale`: time and memory as the numbers of volumes, domains, slices and bones grow."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
import torch
from custom_components.data.manifests import load_manifests
from custom_components.data.splits import make_splits
from custom_components.io.formats import case_id
from custom_components.io.records import label_map_path

from multijoint.benchmarks.fixtures import Workplace, multijoint, run_measured
from multijoint.benchmarks.rows import Row, Target
from multijoint.benchmarks.scaling.growth import Curve, draw_curves, fit_growth, read_curves, write_curves
from multijoint.benchmarks.scaling.synthetic_scans import domain_of, make_labels, save_model, save_scan
from multijoint.benchmarks.scaling.workloads import classifier, clean_and_score, draw_epoch, training_step

SIZES: dict[str, tuple[int, ...]] = {
    "volumes": (10, 32, 100, 316, 1000),
    "domains": (2, 4, 8, 16, 32, 64),
    "slices": (50, 100, 200, 450, 1000),
    "bones": (2, 4, 8, 15, 30),
}
"""Axis of growth -> numbers that are measured."""

_QUICK_SIZES = {"volumes": (4, 8, 16), "domains": (2, 4, 8), "slices": (10, 20, 40), "bones": (2, 4, 8)}

_MAX_EXPONENT = 1.1  # linear, plus the difference of two equal runs
_REPETITIONS, _FEWER = 4, 2  # commands take seconds
_SHORT_S = 6.0  # a command that takes longer runs once
_SMALL, _LARGE, _BONY = (36, 30, 8), (240, 240), (192, 180, 64)  # voxels
_MIB = 2**20


class _Job(NamedTuple):
    """Input of the command, a scan or a folder of equal ones, and the labels that it must write."""

    images: Path
    model: Path
    truth: np.ndarray


def scale(
    place: Workplace, *, sizes: Mapping[str, Sequence[int]] | None = None, repetitions: int | None = None
) -> Iterator[Row]:
    """Measure how costs grow; the points go to `scale.csv`, a figure of them to `scale.png`.

    One row a cost gives the exponent of its growth beyond a constant part (`growth.fit_growth`): 1 is linear, 0 is no
    growth, and more than 1.1 misses the target. The next row gives the average cost of one more. Sizes take turns. The
    fastest repetition counts, and the largest memory, since a disturbance of a long run would look like growth. Work in
    this process, unlike commands, is measured in processor time on one thread.

    - volumes: small ones of one folder in one call of `multijoint segment`; and a manifest of as many, read and split.
    - domains: a training step (forward, both losses, backward, Adam) of 64 slices, however many domains share them, so
      that all growth is due to the domains, in a network of the default depth, hence with as many norms; its bytes
      (weights, gradients, Adam's moments, tensors kept for the backward pass); and a sampler with an epoch of batches,
      2,000 slices a domain, 4 of each in a batch.
    - slices: of one scan, by `multijoint segment`.
    - bones: of one size in one volume, by `multijoint segment`; and separately, the network with its choice among the
      classes, and post-processing with scores.

    The labels that `segment` writes are compared with the truth, voxel by voxel.

    Args:
        place: folder and effort.
        sizes: at least three a axis; by default `SIZES`, or smaller ones in a quick run.
        repetitions: number for work in this process, by default 4; for a command half of it, or one over 6 s.

    Raises:
        RuntimeError: a command failed, or wrote labels other than the truth.
    """
    folder, curves = place.folder, list[Curve]()
    sizes, repetitions = sizes or place.choose(SIZES, _QUICK_SIZES), repetitions or place.choose(_REPETITIONS)
    for axis, measure in (("volumes", _volumes), ("domains", _domains), ("slices", _slices), ("bones", _bones)):
        for curve in measure(folder / "scale", tuple(sizes[axis]), repetitions):
            curves.append(curve)
            yield from rows_of(curve)
    write_curves(folder / "scale.csv", curves)
    draw_curves(folder / "scale.png", read_curves(folder / "scale.csv"))


def rows_of(curve: Curve) -> Iterator[Row]:
    """The exponent of a curve, with its target, and the cost of one more."""
    name = f"scale {curve.axis}, {curve.cost} {'memory' if curve.unit == 'MiB' else 'time'}"
    exponent = fit_growth(curve.sizes, curve.values).exponent
    target = Target(_MAX_EXPONENT, of="ours")
    yield Row(f"{name}: growth", exponent, None, "exponent", curve.repetitions, target)
    yield Row(f"{name}: one more", curve.slope, None, f"{curve.unit}/{curve.axis[:-1]}", curve.repetitions)


def _volumes(folder: Path, sizes: tuple[int, ...], repetitions: int) -> Iterator[Curve]:
    small = _save(folder / "small.nii.gz", make_labels(_SMALL, 3))
    jobs = [small._replace(images=_fill(folder / f"volumes_{size}", small.images, size)) for size in sizes]
    _segment(jobs[0])  # fills the caches of the system
    yield from _segmenting("volumes", sizes, jobs, repetitions=repetitions)

    def gather(folder: Path) -> None:
        make_splits(load_manifests(folder / "manifest.yaml"), fold=0)

    yield _timed("volumes", "gather", sizes, [partial(gather, each.images) for each in jobs], repetitions)


def _domains(folder: Path, sizes: tuple[int, ...], repetitions: int) -> Iterator[Curve]:
    steps = [training_step(size) for size in sizes]
    yield _timed("domains", "step", sizes, [step for step, _ in steps], repetitions)
    yield Curve("domains", "step", "MiB", 1, sizes, tuple(count() / _MIB for _, count in steps))
    yield _timed("domains", "batches", sizes, [partial(draw_epoch, size) for size in sizes], repetitions)


def _slices(folder: Path, sizes: tuple[int, ...], repetitions: int) -> Iterator[Curve]:
    jobs = [_save(folder / f"slices_{size}.nii.gz", make_labels((*_LARGE, size), 3)) for size in sizes]
    yield from _segmenting("slices", sizes, jobs, repetitions=repetitions)


def _bones(folder: Path, sizes: tuple[int, ...], repetitions: int) -> Iterator[Curve]:
    jobs = [_save(folder / f"bones_{size}.nii.gz", make_labels(_BONY, size)) for size in sizes]
    yield from _segmenting("bones", sizes, jobs, repetitions=repetitions)
    yield _timed("bones", "classify", sizes, [classifier(size) for size in sizes], repetitions)
    scorers = [partial(clean_and_score, each.truth) for each in jobs]
    yield _timed("bones", "clean and score", sizes, scorers, repetitions)


def _save(path: Path, truth: np.ndarray) -> _Job:
    """Write a scan, and a model next to it."""
    model = path.with_name(f"{case_id(path)}.pt")
    save_scan(path, truth)
    save_model(model, truth)
    return _Job(path, model, truth)


def _fill(folder: Path, scan: Path, count: int) -> Path:
    """Make a folder of copies of a scan, with a manifest; the labels that it names are never read."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for number in range(count):
        shutil.copyfile(scan, folder / f"{number:04d}.nii.gz")
    labels = "\n".join(f"  {value}: {name}" for value, name in domain_of(3).labels.items())
    (folder / "manifest.yaml").write_text(
        f"domain: synthetic\nplane: axial\nlicence: none\nsource: made up\nlabels:\n{labels}\n"
        'cases: {image: "{case}.nii.gz", label: "{case}.nii.gz"}\n'
    )
    return folder


def _segmenting(axis: str, sizes: tuple[int, ...], jobs: Sequence[_Job], *, repetitions: int) -> Iterator[Curve]:
    """Seconds and peak memory of the command, sizes in turns."""
    runs: list[list[tuple[float, float]]] = [[] for _ in sizes]
    for _ in range(max(repetitions // _FEWER, 1)):
        for own, job in zip(runs, jobs, strict=True):
            if not own or own[-1][0] < _SHORT_S:
                own.append(_segment(job))
    n = min(map(len, runs))
    yield Curve(axis, "segment", "s", n, sizes, tuple(min(seconds for seconds, _ in own) for own in runs))
    yield Curve(axis, "segment", "MiB", n, sizes, tuple(max(1024 * peak for _, peak in own) for own in runs))


def _segment(job: _Job) -> tuple[float, float]:
    """Run the command; seconds and GiB."""
    out = job.images.with_name(f"{case_id(job.images)}_labels")
    shutil.rmtree(out, ignore_errors=True)
    command = multijoint("segment", job.images, "--checkpoint", job.model, "--out", out, "--device", "cpu")
    measured = run_measured(command)
    for scan in sorted(job.images.glob("*.nii.gz")) if job.images.is_dir() else [job.images]:
        path = label_map_path(out, case_id(scan))
        if not path.is_file() or not np.array_equal(np.asarray(nib.load(path).dataobj), job.truth):
            raise RuntimeError(f"{path} must hold the labels of the scan, got others")
    return measured


def _timed(
    axis: str, cost: str, sizes: tuple[int, ...], functions: Sequence[Callable[[], Any]], repetitions: int
) -> Curve:
    """Seconds of processor time on one thread, which other load on the machine does not change."""
    seconds: list[list[float]] = [[] for _ in sizes]
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for _ in range(repetitions):
            functions[0]()  # not timed: frees the memory of the last and largest size
            for function, own in zip(functions, seconds, strict=True):
                start = time.process_time()
                function()
                own.append(time.process_time() - start)
    finally:
        torch.set_num_threads(num_threads)
    return Curve(axis, cost, "s", repetitions, sizes, tuple(map(min, seconds)))
