"""An ankle hospital and a shoulder hospital train together in NVFlare's simulator; then what crossed is checked."""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from check import check
from nvflare.app_common.workflows.global_model_eval import GlobalModelEval
from nvflare.app_opt.pt.recipes import FedAvgRecipe
from nvflare.client.config import ExchangeFormat
from nvflare.recipe import SimEnv
from wire import SharedLayersOnly

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[2]
SITES = {"ankle-hospital": "ankle", "shoulder-hospital": "shoulder"}
LAYERS = {"widths": [16, 32, 64, 128], "in_channels": 3, "attention": False, "seed": 0}  # as demo.yaml
ROUNDS = 2
TASKS = ["train", "validate"]  # every task that the server gives; NVFlare knows no wildcard here


def main() -> None:
    """Make two sites, let them train, check."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=HERE / "runs", help="folder to work in, emptied before")
    parser.add_argument("--cases", type=int, default=8, help="phantoms of each site")
    parser.add_argument("--epochs", type=int, default=8, help="of each round")
    parser.add_argument("--fit-epochs", type=int, default=4, help="of norms and heads, after the last average")
    options = parser.parse_args()
    started = time.monotonic()
    work = options.work.resolve()
    shutil.rmtree(work, ignore_errors=True)
    for site in SITES:
        make_site(work / "sites" / site, site, options)
    os.environ["MULTIJOINT_SITES"] = str(work / "sites")
    job = federate(work)
    result = check(work / "sites", job, layers=LAYERS, num_rounds=ROUNDS)
    minutes = (time.monotonic() - started) / 60
    sys.stdout.write(f"green: {result} ({minutes:.1f} min without the installation)\n")


def make_site(folder: Path, site: str, options: argparse.Namespace) -> None:
    """The site's own phantoms, one more that no training sees, and its client's settings."""
    domain, number = SITES[site], list(SITES).index(site)
    for name, cases, seed in (("data", options.cases, number), ("unseen", 1, 100 + number)):
        run_multijoint("phantoms", folder / name, "--domains", domain, "--cases", cases, "--seed", seed)
    bundle, joint = (REPOSITORY / "bundles" / f"{each}_mr_bone_segmentation" for each in (domain, "multijoint"))
    configs = [
        folder / "configs" / name
        for folder, name in ((joint, "train.yaml"), (bundle, "train.yaml"), (joint, "demo.yaml"))
    ]
    settings = {
        "bundle": str(bundle),
        "configs": [str(path) for path in configs],
        "manifest": f"data/{domain}/manifest.yaml",
        "epochs_per_round": options.epochs,
        "fit_epochs": options.fit_epochs,
        # A falling rate would end with the first round.
        "overrides": {"schedule": "polynomial", "warmup": 0.0, "val_interval": 2, "seed": number, "device": "cpu"},
    }
    (folder / "site.json").write_text(json.dumps(settings, indent=2))


def federate(work: Path) -> Path:
    """Run the job in the simulator; returns its workspace."""
    recipe = FedAvgRecipe(
        name="bones",
        model={"class_path": "custom_components.networks.SharedLayers", "args": LAYERS},
        min_clients=len(SITES),
        num_rounds=ROUNDS,
        train_script=str(HERE / "client.py"),
        launch_external_process=True,
        command=f"{sys.executable} -u",
        server_expected_format=ExchangeFormat.PYTORCH,  # tensors as they are; NumPy is the default
    )
    recipe.add_client_output_filter(SharedLayersOnly(end="sent", layers=LAYERS), tasks=TASKS)
    recipe.add_server_input_filter(SharedLayersOnly(end="received", layers=LAYERS), tasks=TASKS)
    # FedAvg keeps the last average to itself; this sends it to the sites, as NVFlare's own recipes add it.
    recipe._job.to_server(GlobalModelEval(model_locator_id=recipe._job.comp_ids["locator_id"]))
    recipe.add_client_file(str(HERE / "wire.py"))
    recipe.execute(SimEnv(clients=list(SITES), num_threads=len(SITES), workspace_root=str(work)))
    return work / "bones"


def run_multijoint(*arguments: object) -> None:
    """Run the command of the environment's own."""
    subprocess.run([str(Path(sys.executable).with_name("multijoint")), *map(str, arguments)], check=True)


if __name__ == "__main__":
    main()
