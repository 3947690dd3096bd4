"""The documents of a packaged bundle: its model card, and the licences of the data it learned from."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from custom_components.errors import InputError
from custom_components.metrics.score_tables import ALL_BONES
from custom_components.models.trained_model import TrainedModel

from multijoint.sharing.packaging.held_out import BoneDice

__all__ = ["data_licence", "data_rows", "model_card", "read_scores"]

_UNKNOWN = "not recorded"


def data_rows(model: TrainedModel) -> list[dict[str, Any]]:
    """What each domain was learned from: its licence and source, and how many subjects trained and validated.

    Numbers only: names of subjects may be patients'.
    """
    training = model.training
    origins = [training]
    while "started_from" in origins[-1]:
        origins.append(origins[-1]["started_from"].get("training", {}))
    known = {row["domain"]: row for origin in reversed(origins) for row in origin.get("data", ())}
    counts = {
        side: Counter(domain for domain, _ in {(row["domain"], row["subject"]) for row in training["split"][side]})
        for side in ("training", "validation")
        if "split" in training
    }
    packaged = {row["domain"]: row for origin in origins for row in origin.get("packaged_data", ())}
    rows = []
    for domain in model.domains:
        row = {"domain": domain.name, "licence": _UNKNOWN, "source": _UNKNOWN, "training": 0, "validation": 0}
        row |= {key: value for key, value in known.get(domain.name, {}).items() if key in row}
        row |= {side: count[domain.name] for side, count in counts.items()}
        earlier = packaged.get(domain.name)
        rows.append(dict(earlier) if earlier and not row["training"] else row)
    return rows


def read_scores(evaluation: Path | None) -> list[dict[str, str]]:
    """Rows of the `summary.csv` that an evaluation wrote; none without an evaluation.

    Raises:
        InputError: the folder has no such file.
    """
    if evaluation is None:
        return []
    path = evaluation / "summary.csv"
    if not path.is_file():
        raise InputError(f"evaluation must be a folder with summary.csv, got {evaluation}; run evaluating first")
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def data_licence(rows: Sequence[Mapping[str, Any]]) -> str:
    """Content of `docs/data_license.txt`."""
    lines = ["The weights were learned from these data sets. None of them is part of this bundle.", ""]
    lines += [f"{row['domain']}\n  licence: {row['licence']}\n  source: {row['source']}" for row in rows]
    return "\n".join(lines) + "\n"


def model_card(
    name: str,
    metadata: Mapping[str, Any],
    model: TrainedModel,
    *,
    domain: str,
    data: Sequence[Mapping[str, Any]],
    scores: Sequence[Mapping[str, Any]],
    int8: Sequence[BoneDice] = (),
) -> str:
    """Content of `docs/README.md`; without front matter, which hubs put before it themselves.

    Args:
        name: of the bundle's folder.
        metadata: filled.
        model: what is packaged.
        domain: name of the default domain.
        data: see `data_rows`.
        scores: see `read_scores`.
        int8: what its int8 networks cost; none if it has none.
    """
    folded = model.network["norm"] == "folded"
    parts = [
        f"# {metadata['name']}\n\n{metadata['description']}\n\n"
        "**Research only. Not a medical device.** Nothing here has been validated for clinical use.\n",
        _what_it_segments(model, domain),
        _how_to_run(name, model, domain),
        _training_again(name, model)
        if not folded
        else "Its norms are folded into the convolutions: faster, the same "
        "label maps but for rounding, and it cannot be trained further.\n",
        _data(data, model),
        _scores(scores),
        *([_int8(int8)] if int8 else []),
        _LIMITS,
        "## Changelog\n\n" + "\n".join(f"- {key}: {text}" for key, text in metadata["changelog"].items()) + "\n",
        "## Reference\n\n" + "\n".join(f"- {text}" for text in metadata["references"]) + "\n",
    ]
    return "\n".join(parts)


def _what_it_segments(model: TrainedModel, domain: str) -> str:
    rows = ["| domain | labels | slices | images |", "|---|---|---|---|"]
    for each in model.domains:
        default = " (default)" if each.name == domain and len(model.domains) > 1 else ""
        labels = ", ".join(f"{value} {bone}" for value, bone in each.labels.items())
        rows.append(f"| {each.name}{default} | {labels} | {each.plane} | {each.modality} |")
    size = " x ".join(map(str, model.preprocessing.image_size))
    return (
        "## What it segments\n\n"
        + "\n".join(rows)
        + f"\n\nSlices are resized to {size} pixels; label maps come back on "
        "the scan's own grid, in any axis order, oblique too.\n"
    )


def _how_to_run(name: str, model: TrainedModel, domain: str) -> str:
    other = next((each.name for each in model.domains if each.name != domain), None)
    switch = (
        f"\nAnother domain: `--domain {other}`, or `--config_file \"['{name}/configs/inference.json',"
        f"'{name}/configs/domain_{other}.json']\"`; in Python `monai.bundle.load(..., "
        f'net_override={{"domain": "{other}"}})`.\n'
        if other
        else ""
    )
    return (
        "## How to run\n\nThe packages of `configs/metadata.json` are needed (`monai_version`, `pytorch_version`, "
        "`numpy_version`, `required_packages_version`); the code is in the bundle. Running a bundle is running its "
        "code: check where you have it from, and `sha256sum -c checksums.sha256` in its folder.\n\n"
        "```\n"
        f"python -m monai.bundle run inference --config_file {name}/configs/inference.json "
        f"--images \"['scan.nii.gz']\" --output_dir out\n"
        "```\n"
        f"{switch}\n`models/model.ts` (TorchScript) and `models/*.onnx` take normalised slices and give logits, one "
        "domain each.\n"
    )


def _training_again(name: str, model: TrainedModel) -> str:
    manifests = ",".join(f"'{each.name}/manifest.yaml'" for each in model.domains)
    return (
        "Training goes on from these weights with data of the same domains:\n\n```\n"
        f"python -m monai.bundle run training --config_file {name}/configs/train.json "
        f'--manifests "[{manifests}]" --output_dir runs/new --publish_to null\n'
        "```\n\nWithout `--publish_to null` the new weights take the place of `models/model.pt`, as annotation tools "
        "expect. A new domain is added by `multijoint adapt`.\n"
    )


def _data(rows: Sequence[Mapping[str, Any]], model: TrainedModel) -> str:
    lines = ["| domain | subjects trained on | validated on | licence | source |", "|---|---|---|---|---|"]
    lines += [
        f"| {row['domain']} | {row['training']} | {row['validation']} | {row['licence']} | {row['source']} |"
        for row in rows
    ]
    training = model.training
    dice = training.get("validation_dice")
    best = f"epoch {training['epoch']}" if "epoch" in training else "an unknown epoch"
    return (
        "## Data\n\n" + "\n".join(lines) + f"\n\nThe weights are those of {best}"
        f"{f', with a Dice of {dice:.3f} on the validation subjects' if dice is not None else ''}.\n"
    )


def _scores(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return "## Scores\n\nNot evaluated on test subjects when it was packaged.\n"
    lines = ["| domain | bone | exams | missed | Dice % | ASSD mm | MSSD mm |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        bold = "**" if row["label"] == ALL_BONES else ""
        dice, assd, mssd = (_number(row[key]) for key in ("dice_mean", "assd_mean_mm", "mssd_mean_mm"))
        dice = f"{100 * float(row['dice_mean']):.1f}" if dice != "-" else "-"
        lines.append(
            f"| {row['domain']} | {bold}{row['label']}{bold} | {row['n']} | {row['missed']} "
            f"| {dice} | {assd} | {mssd} |"
        )
    how = f"border={rows[0]['border']}, connectivity={rows[0]['connectivity']}"
    return (
        "## Scores\n\nOn test subjects, whom the network has not seen. A missed bone counts as Dice 0 and is in no "
        "distance.\n\n" + "\n".join(lines) + f"\n\nSurface convention: {how}. ASSD and MSSD: average and maximum "
        "symmetric surface distance.\n"
    )


def _int8(rows: Sequence[BoneDice]) -> str:
    lines = [
        "| domain | bone | held-out cases | Dice % float32 | Dice % int8 | fall, points |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.domain} | {row.label} | {row.cases} | {100 * row.float32:.2f} | {100 * row.int8:.2f} "
        f"| {100 * row.fall:.3f} |"
        for row in rows
    ]
    return (
        "## Int8\n\n`models/*.int8.onnx` are the same networks in 8 bits, faster on a CPU: add `--precision int8` to "
        "the command above; they need OpenVINO (`pip install openvino`). They were calibrated on people trained on; "
        "then both networks segmented people never seen. A fall of more than 0.1 points in any bone would have kept "
        "them out of the bundle.\n\n" + "\n".join(lines) + "\n"
    )


def _number(text: str) -> str:
    return f"{float(text):.2f}" if text and text != "nan" else "-"


_LIMITS = """## Intended use and limits

For research on images like those above: same anatomy, field of view, sequence and age. On others its label maps may be
wrong without looking wrong; look at every one of them, and name the right domain, for it looks for the bones of
that one only. Small data sets make uncertain scores.
"""
