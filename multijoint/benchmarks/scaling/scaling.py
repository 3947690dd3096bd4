"""Time and memory as volumes, domains, slices and bones grow: `scale`."""

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
from custom_components.io.nifti_files import case_id

from multijoint.benchmarks.fixtures import multijoint
from multijoint.benchmarks.peak_memory import run_measured
from multijoint.benchmarks.rows import Row, Target
from multijoint.benchmarks.scaling.curves import draw_curves
from multijoint.benchmarks.scaling.growth import Curve, fit_growth, read_curves, write_curves
from multijoint.benchmarks.scaling.synthetic_scans import domain_of, paint, save_model, save_scan
from multijoint.benchmarks.scaling.workloads import classifier, clean_and_score, draw_epoch, training_step

__all__ = ["SIZES", "rows_of", "scale"]

SIZES: dict[str, tuple[int, ...]] = {
    "volumes": (10, 32, 100, 316, 1000),
    "domains": (2, 4, 8, 16, 32, 64),
    "slices": (50, 100, 200, 450, 1000),
    "bones": (2, 4, 8, 15, 30),
}
"""What grows -> how far."""

_MAX_EXPONENT = 1.1  # linear, and what two equal runs differ by
_REPETITIONS, _FEWER = 15, 5  # commands take seconds
_SHORT_S = 6.0  # a command that takes longer runs once
_SMALL, _LARGE, _BONY = (36, 30, 8), (240, 240), (192, 180, 64)  # voxels
_MIB = 2**20


class _Job(NamedTuple):
    """What the command gets, a scan or a folder of equal ones, and the labels that it must write."""

    images: Path
    model: Path
    truth: np.ndarray


def scale(
    folder: Path, *, sizes: Mapping[str, Sequence[int]] = SIZES, repetitions: int = _REPETITIONS
) -> Iterator[Row]:
    """Measure how costs grow; the points go to `scale.csv`, a figure of them to `scale.png`.

    A row a cost says by what exponent it grows beyond what is paid once (`growth.fit_growth`): 1 is linear, 0 is not at
    all, and more than 1.1 misses. The row below says what one more costs on average. Sizes take turns. The fastest of
    their repetitions counts, and of memory the most: what disturbs a long run more than a short one would look like
    growth. What runs in this process, and not as a command, is measured in processor time on one thread.

    - volumes: small ones of one folder in one call of `multijoint segment`; and a manifest of as many, read and split.
    - domains: a training step (forward, both losses, backward, Adam) of 64 slices, however many domains share them, so
      that all growth is the domains' own, in a network that is as deep as the default one, so has as many norms; the
      bytes that it holds (weights, gradients, Adam's moments, what is kept for the backward pass); and a sampler with
      an epoch of batches, 2,000 slices a domain, 4 of each in a batch.
    - slices: of one scan, by `multijoint segment`.
    - bones: of one size in one volume, by `multijoint segment`; by themselves, the network with its choice among the
      classes, and post-processing with scores.

    The labels that `segment` writes are compared with the truth, voxel by voxel.

    Args:
        folder: to work in.
        sizes: of each axis, at least three; see `SIZES`.
        repetitions: of what runs in this process; of a command a fifth, or one if it takes over 6 s.

    Raises:
        RuntimeError: a command failed, or labels that are not the truth.
    """
    curves: list[Curve] = []
    for axis, measure in (("volumes", _volumes), ("domains", _domains), ("slices", _slices), ("bones", _bones)):
        for curve in measure(folder / "scale", tuple(sizes[axis]), repetitions):
            curves.append(curve)
            yield from rows_of(curve)
    write_curves(folder / "scale.csv", curves)
    draw_curves(folder / "scale.png", read_curves(folder / "scale.csv"))


def rows_of(curve: Curve) -> Iterator[Row]:
    """Its exponent, held to the target, and what one more costs."""
    name = f"scale {curve.axis}, {curve.cost} {'memory' if curve.unit == 'MiB' else 'time'}"
    exponent = fit_growth(curve.sizes, curve.values).exponent
    target = Target(_MAX_EXPONENT, of="ours")
    yield Row(f"{name}: growth", exponent, None, "exponent", curve.repetitions, target)
    yield Row(f"{name}: one more", curve.slope, None, f"{curve.unit}/{curve.axis[:-1]}", curve.repetitions)


def _volumes(folder: Path, sizes: tuple[int, ...], repetitions: int) -> Iterator[Curve]:
    small = _save(folder / "small.nii.gz", paint(_SMALL, 3))
    jobs = [small._replace(images=_fill(folder / f"volumes_{size}", small.images, size)) for size in sizes]
    _segment(jobs[0])  # fills the caches of the system
    yield from _segmenting("volumes", sizes, jobs, repetitions=repetitions)
    yield _timed("volumes", "gather", sizes, [partial(_gather, each.images) for each in jobs], repetitions)


