"""The configurations of a packaged bundle: those of the repository as JSON, with the model described in them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from custom_components.models.checkpoints import state_dict_bytes
from custom_components.models.digests import join_digests
from custom_components.models.seen import SEEN, Seen
from custom_components.models.trained_model import QUALITY, QUALITY_WEIGHTS, TrainedModel
from custom_components.workflows.monai_workarounds import OWN_FOLDER

from multijoint.running import find_bundle

Config = dict[str, Any]

_KEPT = ("seed", "epoch", "validation_dice", "packaged_data", "start", "flip_axes")  # of the record of a training

_DEVICE = {"_target_": "custom_components.workflows.select_device", "name": "auto"}
_STATED_BY_THE_NETWORK = (
    "planes",
    "widths",
    "norm",
    "attention",
    "embedding",
    "embedding_scales",
    "deep_supervision",
    "shared_labels",
    "foreground_prior",
    "start_from",
    "start_record",
)


def packaged_configs(
    bundle: Path, model: TrainedModel, *, domain: str, data: Sequence[Mapping[str, Any]] = ()
) -> dict[str, Config]:
    """Content of `configs/*.json`, by file name, but for `metadata.json`.

    A configuration of a packaged bundle needs no other file to know domains, labels, architecture and image size; it
    finds its own folder; and its `postprocessing` neither writes nor asks for names, so that other tools can run it.

    Args:
        bundle: the bundle in the repository.
        model: the packaged model; a folded one or an ensemble cannot be trained, so no training is included.
        domain: name of the default domain.
        data: rows of `model_card.data_rows`.
    """
    model = replace(model, training=dict(model.training) | {"packaged_data": [dict(row) for row in data]})
    configs = {"inference.json": _inference(bundle_config(bundle, "inference.yaml"), model, domain)}
    if model.network["norm"] != "folded" and not model.members:
        configs["train.json"] = _train(bundle_config(bundle, "train.yaml"), model, domain)
        configs["evaluate.json"] = bundle_config(bundle, "evaluate.yaml") | {"checkpoint": "$@bundle_root"}
        configs["multi_gpu_train.json"] = bundle_config(bundle, "multi_gpu_train.yaml")
    if len(model.data_sets) > 1:
        configs |= {f"domain_{each.name}.json": {"domain": each.name} for each in model.data_sets}
    return configs


def describe(model: TrainedModel) -> Config:
    """A model in plain types, without weights and without names of subjects, which may be patients'."""
    described = model.to_dict()
    training = {key: described["training"][key] for key in _KEPT if key in described["training"]}
    if QUALITY in described["training"]:
        known = described["training"][QUALITY]
        training[QUALITY] = {each.name: known[each.name] for each in model.domains if each.name in known}
        digests = [hashlib.sha256(state_dict_bytes(each)).hexdigest() for each in model.members or (model,)]
        training[QUALITY_WEIGHTS] = join_digests(digests)
    content = {key: described[key] for key in ("domains", "preprocessing", "network")} | {"training": training}
    members = [{key: describe(each)[key] for key in ("network", "training")} for each in model.members]
    return content | ({"members": members} if members else {})


def bundle_config(bundle: Path, name: str) -> Config:
    """A configuration `configs/<name>`, YAML or JSON: the joint bundle's, with the bundle's own values over it."""
    config: Config = {}
    for folder in (find_bundle(), bundle):
        path = folder / "configs" / name
        if path.is_file():
            config |= yaml.safe_load(path.read_text(encoding="utf-8"))  # of which JSON is a part
    return config


def bundle_file(bundle: Path, name: str) -> bytes:
    """Content of a file that a bundle has itself or shares with the joint bundle."""
    path = bundle / name
    return (path if path.is_file() else find_bundle() / name).read_bytes()


def _common(config: Config, model: TrainedModel) -> Config:
    network = {"_target_": "custom_components.networks.MultiDomainUNet", **model.network, "domain": "@domain"}
    return config | {
        "imports": ["$import sys", "$import inspect"],
        "bundle_root": OWN_FOLDER,
        "device": _DEVICE,
        "model": {"_target_": "custom_components.models.describe_model", **describe(model)},
        "network_def": network,
    }


def _inference(config: Config, model: TrainedModel, domain: str) -> Config:
    config = _common(config, model)
    config["network"] = {
        "_target_": "custom_components.inference.build_inference_network",
        "model": "@model",
        "checkpoint": "@checkpoint",
        "domain": "@named_domain",
        "precision": "@precision",
        "device": "@run_device",
        "network": "@network_def",
    }
    config["results"] |= {
        "model": {"_target_": "custom_components.workflows.identify", "model": "@model", "path": "@checkpoint"}
    }
    config["inferer"] |= {"domain": "@named_domain"}
    config["network_def"] |= {"domain": "$@named_domain or 0"}
    config["domain"] = domain
    if len(model.data_sets) > 1:  # annotation tools offer what stands here to their users
        config |= {"displayable_configs": {"domain": domain}, "domain": "@displayable_configs#domain"}
    return config


def _train(config: Config, model: TrainedModel, domain: str) -> Config:
    """Go on from the packaged weights, on data sets of the same domains or on items that another tool hands over."""
    stated = {name: getattr(model.preprocessing, name) for name in ("context", "context_mm", "position")}
    stated |= model.preprocessing.to_dict()
    config = _common(config, model) | {
        "manifests": [],
        "domain": domain,
        "checkpoint": "$@bundle_root + '/models/model.pt'",
        "publish_to": "$@bundle_root + '/models/model.pt'",
        "output_dir": {"_target_": "custom_components.workflows.new_folder", "parent": "$@bundle_root + '/runs'"},
        **stated,
        "domains": "$@model.domains",
        "start": {
            "_target_": "custom_components.models.load_weights",
            "network": "@network_def",
            "path": "@checkpoint",
        },
        "network": "$@start.to(@training_run.device, memory_format=torch.channels_last)",
    }
    for name in _STATED_BY_THE_NETWORK:
        config.pop(name)
    config["head"] = model.network["head"]  # which the loss asks for
    if len(model.domains) == 1:
        config["contrastive_weight"] = 0.0
    seen = {"_target_": "custom_components.data.split_of", "domain": "@domain"}
    seen |= {"training": "@train#dataset#data", "validation": "@validate#dataset#data"}
    config["datasets"] = {
        "_target_": "custom_components.workflows.checked_datasets",
        "datasets": config["datasets"],
        "model": "@model",
    }
    config["training_run"] = {
        key: value for key, value in config["training_run"].items() if key not in ("datasets", "start_record")
    }
    # The packaged weights come from people whom the package does not name.
    config["training_run"] |= {"split": seen, "start_record": {SEEN: Seen(complete=False).to_dict()}}
    network = {name: model.network[name] for name in config["plan"]["network"] if name in model.network}
    config["plan"] |= {"split": seen, "widths": model.network.get("widths"), "network": network}
    for side in ("train", "validate"):
        config[side]["dataset"] |= {"domain": "@domain"}
    config["run"] = [*config["run"], "$@publish(@output_dir)"]
    config["publish"] = {"_target_": "custom_components.workflows.publish", "path": "@publish_to", "_mode_": "callable"}
    return config


def as_json(config: Mapping[str, Any]) -> bytes:
    """Content of a JSON file."""
    return (json.dumps(config, indent=2, ensure_ascii=False) + "\n").encode()
