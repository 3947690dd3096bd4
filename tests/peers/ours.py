"""Our side: the joint bundle's train.yaml on one data set, and `multijoint segment`."""

import csv
import json
import math
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from custom_components.data.splits import LEAST_TYPICAL
from custom_components.models.checkpoints import build_network, load_model
from running import Trained, Training, measure, run

ROOT = Path(__file__).resolve().parents[2]
BUNDLE = ROOT / "bundles" / "multijoint_mr_bone_segmentation"
BY_PROCESSOR_TIME = (
    "import time; time.perf_counter = time.process_time; from multijoint.cli.main import main; raise SystemExit(main())"
)
EPOCH = ("steps", "seconds", "slices_per_second")
NETWORK = [32, 64, 128, 256, 512]
SETTINGS = {
    # The README's for few slices, and for labels that look alike.
    "batch_size": 8,
    "learning_rate": 1.0e-3,
    "learning_rate_decay": 0.9,
    "head_learning_rate_factor": 10,
    "flip_axes": [],
    "max_translation": 0.1,
    "max_rotation": 15,
    "contrastive_weight": 0.0,  # one domain has nothing to contrast
    "widths": NETWORK,
    "device": "cpu",
}


class Multijoint:
    """This repository's own pipeline.

    Args:
        manifest: of the data set.
        folder: to work in.
        num_folds: of the split.
        image_size: of the slices, rows and columns.
    """

    name = "multijoint"

    def __init__(self, manifest: Path, folder: Path, *, num_folds: int, image_size: tuple[int, int]) -> None:
        self.folder = folder
        self.settings = SETTINGS | {
            "manifests": [str(manifest)],
            "num_folds": num_folds,
            "image_size": list(image_size),
        }

    @property
    def checkpoint(self) -> Path:
        """The best on the subjects that validate."""
        return self.folder / "results" / "model.pt"

    def train(self, epochs: int, *, slices: int, results: str = "results") -> Training:
        """Train, once for each `results`.

        Args:
            epochs: passes over the training slices.
            slices: how many these are.
            results: folder.
        """
        report = self.folder / f"{results}.json"
        if not report.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            output = self.folder / results
            shutil.rmtree(output, ignore_errors=True)  # of a run that did not end, or is to be timed again
            settings = self.settings | {"output_dir": str(output), "max_epochs": epochs}
            settings["val_interval"] = max(1, epochs // 20)
            command = [sys.executable, "-m", "monai.bundle", "run", "training", "--bundle_root", BUNDLE]
            command += ["--config_file", BUNDLE / "configs" / "train.yaml"]
            for key, value in settings.items():
                command += [f"--{key}", value if isinstance(value, str) else json.dumps(value)]
            run(command, self.folder / f"{results}.log", dict(os.environ))
            with (output / "log.csv").open() as file:
                rows = list(csv.DictReader(file))
            network = build_network(load_model(output / "last.pt"))
            training = {
                "batch_size": settings["batch_size"],
                "slices_of_epoch": slices,
                "epoch_seconds": [float(row["seconds"]) for row in rows],
                "whole_seconds": sum(float(row["epoch_seconds"]) for row in rows),
                "parameters": sum(parameter.numel() for parameter in network.parameters()),
            }
            report.write_text(json.dumps(training))
        return Training(**json.loads(report.read_text()))

    def predict(self, scans: Path, output: Path) -> list[str]:
        """The command that a user gives."""
        multijoint = Path(sys.executable).with_name("multijoint")
        return [
            str(each) for each in (multijoint, "segment", scans, "--checkpoint", self.checkpoint, "--output", output)
        ]

    @staticmethod
    def scan_name(name: str) -> str:
        """Any name will do."""
        return f"{name}.nii.gz"

    @staticmethod
    def result_name(name: str) -> str:
        """Its name for the label map."""
        return f"{name}_seg.nii.gz"


class Default:
    """`multijoint train` as it comes, and nothing but its budget set.

    Args:
        data: folders of data sets; of several, the joint network.
        folder: to work in.
        domain: that is segmented.
    """

    name = "multijoint"
    scan_name, result_name = staticmethod(Multijoint.scan_name), staticmethod(Multijoint.result_name)

    def __init__(self, data: Sequence[Path], folder: Path, *, domain: str) -> None:
        self.data = data
        self.folder = folder
        self.domain = domain

    def train_for(self, minutes: float, *, clock: str) -> Trained:
        """Train once for so many minutes a data set, by the "wall" clock or the "processor" time of the process."""
        output, trained = self.folder / "run", self.folder / "trained.json"
        if not trained.exists():
            shutil.rmtree(output, ignore_errors=True)  # of a run that did not end
            program = ["-m", "multijoint.cli"] if clock == "wall" else ["-c", BY_PROCESSOR_TIME]
            command = [sys.executable, *program, "train", *(each / "dataset.json" for each in self.data)]
            command += ["--fold", LEAST_TYPICAL, "--out", output, "--set", f"budget={minutes * len(self.data):g}min"]
            spent = measure(lambda: run(command, self.folder / "train.log"))
            with (output / "log.csv").open() as file:
                epochs = [{name: float(row[name]) for name in EPOCH} for row in csv.DictReader(file)]
            seen = sum(epoch["slices_per_second"] * epoch["seconds"] for epoch in epochs)
            steps = sum(epoch["steps"] for epoch in epochs)
            weights = json.loads((output / "run.json").read_text())["weights"]
            trained.write_text(json.dumps(asdict(Trained(*spent, round(steps), round(seen), weights))))
        return Trained(**json.loads(trained.read_text()))

    def segment(self, scans: Path, output: Path) -> None:
        """By the command as it comes."""
        run(self.predict(scans, output), output.with_suffix(".log"))

    def predict(self, scans: Path, output: Path) -> list[str]:
        """The command that a user gives."""
        command = [sys.executable, "-m", "multijoint.cli", "segment", scans, "--domain", self.domain]
        return [str(each) for each in (*command, "--checkpoint", self.folder / "run" / "model.pt", "--output", output)]


def size_for(sizes: list[tuple[int, int]]) -> tuple[int, int]:
    """The median size of slices, each side rounded up to a size that the network can halve four times."""
    median = [sorted(side)[len(side) // 2] for side in zip(*sizes, strict=True)]
    step = 2 ** (len(NETWORK) - 1)
    rows, columns = (math.ceil(side / step) * step for side in median)
    return rows, columns
