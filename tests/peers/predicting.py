"""Volumes segmented by whole processes, file to file: seconds, peak memory, and how right the label maps are."""

import os
import shutil
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path

import nibabel
import numpy as np
from custom_components.data.cases import Case
from custom_components.data.splits import Split
from custom_components.domains import Domain
from custom_components.metrics.bone_scores import dice_coefficient
from nnunet import DEFAULT_PROCESSES, NNUNet
from ours import Default, Multijoint
from running import busy_seconds, run

from multijoint.benchmarks.fixtures import run_measured
from multijoint.benchmarks.rows import Row, Target, interleave

PROCESSES = (0, 1, 2, DEFAULT_PROCESSES)  # of nnU-Net, to find out how many serve it best
OF_DEFAULT, OF_PLAIN, OF_BEST = Target(0.2), Target(0.33), Target(0.5)
LEAST_DICE = 0.5  # on average: an untrained network is far below


@dataclass(frozen=True)
class Prediction:
    """A command that fills a folder with label maps."""

    command: list[str]
    output: Path
    env: Mapping[str, str]
    busy: list[float] = field(default_factory=list)

    def run(self) -> None:
        """To its end, into an empty folder; keeps in `busy` the seconds that processors worked for it."""
        shutil.rmtree(self.output, ignore_errors=True)
        before = busy_seconds()
        run(self.command, self.output.with_suffix(".log"), self.env)
        self.busy.append(busy_seconds() - before)

    def measure(self) -> tuple[float, float]:
        """Likewise; seconds, and peak memory of all its processes in GiB."""
        shutil.rmtree(self.output, ignore_errors=True)
        return run_measured(self.command, env=dict(self.env))


def predict(
    ours: Multijoint | Default, nnunet: NNUNet, split: Split, *, count: int, repetitions: int, folder: Path
) -> Iterator[Row]:
    """Seconds and peak memory of both for so many volumes.

    nnU-Net runs by default, and with the number of processes that is quickest here, with and without mirroring.

    Raises:
        RuntimeError: a process failed, or there is not a label map on the grid of every scan.
    """
    shutil.rmtree(folder, ignore_errors=True)
    write_scans(split, count, nnunet, folder / "scans_nnunet")
    names = write_scans(split, count, ours, folder / "scans_ours")

    def theirs(output: str, *, mirroring: bool, processes: int) -> Prediction:
        path = folder / output
        command = nnunet.predict(folder / "scans_nnunet", path, mirroring=mirroring, processes=processes)
        return Prediction(command, path, nnunet.environment())

    own = Prediction(ours.predict(folder / "scans_ours", folder / "ours"), folder / "ours", os.environ)
    memory = own.measure()[1]
    tried, best = {}, {}
    for mirroring in (True, False):
        found = {n: theirs("tried", mirroring=mirroring, processes=n).measure() for n in PROCESSES}
        tried[mirroring], best[mirroring] = found, min(found, key=lambda number: found[number][0])
        listed = ", ".join(f"{n}: {seconds:.1f} s {gib:.2f} GiB" for n, (seconds, gib) in found.items())
        print(f"{count} volumes, mirroring {mirroring}, by nnU-Net's -npp and -nps: {listed}", flush=True)

    peers = {
        "as it comes": ("default", True, DEFAULT_PROCESSES, OF_DEFAULT),
        "no mirroring": ("default_plain", False, DEFAULT_PROCESSES, OF_PLAIN),
        at_best(best[True]): ("mirrored", True, best[True], OF_BEST),
        f"{at_best(best[False])}, no mirroring": ("plain", False, best[False], OF_BEST),
    }
    runs = [own, *(theirs(output, mirroring=how, processes=n) for output, how, n, _ in peers.values())]
    seconds = interleave(*(each.run for each in runs), repetitions=repetitions, warm_up=0)
    for side, prediction in zip((ours, *[nnunet] * len(peers)), runs, strict=True):
        for name in names:
            check_grid(folder / "scans_ours" / ours.scan_name(name), prediction.output / side.result_name(name))
    busy = [statistics.median(each.busy) for each in runs]
    for index, (name, (_, mirroring, processes, target)) in enumerate(peers.items(), start=1):
        what = f"nnU-Net, {count} volumes, {name}"
        yield Row(what, seconds[0], seconds[index], "s", repetitions, target)
        yield Row(f"{what}: processor time", busy[0], busy[index], "s", repetitions)
        yield Row(f"{what}: peak memory", memory, tried[mirroring][processes][1], "GiB", 1)


def score(ours: Multijoint, nnunet: NNUNet, split: Split, domain: Domain, folder: Path) -> Iterator[Row]:
    """Mean Dice of each bone, and of all, over the held-out subjects, from what `predict` left in its folder.

    Raises:
        RuntimeError: one of the networks has not learnt to segment.
    """
    means = {}
    for kind, side in (("ours", ours), ("mirrored", nnunet), ("plain", nnunet)):
        dice = [
            dice_of_case(folder / kind / side.result_name(name_of(index, case)), case, domain)
            for index, case in enumerate(split.testing)
        ]
        means[kind] = np.nanmean(dice, axis=0)
        if not means[kind].mean() > LEAST_DICE:
            raise RuntimeError(f"mean Dice of {kind} must be above {LEAST_DICE}, got {means[kind]}; train longer")
    for kind, name in (("mirrored", ""), ("plain", ", no mirroring")):
        for index, bone in enumerate(domain.labels.values()):
            yield Row(
                f"nnU-Net, Dice of {bone}{name}", means["ours"][index], means[kind][index], "", len(split.testing)
            )
        yield Row(f"nnU-Net, mean Dice{name}", means["ours"].mean(), means[kind].mean(), "", len(split.testing))


def write_scans(split: Split, count: int, side: Multijoint | Default | NNUNet, folder: Path) -> list[str]:
    """So many scans under new names, the held-out ones first, then others, then all again; returns the names."""
    folder.mkdir(parents=True)
    cases = list(islice(cycle((*split.testing, *split.validation, *split.training)), count))
    names = [name_of(index, case) for index, case in enumerate(cases)]
    for name, case in zip(names, cases, strict=True):
        shutil.copy(case.image, folder / side.scan_name(name))
    return names


def name_of(index: int, case: Case) -> str:
    """Of a copy of a scan."""
    return f"{index:03d}_{case.name}"


def at_best(processes: int) -> str:
    """How nnU-Net was run, in words."""
    return f"-npp {processes} -nps {processes}" if processes else "in one process"


def check_grid(scan: Path, result: Path) -> None:
    """Raise unless there is a label map of the scan's shape at the scan's place."""
    if not result.is_file():
        raise RuntimeError(f"every scan must be segmented, got no {result.name} in {result.parent.name}")
    image, labels = nibabel.load(scan), nibabel.load(result)
    if labels.shape != image.shape or not np.allclose(labels.affine, image.affine, atol=1e-3):
        raise RuntimeError(f"{result.name} in {result.parent.name} must be on its scan's grid, got another")


def dice_of_case(result: Path, case: Case, domain: Domain) -> list[float]:
    """Dice of each bone."""
    found, wanted = (np.asarray(nibabel.load(path).dataobj) for path in (result, str(case.label)))
    return [dice_coefficient(found == value, wanted == value) for value in domain.labels]
