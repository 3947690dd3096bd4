"""nnU-Net's side: its data set, its plans, its trainer and its command for prediction, all on the processor."""

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from custom_components.data.cases import Case
from custom_components.data.splits import Split
from custom_components.domains import Domain
from running import Trained, Training, measure, run

HERE = Path(__file__).resolve().parent
DATASET = "Dataset001_peer"
DEFAULT_PROCESSES = 3
"""Of `-npp` and `-nps` if they are not given. 0 of each makes it predict in one process."""


class NNUNet:
    """An installed nnU-Net v2.

    Args:
        venv: its environment.
        folder: to work in.
        configuration: 2d or 3d_fullres.
    """

    name = "nnU-Net"

    def __init__(self, venv: Path, folder: Path, configuration: str = "2d") -> None:
        self.bin = venv / "bin"
        self.folder = folder
        self.configuration = configuration

    def environment(self, results: str = "results") -> dict[str, str]:
        """Its variables; as many processes augment as there are processors, which is its default up to 12."""
        return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {
            "nnUNet_raw": str(self.folder / "raw"),
            "nnUNet_preprocessed": str(self.folder / "preprocessed"),
            "nnUNet_results": str(self.folder / results),
            "nnUNet_n_proc_DA": str(min(len(os.sched_getaffinity(0)), 12)),
        }

    def versions(self) -> dict[str, str]:
        """Of the packages that matter."""
        program = (
            "import json, importlib.metadata as m; print(json.dumps({n: m.version(n) for n in ('nnunetv2', 'torch')}))"
        )
        return json.loads(run([self.bin / "python", "-c", program], self.folder / "version.log"))

    def prepare(self, split: Split, domain: Domain) -> None:
        """Write the subjects that train and validate in its layout, let it plan and preprocess; once.

        The held-out subjects are not among them, so that the plans do not know them either.
        """
        plans = self.folder / "preprocessed" / DATASET
        if (plans / "done").exists():
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        raw = self.folder / "raw" / DATASET
        for name in ("imagesTr", "labelsTr"):
            (raw / name).mkdir(parents=True)
        for case in (*split.training, *split.validation):
            shutil.copy(case.image, raw / "imagesTr" / f"{case.name}_0000.nii.gz")
            shutil.copy(str(case.label), raw / "labelsTr" / f"{case.name}.nii.gz")
        description = {
            "channel_names": {"0": "MRI"},
            "labels": {"background": 0} | {name: value for value, name in domain.labels.items()},
            "numTraining": len(split.training) + len(split.validation),
            "file_ending": ".nii.gz",
        }
        (raw / "dataset.json").write_text(json.dumps(description))
        plans.mkdir(parents=True)
        folds = [{"train": names(split.training), "val": names(split.validation)}]
        (plans / "splits_final.json").write_text(json.dumps(folds))
        command = [self.bin / "nnUNetv2_plan_and_preprocess", "-d", 1, "-npfp", 1, "-np", 1]
        command += ["-c", self.configuration, "--verify_dataset_integrity"]
        run(command, self.folder / "plan.log", self.environment())
        (plans / "done").touch()

    def train(self, epochs: int, *, iterations: int | None = None, results: str = "results") -> Training:
        """Train, once for each `results`; with `iterations` an epoch has so many instead of 250."""
        report = self.folder / f"{results}.json"
        if not report.exists():
            how = ["--epochs", epochs, *(["--iterations", iterations] if iterations else [])]
            self._train(report, results, how)
        return Training(**json.loads(report.read_text()))

    def train_for(self, minutes: float, *, clock: str) -> Trained:
        """Train once for so long, by the "wall" clock or the "processor" time of its processes."""
        report, trained = self.folder / "report.json", self.folder / "trained.json"
        if not trained.exists():
            how = ["--seconds", 60 * minutes, "--clock", clock]
            spent = measure(lambda: self._train(report, "results", how))
            trained.write_text(json.dumps(asdict(Trained(*spent, **json.loads(report.read_text())))))
        return Trained(**json.loads(trained.read_text()))

    def _train(self, report: Path, results: str, how: Sequence[object]) -> None:
        command = [self.bin / "python", HERE / "nnunet_train.py", "--report", report]
        command += ["--configuration", self.configuration, *how]
        run(command, self.folder / f"{results}.log", self.environment(results))

    def segment(self, scans: Path, output: Path) -> None:
        """By its command with mirroring, as it comes but in one process, which changes nothing but the time."""
        command = self.predict(scans, output, processes=0)
        run(command, output.with_suffix(".log"), self.environment())

    def predict(self, scans: Path, output: Path, *, mirroring: bool = True, processes: int) -> list[str]:
        """The command that a user gives; `processes` to preprocess, and as many to write.

        The bar is switched off: no one looks at it.
        """
        command = [self.bin / "nnUNetv2_predict", "-i", scans, "-o", output, "-d", 1, "-f", 0]
        command += ["-c", self.configuration, "-device", "cpu", "--disable_progress_bar"]
        if processes != DEFAULT_PROCESSES:
            command += ["-npp", processes, "-nps", processes]
        return [*map(str, command), *([] if mirroring else ["--disable_tta"])]

    @staticmethod
    def scan_name(name: str) -> str:
        """The name that it wants for a scan's file."""
        return f"{name}_0000.nii.gz"

    @staticmethod
    def result_name(name: str) -> str:
        """Its name for the label map."""
        return f"{name}.nii.gz"


def names(cases: Sequence[Case]) -> list[str]:
    """Of cases."""
    return [case.name for case in cases]
