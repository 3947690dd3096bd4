import itertools
import json
import logging
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from custom_components.domains import COLORS
from custom_components.errors import InputError
from matplotlib import image as pictures
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from multijoint.experiments.figures.curves import draw_few_subjects, draw_learning_curves
from multijoint.experiments.figures.embeddings import check_methods, draw_embeddings
from multijoint.experiments.figures.exams import draw_exams
from multijoint.experiments.figures.figures import write_figures
from multijoint.experiments.figures.layout import wrap_name
from multijoint.experiments.jobs.methods import title_of
from multijoint.experiments.rows import COLUMNS, write_rows

LONG = "attunet-joint+an_override_with_a_very_long_name"
BONES = {"ankle": ["calcaneus", "talus", "tibia"], "shoulder": ["humerus", "scapula"]}
Arrays = dict[str, np.ndarray]


def plant_examples(methods: list[str], *, prefix: str = "", shift: int = 1) -> tuple[dict[str, Any], Arrays]:
    """Round bones in a row; every prediction is the reference, moved."""
    rng = np.random.default_rng(0)
    arrays: Arrays = {}
    examples: list[dict[str, Any]] = []
    x, y = np.mgrid[:48, :40]
    for domain, bones in BONES.items():
        reference = np.zeros((48, 40), np.uint8)
        for index in range(len(bones)):
            reference[(x - 10 - 12 * index) ** 2 + (y - 18) ** 2 < 25] = index + 1
        for rank in ("best", "median", "worst"):
            number = len(examples)
            arrays[f"{number}/image"] = rng.uniform(0, 100, (48, 40)).astype(np.float32)
            arrays[f"{number}/reference"] = reference
            for method in methods:
                arrays[f"{number}/prediction/{method}"] = np.roll(reference, shift, axis=1)
            row = {"domain": domain, "rank": rank, "case": f"{prefix}{domain}_{rank}", "slice": 7}
            row |= {"plane": "axial", "spacing_mm": [0.8, 1.2], "dice": dict.fromkeys(methods, 0.9 - 0.01 * number)}
            examples.append(row | {"labels": {str(k): bone for k, bone in enumerate(bones, start=1)}})
    return {"methods": methods, "examples": examples, "rule": "Chosen by exam Dice."}, arrays


def plant_embeddings(
    methods: list[str], *, epochs: tuple[int, ...] = (10, 30), domains: tuple[str, ...] = ("ankle", "shoulder")
) -> tuple[dict[str, Any], Arrays]:
    """Clusters that the norms make."""
    rng = np.random.default_rng(0)
    arrays: Arrays = {}
    for method in methods:
        domain = np.arange(36) % len(domains)
        by_norm = np.repeat(rng.normal(size=(36, 1, 8)), len(domains), axis=1)
        by_norm += 5 * rng.normal(size=(1, len(domains), 8))
        arrays |= {f"{method}/domain": domain, f"{method}/training": np.arange(36) < 28}
        arrays[f"{method}/case"] = np.array([f"c{index}" for index in range(36)])
        for epoch in epochs:
            arrays[f"{method}/{epoch}/embedding"] = by_norm[np.arange(36), domain].astype(np.float32)
        for name in ("embedding_by_norm", "convolution_by_norm"):
            arrays[f"{method}/{epochs[-1]}/{name}"] = by_norm.astype(np.float32)
    meta = {"methods": methods, "domains": list(domains), "seed": 0, "fold": 2}
    return meta | {"epochs": {method: list(epochs) for method in methods}}, arrays


def case_rows(method: str, train_subjects: str, dice: dict[int, float], domain: str = "ankle") -> list[dict[str, Any]]:
    """A row an exam; `dice` by fold."""
    base = dict.fromkeys(COLUMNS["cases"], 1.0) | {"status": "ok", "status_before": "ok", "seed": 0}
    base |= {"method": method, "train_subjects": train_subjects, "domain": domain, "label": BONES[domain][0]}
    return [base | {"fold": fold, "case": f"c{fold}", "subject": f"s{fold}", "dice": x} for fold, x in dice.items()]