def _domains(folder: Path, sizes: tuple[int, ...], repetitions: int) -> Iterator[Curve]:
    steps = [training_step(size) for size in sizes]
    yield _timed("domains", "step", sizes, [step for step, _ in steps], repetitions)
    yield Curve("domains", "step", "MiB", 1, sizes, tuple(count() / _MIB for _, count in steps))
    yield _timed("domains", "batches", sizes, [partial(draw_epoch, size) for size in sizes], repetitions)


def _slices(folder: Path, sizes: tuple[int, ...], repetitions: int) -> Iterator[Curve]:
    jobs = [_save(folder / f"slices_{size}.nii.gz", paint((*_LARGE, size), 3)) for size in sizes]
    yield from _segmenting("slices", sizes, jobs, repetitions=repetitions)


def _bones(folder: Path, sizes: tuple[int, ...], repetitions: int) -> Iterator[Curve]:
    jobs = [_save(folder / f"bones_{size}.nii.gz", paint(_BONY, size)) for size in sizes]
    yield from _segmenting("bones", sizes, jobs, repetitions=repetitions)
    yield _timed("bones", "classify", sizes, [classifier(size) for size in sizes], repetitions)
    yield _timed(
        "bones", "clean and score", sizes, [partial(clean_and_score, each.truth) for each in jobs], repetitions
    )


def _save(path: Path, truth: np.ndarray) -> _Job:
    """Write a scan and a model beside it."""
    model = path.with_name(f"{case_id(path)}.pt")
    save_scan(path, truth)
    save_model(model, truth)
    return _Job(path, model, truth)


def _fill(folder: Path, scan: Path, count: int) -> Path:
    """A folder of copies of a scan, with a manifest in which each is its own label, which nobody reads."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for number in range(count):
        shutil.copyfile(scan, folder / f"{number:04d}.nii.gz")
    labels = "\n".join(f"  {value}: {name}" for value, name in domain_of(3).labels.items())
    (folder / "manifest.yaml").write_text(
        f"domain: painted\nplane: axial\nlicence: none\nsource: made up\nlabels:\n{labels}\n"
        'cases: {image: "{case}.nii.gz", label: "{case}.nii.gz"}\n'
    )
    return folder


def _gather(folder: Path) -> None:
    make_splits(load_manifests(folder / "manifest.yaml"), fold=0)


def _segmenting(axis: str, sizes: tuple[int, ...], jobs: Sequence[_Job], *, repetitions: int) -> Iterator[Curve]:
    """Seconds and peak memory of the command, sizes in turns."""
    runs: list[list[tuple[float, float]]] = [[] for _ in sizes]
    for _ in range(max(repetitions // _FEWER, 1)):
        for own, job in zip(runs, jobs, strict=True):
            if not own or own[-1][0] < _SHORT_S:
                own.append(_segment(job))
    n, found = min(map(len, runs)), [zip(*own, strict=True) for own in runs]
    seconds, peaks = zip(*((min(each), max(peak)) for each, peak in found), strict=True)
    yield Curve(axis, "segment", "s", n, sizes, seconds)
    yield Curve(axis, "segment", "MiB", n, sizes, tuple(1024 * peak for peak in peaks))


def _segment(job: _Job) -> tuple[float, float]:
    """Run the command; seconds and GiB."""
    out = job.images.with_name(f"{case_id(job.images)}_labels")
    shutil.rmtree(out, ignore_errors=True)
    measured = run_measured(
        multijoint("segment", job.images, "--checkpoint", job.model, "--output", out, "--device", "cpu")
    )
    scans = sorted(job.images.glob("*.nii.gz")) if job.images.is_dir() else [job.images]
    written = [out / f"{case_id(scan)}_seg.nii.gz" for scan in scans]
    for path in written:
        if not path.is_file() or not np.array_equal(np.asarray(nib.load(path).dataobj), job.truth):
            raise RuntimeError(f"{path} must hold the labels that were painted, got others")
    return measured


def _timed(
    axis: str, cost: str, sizes: tuple[int, ...], functions: Sequence[Callable[[], Any]], repetitions: int
) -> Curve:
    """Seconds of processor time on one thread: those of the clock on an idle machine, and on a busy one too."""
    seconds: list[list[float]] = [[] for _ in sizes]
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for _ in range(repetitions):
            functions[0]()  # pays for what the last, the largest, left behind
            for function, own in zip(functions, seconds, strict=True):
                start = time.process_time()
                function()
                own.append(time.process_time() - start)
    finally:
        torch.set_num_threads(num_threads)
    return Curve(axis, cost, "s", repetitions, sizes, tuple(map(min, seconds)))
