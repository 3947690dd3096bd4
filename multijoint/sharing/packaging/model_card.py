"""Documents of a packaged bundle: the model card, and the licences of the training data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from custom_components.domains import Domain
from custom_components.errors import InputError, show_path
from custom_components.metrics.evaluation import WEIGHTS
from custom_components.metrics.score_tables import ALL_BONES
from custom_components.models.ensembles import weights_digest
from custom_components.models.trained_model import TrainedModel
from custom_components.system.files import read_csv

from multijoint.sharing.packaging.held_out import BoneDice

_UNKNOWN = "not recorded"


def data_rows(model: TrainedModel) -> list[dict[str, Any]]:
    """One row per domain: licence and source of its data, number of subjects trained and validated on.

    Data of a model whose weights were the first ones (`models.starting`) follow, with "start" in place of numbers.
    Names of subjects are left out: they may be patients'.
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
    for domain in model.data_sets:
        row = {"domain": domain.name, "licence": _UNKNOWN, "source": _UNKNOWN, "training": 0, "validation": 0}
        row |= {key: value for key, value in known.get(domain.name, {}).items() if key in row}
        row |= {side: count[domain.name] for side, count in counts.items()}
        earlier = packaged.get(domain.name)
        rows.append(dict(earlier) if earlier and not row["training"] else row)
    listed = [{key: row[key] for key in ("domain", "licence", "source")} for row in rows]
    before = [row for origin in origins for row in origin.get("start", {}).get("data", ()) if row not in listed]
    return rows + [{**row, "training": "start", "validation": "start"} for row in before]


def read_scores(evaluation: Path | None, *, model: TrainedModel | None = None) -> list[dict[str, str]]:
    """Rows of the `summary.csv` of an evaluation; none without an evaluation.

    Raises:
        InputError: the folder has no such file, or scored other weights than those of `model`.
    """
    if evaluation is None:
        return []
    path = evaluation / "summary.csv"
    if not path.is_file():
        raise InputError(f"evaluation must be a folder with summary.csv, got {evaluation}; run evaluating first")
    scored = evaluation / WEIGHTS
    if model is not None and scored.is_file() and scored.read_text().strip() != weights_digest(model):
        rule = f"evaluation {show_path(evaluation)} must be of the weights to package, got scores of others"
        raise InputError(f"{rule} ({WEIGHTS}); evaluate these, or leave it out")
    return read_csv(path)


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
    """Content of `docs/README.md`, from `model_card.md.j2`; hubs put front matter before it themselves.

    Args:
        name: of the bundle's folder.
        metadata: filled, see `fill_metadata`.
        model: the packaged model.
        domain: name of the default domain.
        data: see `data_rows`.
        scores: see `read_scores`.
        int8: Dice of its int8 networks; none without them.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=False,  # Markdown, not HTML
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"number": as_number, "percent": as_percent}
    other = next((each.name for each in model.data_sets if each.name != domain), None)
    known = {"name": name, "metadata": metadata, "model": model, "domain": domain, "other": other, "data": data}
    known |= {"scores": scores, "int8": int8, "all_bones": ALL_BONES, "bones": _bones}
    return environment.get_template("model_card.md.j2").render(known)


def _bones(domain: Domain) -> str:
    return ", ".join(f"{value} {bone}" for value, bone in domain.labels.items())


def as_number(text: str) -> str:
    """A cell of `summary.csv` with two digits, "-" if undefined."""
    return f"{float(text):.2f}" if text and text != "nan" else "-"


def as_percent(text: str) -> str:
    """A share in a cell of `summary.csv` in percent, "-" if undefined."""
    return f"{100 * float(text):.1f}" if text and text != "nan" else "-"