def curve_rows(method: str, domains: str, values: dict[tuple[int, str, str], list[float]]) -> list[dict[str, Any]]:
    """One value an epoch from 1 on; `values` by fold, quantity and domain."""
    job = {"method": method, "seed": 0, "train_subjects": "all", "domains": domains}
    return [
        job | {"fold": fold, "epoch": epoch, "quantity": quantity, "domain": domain, "value": value}
        for (fold, quantity, domain), series in values.items()
        for epoch, value in enumerate(series, start=1)
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, (meta, arrays) in {
        "examples": plant_examples(["unet-base", "proposed"]),
        "embeddings": plant_embeddings(["unet-joint", "unet-dsl", "proposed"]),
    }.items():
        np.savez_compressed(tmp_path / f"{name}.npz", meta=np.array(json.dumps(meta)), **arrays)
    write_rows(
        tmp_path,
        "cases",
        case_rows("unet-base", "3", {0: 0.5, 1: 0.7}) + case_rows("unet-base", "all", {0: 0.8, 1: 0.9}),
    )
    dice = {(0, "loss", ""): [2.0, 1.0], (0, "validation_dice", "ankle"): [0.5, 0.6]}
    write_rows(tmp_path, "curves", curve_rows("proposed", "ankle+shoulder", dice))
    return tmp_path


def texts_of(figure: Figure) -> list[Text]:
    """Every text that is drawn."""
    figure.draw_without_rendering()
    hidden: set[int] = set()
    for plot in figure.axes:
        for axis in (plot.xaxis, plot.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = zip(axis.get_ticklocs(), axis.get_ticklabels(), strict=True)
            hidden |= {id(label) for place, label in ticks if not (plot.axison and low <= place <= high)}
    texts = [text for text in figure.findobj(Text) if id(text) not in hidden]
    return [text for text in texts if text.get_visible() and text.get_text().strip()]


def assert_legible(figure: Figure) -> None:
    """No text overlaps another, leaves the figure, or, unless it belongs to a panel, lies on one."""
    texts = texts_of(figure)
    boxes = [text.get_window_extent().shrunk(0.98, 0.9) for text in texts]
    for (one, box), (two, other) in itertools.combinations(zip(texts, boxes, strict=True), 2):
        assert not box.overlaps(other), f"{one.get_text()!r} overlaps {two.get_text()!r}"
    for text, box in zip(texts, boxes, strict=True):
        assert box.x0 >= 0, text
        assert box.y0 >= 0, text
        assert box.x1 <= figure.bbox.x1, text
        assert box.y1 <= figure.bbox.y1, text
    free = [*figure.texts, *(text for legend in figure.legends for text in legend.get_texts())]
    for text, plot in itertools.product(free, figure.axes):
        assert not text.get_window_extent().overlaps(plot.get_window_extent()), f"{text.get_text()!r} on a panel"


def test_every_figure_is_written_from_files_alone(folder: Path) -> None:
    written = write_figures(folder, curves=True)
    figures = ["figure3", "figure4", "few", "curves"]
    assert sorted(path.name for path in written) == sorted(
        [f"{name}.{kind}" for name in figures for kind in ("png", "svg")] + ["figure4_checks.csv"]
    )
    for name in figures:
        pixels = pictures.imread(folder / f"{name}.png")[..., :3]
        assert pixels.std() > 0.01
        assert (pixels[0] == 1).all()  # white ground
    expected = {
        "figure3": ["U-Net base", "Proposed", "Dice 90.0", "ankle", "worst", "scapula", "Chosen by exam Dice."],
        "figure4": [
            "epoch 10",
            "epoch 30",
            "U-Net joint",
            "U-Net DSL",
            "shoulder, validation",
            "perplexity 11",
            "random",
        ],
        "few": ["n = 2 runs a point", "all", "U-Net base"],
        "curves": ["loss", "validation Dice (%), ankle", "Lines: 1 run a method."],
    }
    for name, words in expected.items():
        content = (folder / f"{name}.svg").read_text()
        shown = " ".join(ElementTree.fromstring(content).itertext())
        assert [word for word in words if word not in shown] == []


def test_checks_are_saved_for_every_method(folder: Path) -> None:
    write_figures(folder)
    table = pd.read_csv(folder / "figure4_checks.csv")
    assert list(table["method"]) == ["unet-joint", "unet-dsl", "proposed"]
    assert list(table["epoch"]) == [30, 30, 30]
    expected = check_methods(*plant_embeddings(list(table["method"])))
    pd.testing.assert_frame_equal(table, expected, check_dtype=False, atol=1e-5)
    assert (table["silhouette_shuffled"] > 0.5).all()  # the planted clusters are the norms'
    shown = (folder / "figure4.svg").read_text()
    assert f"{table['silhouette_shuffled'][2]:.2f}" in shown


def test_drawing_twice_gives_the_same_bytes(folder: Path) -> None:
    first = {path.name: path.read_bytes() for path in write_figures(folder, curves=True)}
    second = {path.name: path.read_bytes() for path in write_figures(folder, curves=True)}
    assert first == second
    assert b"<dc:date>" not in first["figure4.svg"]


def test_missing_arrays_leave_a_figure_out(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "embeddings.npz").unlink()
    (folder / "cases.csv").unlink()
    with caplog.at_level(logging.WARNING):
        written = write_figures(folder)
    assert {path.stem for path in written} == {"figure3"}
    assert [record.getMessage() for record in caplog.records] == [
        f"figure4 left out: no {folder / 'embeddings.npz'}; run `multijoint experiment` to the end",
        f"few left out: no {folder / 'cases.csv'}; run `multijoint experiment` to the end",
    ]


def test_nothing_to_draw_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="got nothing to draw; run `multijoint experiment` first"):
        write_figures(tmp_path, curves=True)
    write_rows(tmp_path, "cases", case_rows("proposed", "all", {0: 0.9}))  # no row with few subjects
    with pytest.raises(InputError, match="got nothing to draw"):
        write_figures(tmp_path)


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut off"])
def test_spoilt_archives_are_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "examples.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"examples\.npz must be an archive of arrays"):
        write_figures(tmp_path)


def test_missing_array_is_named(tmp_path: Path) -> None:
    meta, arrays = plant_examples(["proposed"])
    del arrays["1/image"]
    np.savez(tmp_path / "examples.npz", meta=np.array(json.dumps(meta)), **arrays)
    with pytest.raises(InputError, match=r"examples\.npz must hold the array 1/image, got none"):
        write_figures(tmp_path)


@pytest.mark.parametrize("methods", [["proposed"], ["unet-base", LONG, *"abcdefgh"]], ids=["one", "ten"])
def test_exams_are_legible(methods: list[str]) -> None:
    figure = draw_exams(*plant_examples(methods, prefix="sub-0123456789_ses-baseline_"))
    assert figure is not None
    assert len(figure.axes) == 6 * len(methods)
    assert_legible(figure)


def test_exam_cells_share_a_crop_that_holds_all_bone() -> None:
    meta, arrays = plant_examples(["unet-base", "proposed"])
    arrays["0/prediction/proposed"][40:42, 2:4] = 1  # far from the reference, in one method
    figure = draw_exams(meta, arrays)
    assert figure is not None
    left, right = figure.axes[:2]
    assert left.get_xlim() == right.get_xlim()
    assert left.get_ylim() == right.get_ylim()
    assert left.get_xlim()[1] < 6 * 0.8  # the reference begins at column 6
    assert left.get_xlim()[0] > 42 * 0.8
    assert left.get_ylim()[0] < 2 * 1.2
    size = -np.diff(left.get_xlim())[0] / np.diff(left.get_ylim())[0]
    assert size == pytest.approx(left.bbox.width / left.bbox.height)  # millimetres are as long in both directions


def test_the_right_of_the_patient_is_at_the_left_with_letters() -> None:
    meta, arrays = plant_examples(["proposed"])
    arrays["0/image"][:] = 0
    arrays["0/image"][30:, 20:] = 100  # to the patient's right and front
    meta["examples"][1]["plane"] = "sagittal"
    figure = draw_exams(meta, arrays)
    assert figure is not None
    axial, sagittal = figure.axes[:2]
    figure.draw_without_rendering()
    place = axial.transAxes.inverted().transform(axial.transData.transform((40 * 0.8, 30 * 1.2)))
    assert (place < (0.5, 1)).all()
    assert place[1] > 0.5

    def letters(plot: Axes) -> dict[str, tuple[float, float]]:
        texts = [text for text in plot.texts if len(text.get_text()) == 1]
        return {
            text.get_text(): plot.transAxes.inverted().transform(plot.transData.transform(text.get_position()))
            for text in texts
        }

    for plot, (left, right, top, bottom) in ((axial, "RLAP"), (sagittal, "APSI")):
        where = letters(plot)
        assert set(where) == {left, right, top, bottom}
        assert where[left][0] < 0.1 < 0.9 < where[right][0]
        assert where[bottom][1] < 0.1 < 0.7 < where[top][1]
    del meta["examples"][0]["plane"]  # as earlier versions wrote it
    figure = draw_exams(meta, arrays)
    assert figure is not None
    assert not letters(figure.axes[0])


def test_bones_have_the_colours_of_reports_and_none_is_white() -> None:
    figure = draw_exams(*plant_examples(["proposed"]))
    assert figure is not None
    handles = {line.get_label(): line.get_color() for line in figure.legends[0].get_lines()}
    assert handles.pop("reference") == "#FFFFFF"
    assert handles == {
        **dict(zip(("ankle: calcaneus", "ankle: talus", "ankle: tibia"), COLORS[:3], strict=True)),
        **dict(zip(("shoulder: humerus", "shoulder: scapula"), COLORS[:2], strict=True)),
    }


def test_exams_without_a_prediction_or_without_bone_are_drawn() -> None:
    meta, arrays = plant_examples(["unet-base", "proposed"])
    del arrays["0/prediction/proposed"], meta["examples"][0]["dice"]["proposed"]
    for name in ("1/reference", "1/prediction/unet-base", "1/prediction/proposed"):
        arrays[name] = np.zeros((48, 40), np.uint8)
    figure = draw_exams(meta, arrays)
    assert figure is not None
    assert [text.get_text() for text in texts_of(figure)].count("not tested") == 1
    assert draw_exams({**meta, "examples": []}, arrays) is None


@pytest.mark.parametrize(
    ("methods", "domains"),
    [(["proposed", "unet-dsl"], ("ankle", "shoulder")), ([LONG, "unet-joint"], ("ankle", "hip_of_children", "wrist"))],
)
def test_embeddings_are_legible(methods: list[str], domains: tuple[str, ...]) -> None:
    meta, arrays = plant_embeddings(methods, domains=domains)
    figure = draw_embeddings(meta, arrays, check_methods(meta, arrays))
    assert_legible(figure)
    shown = [text.get_text() for text in texts_of(figure)]
    titles = ("U-Net DSL", "Proposed") if "proposed" in methods else ("U-Net joint", wrap_name(title_of(LONG), 22))
    assert shown.index(titles[0]) < shown.index(titles[1])


def test_embeddings_without_validation_slices_are_drawn() -> None:
    meta, arrays = plant_embeddings(["proposed"], epochs=(5,))
    arrays["proposed/training"][:] = True
    figure = draw_embeddings(meta, arrays, check_methods(meta, arrays))
    assert [text.get_text() for text in texts_of(figure)].count("n/a") == 2
    arrays["proposed/5/embedding"][:] = 1  # all in one place
    draw_embeddings(meta, arrays, check_methods(meta, arrays))


def test_epochs_that_a_method_lacks_stay_empty() -> None:
    meta, arrays = plant_embeddings(["unet-dsl", "proposed"], epochs=(5, 6))
    meta["epochs"]["unet-dsl"] = [6]
    figure = draw_embeddings(meta, arrays, check_methods(meta, arrays))
    assert [text.get_text() for text in texts_of(figure)].count("not saved") == 1


def test_learning_curves_average_runs_and_the_networks_of_base_methods() -> None:
    rows = curve_rows("unet-base", "ankle", {(0, "loss", ""): [2.0, 1.0], (1, "loss", ""): [4.0, 1.0]})
    rows += curve_rows("unet-base", "shoulder", {(0, "loss", ""): [4.0, 3.0], (1, "loss", ""): [8.0, 3.0]})
    rows += curve_rows("unet-base", "shoulder", {(0, "validation_dice", ""): [0.5, 0.75]})
    rows += curve_rows("proposed", "ankle+shoulder", {(0, "contrastive", ""): [3.0, 2.8]})
    rows += curve_rows("proposed", "ankle+shoulder", {(0, "validation_dice", ""): [0.1, 0.1]})  # a mean over data sets
    rows += [row | {"train_subjects": "3", "value": 99.0} for row in rows]
    figure = draw_learning_curves(pd.DataFrame(rows))
    assert figure is not None
    panels = {plot.get_title(): plot for plot in figure.axes}
    assert list(panels) == ["loss", "contrastive term", "validation Dice (%), shoulder"]
    (loss,) = panels["loss"].lines
    np.testing.assert_allclose(loss.get_xydata(), [[1, 4.5], [2, 2.0]])  # runs: 3, 2 and 6, 2
    band = panels["loss"].collections[0].get_paths()[0].vertices
    assert band[:, 1].max() == pytest.approx(4.5 + 1.5 * 2**0.5)
    (contrastive,) = panels["contrastive term"].lines
    np.testing.assert_allclose(contrastive.get_ydata(), [3.0, 2.8])
    (dice,) = panels["validation Dice (%), shoulder"].lines
    np.testing.assert_allclose(dice.get_ydata(), [50, 75])


def test_few_subjects_show_means_and_deviations() -> None:
    rows = case_rows("unet-base", "10", {0: 0.7, 1: 0.9}) + case_rows("unet-base", "2", {0: 0.5, 1: 0.6, 2: 0.7})
    rows += case_rows("unet-base", "all", {0: 0.9})
    rows += case_rows("proposed", "all", {0: 0.95})  # never had few: not drawn
    figure = draw_few_subjects(pd.DataFrame(rows))
    assert figure is not None
    (plot,) = figure.axes
    assert [label.get_text() for label in plot.get_xticklabels()] == ["2", "10", "all"]
    assert plot.get_title() == "ankle\nn = 1 to 3 runs a point"
    ((line, _, (bars,)),) = plot.containers
    np.testing.assert_allclose(line.get_xydata(), [[0, 60], [1, 80], [2, 90]])
    lengths = [segment[1, 1] - segment[0, 1] for segment in bars.get_segments()]
    np.testing.assert_allclose(lengths, [20, 2 * 200**0.5, 0], atol=1e-9)


def test_curves_are_legible_and_seven_methods_differ() -> None:
    methods = ["unet-base", "unet-joint", "unet-dsl", "attunet-base", "attunet-joint", "attunet-dsl", "proposed"]
    rows, cases = [], []
    for index, method in enumerate([*methods, LONG, "mine"]):
        series = [1.0 / (epoch + index) for epoch in range(1, 31)]
        keys = [(0, name, "") for name in ("loss", "cross_entropy", "contrastive")]
        keys += [(0, "validation_dice", domain) for domain in ("ankle", "a_joint_with_a_very_long_name_of_2021")]
        rows += curve_rows(method, "ankle+shoulder", dict.fromkeys(keys, series))
        for domain, subjects in itertools.product(BONES, ("2", "4", "all")):
            cases += case_rows(method, subjects, {0: 0.5, 1: 0.8}, domain)
    for figure in (draw_learning_curves(pd.DataFrame(rows)), draw_few_subjects(pd.DataFrame(cases))):
        assert figure is not None
        assert_legible(figure)
        handles = figure.legends[0].get_lines()
        assert len({line.get_color() for line in handles[:7]}) == 7
        assert (
            len({(line.get_color(), str(line.get_linestyle()), str(line._unscaled_dash_pattern)) for line in handles})
            == 9
        )


def test_curves_without_rows_are_left_out() -> None:
    assert draw_learning_curves(pd.DataFrame(columns=list(COLUMNS["curves"]), dtype=object)) is None
    assert draw_few_subjects(pd.DataFrame(case_rows("proposed", "all", {0: 0.9}))) is None
