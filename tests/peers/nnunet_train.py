"""Run by nnU-Net's environment: its own trainer, for fewer epochs, with a clock around the training part of each."""

import argparse
import json
import os
import time
from pathlib import Path

import torch
from nnunetv2.run.run_training import get_trainer_from_args


def main() -> None:
    """Train fold 0 of data set 1 as `nnUNetv2_train 1 2d 0 -device cpu` does, without the validation at the end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--iterations", type=int, help="of an epoch; nnU-Net's 250 if not given")
    parser.add_argument("--report", type=Path, required=True, help="JSON file to write")
    options = parser.parse_args()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    # The short trainers that come with nnU-Net change the same number. To find them by name, it imports all it has,
    # some of which need a torchvision made for this torch; the plain one is found first, here and when it predicts.
    trainer = get_trainer_from_args("1", "2d", 0, device=torch.device("cpu"))
    trainer.num_epochs = options.epochs
    if options.iterations:
        trainer.num_iterations_per_epoch, trainer.num_val_iterations_per_epoch = options.iterations, 2
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
    report = {
        "batch_size": trainer.batch_size,
        "slices_of_epoch": trainer.num_iterations_per_epoch * trainer.batch_size,
        "epoch_seconds": seconds,
        "whole_seconds": time.perf_counter() - begin,
        "parameters": sum(parameter.numel() for parameter in trainer.network.parameters()),
    }
    options.report.write_text(json.dumps(report))


if __name__ == "__main__":
    main()
