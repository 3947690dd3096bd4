"""One hospital: trains from a bundle's configuration, and sends and receives the shared layers alone.

Where its data are is written in a separate file, `$MULTIJOINT_SITES/<site name>/site.json`, not in the job: the
server never learns it.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nvflare.client as flare
from custom_components.networks.federation import domain_state, load_shared, shared_state
from custom_components.networks.unet import MultiDomainUNet
from ignite.engine import Events
from monai.bundle import ConfigWorkflow
from torch import Tensor
from wire import digest


def main() -> None:
    """Answer the server's tasks until it ends the job."""
    flare.init()
    folder = Path(os.environ["MULTIJOINT_SITES"]) / flare.get_site_name()
    site = json.loads((folder / "site.json").read_text())
    epochs, rounds = 0, 0
    while flare.is_running():
        received = flare.receive()
        if received is None:
            break
        last = flare.is_evaluate()  # the last average comes to be fitted to, not to be trained further
        epochs += site["fit_epochs"] if last else site["epochs_per_round"]
        network, before = train(folder, site, received.params, max_epochs=epochs, resume=rounds > 0, freeze=last)
        rounds += 1
        note(folder, "fit" if last else "train", received=received.params, before=before, network=network)
        if last:
            flare.send(flare.FLModel(metrics={"num_epochs": epochs}))
        else:
            # Every hospital counts the same, as every domain does in a batch of the joint bundle: no number of steps
            # goes with it, by which NVFlare would weigh the average.
            flare.send(flare.FLModel(params=shared_state(network), params_type=flare.ParamsType.FULL))


def train(
    folder: Path,
    site: Mapping[str, Any],
    received: Mapping[str, Tensor],
    *,
    max_epochs: int,
    resume: bool,
    freeze: bool,
) -> tuple[MultiDomainUNet, dict[str, Tensor]]:
    """Go on with the site's own run, from the shared layers received.

    Norms, heads and the optimizer's state are those that the last round left in the run's `last.pt`.

    Args:
        folder: of the site.
        site: its settings.
        received: shared layers.
        max_epochs: in all rounds so far and this one.
        resume: whether there was a round before.
        freeze: train norms and heads only.

    Returns:
        The trained network, and its shared layers before the first step.
    """
    workflow = ConfigWorkflow(
        config_file=site["configs"],
        workflow_type="train",
        logging_file=False,
        bundle_root=site["bundle"],
        manifests=[str(folder / site["manifest"])],
        output_dir=str(folder / "run"),
        max_epochs=max_epochs,
        resume=resume,
        **site["overrides"],
    )
    workflow.initialize()
    trainer = workflow.parser.get_parsed_content("train#trainer")
    network = workflow.parser.get_parsed_content("training_run").network
    state = workflow.parser.get_parsed_content("state")
    before: dict[str, Tensor] = {}

    def take_over() -> None:  # after the run's own start, which reads last.pt
        load_shared(network, received)
        before.update(shared_state(network))
        state.best = None  # the best model before an average is another model
        for name in before if freeze else ():
            network.get_parameter(name).requires_grad_(False)

    trainer.add_event_handler(Events.STARTED, take_over)
    workflow.run()
    workflow.finalize()
    return network, before


def note(folder: Path, task: str, *, received: Mapping, before: Mapping, network: MultiDomainUNet) -> None:
    """Write down, at the site, what it received, started from, ends with, and what of its own must never be seen."""
    states = {"received": received, "before": before, "after": shared_state(network), "own": domain_state(network)}
    digests = {name: {key: digest(tensor) for key, tensor in state.items()} for name, state in states.items()}
    with (folder / "rounds.jsonl").open("a") as file:
        file.write(json.dumps({"task": task, **digests}) + "\n")


if __name__ == "__main__":
    main()
