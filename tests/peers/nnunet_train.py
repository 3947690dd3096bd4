"""Run by nnU-Net's environment: its own trainer, for fewer epochs or by the clock, and how long that took."""

import argparse
import json
import multiprocessing
import os
import time
from pathlib import Path
from typing import Any

import torch
from nnunetv2.run.run_training import get_trainer_from_args


def main() -> None:
    """Train fold 0 of data set 1 as `nnUNetv2_train 1 2d 0 -device cpu` does, without the validation at the end."""
    parser = argparse.ArgumentParser(description=__doc__)
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--epochs", type=int)
    length.add_argument("--seconds", type=float)
    parser.add_argument("--clock", choices=["wall", "processor"], default="wall", help="that the seconds are of")
    parser.add_argument("--configuration", default="2d")
    parser.add_argument("--iterations", type=int, help="of an epoch; nnU-Net's 250 if not given")
    parser.add_argument("--report", type=Path, required=True, help="JSON file to write")
    options = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    torch.set_num_threads(cores)
    if cores == 1:  # a process that augments would only wait for the one that trains
        os.environ |= {"nnUNet_n_proc_DA": "0"}
    # The short trainers that come with nnU-Net change the same number. To find them by name, it imports all it has,
    # some of which need a torchvision made for this torch; the plain one is found first, here and when it predicts.
    trainer = get_trainer_from_args("1", options.configuration, 0, device=torch.device("cpu"))
    if options.iterations:
        trainer.num_iterations_per_epoch, trainer.num_val_iterations_per_epoch = options.iterations, 2
    if options.epochs:
        report = train_epochs(trainer, options.epochs)
    else:
        report = train_by_clock(trainer, options.seconds, options.clock)
    report["parameters"] = sum(parameter.numel() for parameter in trainer.network.parameters())
    options.report.write_text(json.dumps(report))


def train_epochs(trainer: Any, epochs: int) -> dict[str, Any]:
    """Train so many epochs, with a clock around the training part of each."""
    trainer.num_epochs = epochs
    start_epoch, end_epoch, seconds = trainer.on_train_epoch_start, trainer.on_train_epoch_end, []

    def start() -> None:
        start_epoch()
        seconds.append(-time.perf_counter())

    def end(outputs: list) -> None:
        seconds[-1] += time.perf_counter()
        end_epoch(outputs)

    trainer.on_train_epoch_start, trainer.on_train_epoch_end = start, end
    begin = time.perf_counter()
    trainer.run_training()
    return {
        "batch_size": trainer.batch_size,
        "slices_of_epoch": trainer.num_iterations_per_epoch * trainer.batch_size,
        "epoch_seconds": seconds,
        "whole_seconds": time.perf_counter() - begin,
    }


class TimeIsUpError(Exception):
    """Ends a training."""


def train_by_clock(trainer: Any, limit: float, clock: str) -> dict[str, Any]:
    """Train for so many seconds of a clock; the learning rate falls by nnU-Net's rule, over time in place of epochs.

    So it reaches zero at the end, as if the number of epochs had been known, however fast the machine is.
    """
    now = {"wall": time.perf_counter, "processor": processor_seconds}[clock]
    begin = now()
    trainer.initialize()
    trainer.num_epochs, trainer.lr_scheduler.max_steps = 10**6, limit
    set_rate, step, iterations = trainer.lr_scheduler.step, trainer.train_step, 0
    trainer.lr_scheduler.step = lambda _: set_rate(min(now() - begin, limit))

    def timed_step(batch: dict) -> dict:
        nonlocal iterations
        if now() - begin >= limit:
            raise TimeIsUpError
        trainer.lr_scheduler.step(None)
        iterations += 1
        return step(batch)

    trainer.train_step = timed_step
    try:
        trainer.run_training()
    except TimeIsUpError:
        trainer.on_train_end()  # writes the weights
    return {"iterations": iterations, "seen": iterations * trainer.batch_size}


def processor_seconds() -> float:
    """That processors have worked for this process and those that augment for it."""
    stats = [Path(f"/proc/{child.pid}/stat").read_text() for child in multiprocessing.active_children()]
    ticks = sum(int(number) for stat in stats for number in stat.rpartition(")")[2].split()[11:13])
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
