"""Running processes to their end, and the results of a training."""

import argparse
import resource
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Training:
    """How long a training took.

    Args:
        batch_size: slices at once.
        slices_of_epoch: trained on in an epoch.
        epoch_seconds: of the training part of each epoch, validation left out.
        whole_seconds: of all epochs, with validation and checkpoints.
        parameters: of the network.
    """

    batch_size: int
    slices_of_epoch: int
    epoch_seconds: list[float]
    whole_seconds: float
    parameters: int

    @property
    def slices(self) -> int:
        """Trained on in all."""
        return self.slices_of_epoch * len(self.epoch_seconds)

    def seconds_for(self, slices: int) -> float:
        """Of an epoch of so many slices; the first one, which warms up, does not count."""
        return statistics.median(self.epoch_seconds[1:]) * slices / self.slices_of_epoch


def make_parser(description: str | None) -> argparse.ArgumentParser:
    """Of a comparison: the data set, nnU-Net's environment, and where to work."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("data", type=Path, help="folder with a dataset.json whose labels are 1, 2, 3, ...")
    parser.add_argument("--nnunet", type=Path, required=True, help="its environment")
    runs = Path(__file__).resolve().parent / "runs"
    parser.add_argument("--work", type=Path, default=runs, help="folder to work in; trained models are kept")
    return parser


@dataclass(frozen=True)
class Trained:
    """What a training for a given time came to.

    Args:
        minutes: of the whole command.
        processor_minutes: that processors worked for it.
        iterations: steps of the optimizer.
        seen: slices or patches trained on in all.
        parameters: of the network.
    """

    minutes: float
    processor_minutes: float
    iterations: int
    seen: int
    parameters: int


def measure(function: Callable[[], object]) -> tuple[float, float]:
    """Minutes that a function of other processes took, and minutes that processors worked for these."""
    start, before = time.perf_counter(), busy_seconds()
    function()
    return (time.perf_counter() - start) / 60, (busy_seconds() - before) / 60


def busy_seconds() -> float:
    """That processors have worked for the processes started here which have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def run(command: Sequence[object], log: Path, env: Mapping[str, str] | None = None) -> str:
    """Run a command to its end; its output, which is also kept in a file.

    Raises:
        RuntimeError: it failed; with its last lines.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as file:
        arguments = [str(each) for each in command]
        done = subprocess.run(arguments, stdout=file, stderr=subprocess.STDOUT, env=env, check=False)
    output = log.read_text(errors="replace")
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments[:4])} ended with code {done.returncode}: {output.strip()[-800:]}")
    return output
