"""Record of a training run: settings are checked and written down before it starts."""

from __future__ import annotations

import json
import logging
import logging.handlers
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import yaml
from custom_components.data.manifests import Manifest
from custom_components.data.preprocessing import Preprocessing
from custom_components.data.splits import Split, describe
from custom_components.distributed import check_joined, first_rank_only, num_ranks
from custom_components.domains import Domain
from custom_components.errors import InputError
from custom_components.models.checkpoints import RESUMABLE
from custom_components.models.seen import SEEN, seen_by
from custom_components.models.trained_model import TrainedModel
from custom_components.networks.parameters import count_parameters
from custom_components.networks.unet import MultiDomainUNet
from custom_components.system.files import remove_stale_temporaries, write_atomically
from custom_components.system.terminal import log_lines
from custom_components.training.planning import PLAN, TrainingPlan
from custom_components.training.resuming import check_same, load_newest, trained_with
from custom_components.training.run_lock import RunLock
from custom_components.workflows.begin import select_device
from custom_components.workflows.monai_workarounds import active_config
from custom_components.workflows.settings import plain
from torch import Tensor

_logger = logging.getLogger(__name__)

_LOG = "run.log"
_LOG_BYTES = 5 * 2**20  # of each of three files
_PACKAGES = ("monai", "torch", "numpy", "scipy", "nibabel", "pytorch-ignite", "scikit-image")


