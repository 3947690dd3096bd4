"""What a package says of the data behind its weights, those of a start included."""

import json
from dataclasses import replace

from support.models import make_model

from multijoint.sharing.packaging.configurations import describe
from multijoint.sharing.packaging.model_card import data_licence, data_rows

ANKLE = {"domain": "ankle", "licence": "CC-BY-4.0", "source": "a hospital"}
SHAPES = {"domain": "shapes", "licence": "CC0-1.0", "source": "generated"}


def test_data_of_the_start_travel_with_the_weights() -> None:
    start = {"digest": "0", "data": [SHAPES, ANKLE]}
    model = replace(make_model(), training={"data": [ANKLE], "start": start})
    rows = data_rows(model)
    assert [(row["domain"], row["training"]) for row in rows] == [("ankle", 0), ("shoulder", 0), ("shapes", "start")]
    assert "shapes\n  licence: CC0-1.0\n  source: generated\n" in data_licence(rows)
    assert json.loads(json.dumps(describe(model)))["training"]["start"] == start


def test_data_of_another_start_of_the_same_name_are_listed_too() -> None:
    other = ANKLE | {"source": "another hospital"}
    training = {"data": [ANKLE], "started_from": {"digest": "1", "training": {"start": {"data": [other]}}}}
    rows = data_rows(replace(make_model(), training=training))
    assert [(row["domain"], row["source"]) for row in rows][::2] == [
        ("ankle", "a hospital"),
        ("ankle", "another hospital"),
    ]