@dataclass(eq=False)
class TrainingRun:
    """Folder of a run with everything that made it: `config.yaml`, `split.json`, `run.json`; and its log, `run.log`.

    Only `config.yaml`, which holds the settings as given, may hold paths. `plan.json` has those that were "auto".

    Domains are in the order of the network. With `resume` the run in the folder is continued, if it was begun with the
    same people, files and settings; without it, a folder that holds one is refused. `started_from` is the trained model
    whose weights the network starts with, if any: its subjects count as seen by this run, and image size and
    normalisation must be its own. Licences and sources of the data sets are recorded, and those of `start_record`, see
    `models.starting`; so are the people that either model has seen.

    Attributes:
        trained_with: what `last.pt` says of files and settings, see `resuming.trained_with`; set by `start`.
        concern: what the last line of the training warns of, "" for nothing.
    """

    output_dir: Path
    domains: Sequence[Domain]
    split: Split
    network: MultiDomainUNet
    preprocessing: Preprocessing
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    seed: int = 0
    resume: bool = False
    started_from: TrainedModel | None = None
    datasets: Sequence[Manifest] = ()
    plan: TrainingPlan | None = None
    start_record: Mapping[str, Any] | None = None
    trained_with: dict[str, Any] = field(default_factory=dict, init=False)
    concern: str = field(default="", init=False)
    _origin: dict[str, Any] = field(default_factory=dict, init=False)
    _lock: RunLock | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.output_dir = Path(self.output_dir)
        self.device = select_device(self.device)
        before = self.started_from
        if before is not None:
            earlier = {name: value for name, value in before.training.items() if name not in ("split", SEEN)}
            self._origin["started_from"] = {"digest": before.digest, "training": earlier}
            self._origin[SEEN] = seen_by(before.training).to_dict()
        if self.start_record is not None:
            record = dict(self.start_record)
            if SEEN in record:
                self._origin[SEEN] = record.pop(SEEN)
            self._origin |= {"start": record} if record else {}

    @first_rank_only
    def start(self) -> None:
        """Write the run's record, print its split and begin its log; of several processes only the first does.

        Raises:
            InputError: the image size does not suit the network, the folder holds a run already and `resume` is false,
                there is nothing to resume or it was begun otherwise, another training is running in the folder, or the
                folder cannot be made.
        """
        check_joined()
        factor = self.network.size_factor
        sizes = [list(self.preprocessing.size_of(domain.name)) for domain in self.domains]
        for rows, columns in sizes:
            if rows % factor or columns % factor:
                raise InputError(
                    f"image_size must be multiples of {factor} for {len(self.network.settings()['widths'])} widths, "
                    f"got {[rows, columns]}; round it"
                )
        if self.network.shared_norm and any(size != sizes[0] for size in sizes):
            raise InputError(f"image_size must be one for all domains where the norm is shared, got {sizes}")
        start = self.started_from
        if start is not None and self.start_record is not None:
            raise InputError(
                "start_from must be null where a model is adapted, which the network starts from; leave it"
            )
        if start is not None and any(
            self.preprocessing.for_domain(each.name) != start.preprocessing.for_domain(each.name)
            for each in start.domains
        ):
            model, given = start.preprocessing.to_dict(), self.preprocessing.to_dict()
            raise InputError(
                f"image_size, normalization, context and position must be the model's own ({model}), got {given}; "
                "leave the settings out"
            )
        self._check_folder()
        try:
            self.output_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"output_dir must be a folder to make, got {self.output_dir} ({error.strerror}); choose another"
            ) from error
        self.end()
        self._lock = RunLock(self.output_dir)
        try:
            self._check_folder()  # again: before the lock another training may have come and gone
            self._note_origin()
        except Exception:
            self.end()
            raise
        remove_stale_temporaries(self.output_dir, recursive=False)  # of a process killed while it wrote
        log = logging.handlers.RotatingFileHandler(
            self.output_dir / _LOG, maxBytes=_LOG_BYTES, backupCount=2, encoding="utf-8"
        )
        log.set_name(_LOG)
        log.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logging.getLogger().addHandler(log)
        total, own = count_parameters(self.network)
        config = {key: value for key, value in active_config().items() if key != "_meta_"}
        self._write("config.yaml", yaml.safe_dump(plain(config), sort_keys=False, allow_unicode=True))
        self._write("split.json", json.dumps(self._seen(), indent=2))
        self._write("run.json", json.dumps(self._record() | {"weights": total, "weights_per_domain": own}, indent=2))
        if self.plan is not None and self.plan.lines:
            self._write(PLAN, self.plan.to_json())
            log_lines(_logger, self.plan.lines)
        log_lines(_logger, describe(self.split))
        if not self.split.validation:
            _logger.info("no case validates: model.pt will hold the last weights, and no confidence is calibrated")
        share = "%.2f M weights, %d of them (%.2f %%) for each domain alone; %s"
        _logger.info(share, total / 1e6, own, 100 * own / total, self.device)

    def _check_folder(self) -> None:
        resumable = [self.output_dir / name for name in RESUMABLE]
        if self.resume and not any(path.is_file() for path in resumable):
            raise InputError(f"resume needs {resumable[0]}, got no such file; start without it")
        if not self.resume and any(path.exists() for path in (*resumable, self.output_dir / "model.pt")):
            raise InputError(
                f"output_dir must not hold another run, got {self.output_dir} with a model in it; "
                "choose another folder, or continue with --resume true"
            )

    def _note_origin(self) -> None:
        """Note what the run is trained with; if it is resumed, that is what it was begun with, and its origin too."""
        planned = {} if self.plan is None else asdict(self.plan)
        planned.pop("lines", None)
        self.trained_with = trained_with((*self.split.training, *self.split.validation), planned=planned)
        if self.resume:
            state = load_newest(self.output_dir)
            new = self.model(epoch=0, validation_dice=None).to_dict() | {"resume": {"trained_with": self.trained_with}}
            check_same(state, new, folder=self.output_dir)
            self._origin |= {name: state["training"][name] for name in ("start", SEEN) if name in state["training"]}

    def end(self) -> None:
        """Warn of `concern`; end the log and the lock that `start` began, or an earlier run's log in this process."""
        if self.concern:
            _logger.warning("%s", self.concern)
            self.concern = ""
        root = logging.getLogger()
        for handler in [each for each in root.handlers if each.get_name() == _LOG]:
            root.removeHandler(handler)
            handler.close()
        if self._lock is not None:
            self._lock.release()

    def model(
        self, *, epoch: int, validation_dice: float | None, tensors: Mapping[str, Tensor] | None = None
    ) -> TrainedModel:
        """The present network and its description; `tensors` replace the network's own of their names."""
        training = self._record() | {"epoch": epoch, "validation_dice": validation_dice, "split": self._seen()}
        state = self.network.state_dict() | dict(tensors or {})
        weights = {name: tensor.detach().cpu() for name, tensor in state.items()}
        return TrainedModel(tuple(self.domains), self.preprocessing, self.network.settings(), weights, training)

    def _seen(self) -> dict[str, Any]:
        """The cases of the model that the run started from, followed by those of the split."""
        split = self.split.to_dict()
        earlier = {} if self.started_from is None else self.started_from.training.get("split", {})
        return split | {side: [*earlier.get(side, []), *split[side]] for side in ("training", "validation", "testing")}

    def _record(self) -> dict[str, Any]:
        gpu = f" ({torch.cuda.get_device_name(self.device)})" if self.device.type == "cuda" else ""
        return self._origin | {
            "seed": self.seed,
            "device": f"{self.device}{gpu}",
            "processes": num_ranks(),
            "domains": [domain.to_dict() for domain in self.domains],
            **{name: plain(value) for name, value in active_config().items() if name == "flip_axes"},
            "data": [
                {"domain": each.domain.name, "licence": each.licence, "source": each.source} for each in self.datasets
            ],
            "versions": {"python": sys.version.split()[0], **{name: version(name) for name in _PACKAGES}},
        }

    def _write(self, name: str, text: str) -> None:
        write_atomically(self.output_dir / name, (text.rstrip() + "\n").encode())
