"""The paper's tables from planted rows: every printed number worked by hand, whatever the order of the rows."""

import math

import pandas as pd
import pytest
from custom_components.errors import InputError

from multijoint.experiments.rows import read_rows, write_rows
from multijoint.experiments.tables.tables import write_tables

NAN = math.nan
FILES = [
    "table1.csv",
    "table1.md",
    "table1_bones.csv",
    "table1_bones.md",
    "table2.csv",
    "table2_exams.csv",
    "table2.md",
]
CASES = [
    # method, domain, case, label, Dice, ASSD, MSSD, status
    ("unet-dsl", "ankle", "a1", "calcaneus", 0.80, 1.0, 10.0, "ok"),
    ("unet-dsl", "ankle", "a1", "talus", 0.90, 2.0, 20.0, "ok"),
    ("unet-dsl", "ankle", "a2", "calcaneus", 0.90, 1.1, 8.0, "ok"),
    ("unet-dsl", "ankle", "a2", "talus", 0.00, NAN, NAN, "missed"),
    ("unet-dsl", "shoulder", "s1", "humerus", 0.70, 3.0, 30.0, "ok"),
    ("unet-dsl", "shoulder", "s2", "humerus", 0.80, 2.0, 20.0, "ok"),
    ("unet-dsl", "shoulder", "s2", "scapula", NAN, NAN, NAN, "absent"),
    ("proposed", "ankle", "a1", "calcaneus", 0.90, 1.0, 10.0, "ok"),
    ("proposed", "ankle", "a1", "talus", 0.94, 1.4, 12.0, "ok"),
    ("proposed", "ankle", "a2", "calcaneus", 0.80, 2.0, 20.0, "ok"),
    ("proposed", "ankle", "a2", "talus", 0.84, 1.6, 16.0, "ok"),
    ("proposed", "shoulder", "s1", "humerus", 0.80, 1.9, 20.0, "ok"),
    ("proposed", "shoulder", "s2", "humerus", 0.70, 2.9, 30.0, "ok"),
    ("proposed", "shoulder", "s2", "scapula", 0.00, NAN, NAN, "false_find"),
]

TABLE_1 = """\
# Table 1. Scores of exams in 3D

|           |          ankle |                      |            |                |                      |                       |                        |       shoulder |                      |            |                |               |                |                        |
| :-------- | -------------: | -------------------: | ---------: | -------------: | -------------------: | --------------------: | ---------------------: | -------------: | -------------------: | ---------: | -------------: | ------------: | -------------: | ---------------------: |
| Method    |       Dice % ↑ | median / worst tenth | as one % ↑ | level errors ↓ |            ASSD mm ↓ |             MSSD mm ↓ | exams / missed / false |       Dice % ↑ | median / worst tenth | as one % ↑ | level errors ↓ |     ASSD mm ↓ |      MSSD mm ↓ | exams / missed / false |
| U-Net DSL |    65.0 ± 28.3 |          65.0 / 49.0 |       90.0 |     1 (25.0 %) | 1.3 ± 0.3 (1 missed) | 11.5 ± 4.9 (1 missed) |              2 / 1 / 0 | **75.0 ± 7.1** |          75.0 / 71.0 |       75.0 |      0 (0.0 %) |     2.5 ± 0.7 | **25.0 ± 7.1** |              2 / 0 / 0 |
| Proposed  | **87.0 ± 7.1** |          87.0 / 83.0 |       93.0 |      0 (0.0 %) |        **1.5 ± 0.4** |        **14.5 ± 4.9** |              2 / 0 / 0 |    57.5 ± 31.8 |          57.5 / 39.5 |       70.0 |      0 (0.0 %) | **2.4 ± 0.7** | **25.0 ± 7.1** |              2 / 0 / 1 |

- Mean ± standard deviation over exams, each averaged over its bones.
"""  # noqa: E501


AS_ONE = {
    **{("unet-dsl", "a1"): 0.95, ("unet-dsl", "a2"): 0.85, ("unet-dsl", "s1"): 0.7, ("unet-dsl", "s2"): 0.8},
    **{("proposed", "a1"): 0.96, ("proposed", "a2"): 0.90, ("proposed", "s1"): 0.8, ("proposed", "s2"): 0.6},
}
"""Dice of all bones as one; the talus that U-Net DSL missed it took for the calcaneus."""


def write_experiment(folder, cases=CASES, seeds=(0,), borders=("inside",)):
    """Save rows as an experiment does; before post-processing every bone has 0.6 of its Dice."""
    names = ["method", "domain", "case", "label", "dice", "assd_mm", "mssd_mm", "status"]
    table = pd.concat([pd.DataFrame(cases, columns=names).assign(seed=seed, fold=0) for seed in seeds])
    table = table.assign(train_subjects="all", subject="subject of " + table["case"])
    table["taken_for"] = (table["status"] == "missed").map({True: "calcaneus", False: ""})
    table["dice_as_one"] = [AS_ONE[key] for key in zip(table["method"], table["case"], strict=True)]
    scores = [*names[4:], "taken_for", "dice_as_one"]
    before = {f"{name}_before": table[name] * (0.6 if name == "dice" else 1) for name in scores}
    write_rows(folder, "cases", table.assign(**before))
    write_rows(folder, "slices", [row for method in table["method"].unique() for row in slices_of(method)])
    jobs = [{"method": method, "border": border} for border in borders for method in table["method"].unique()]
    write_rows(folder, "jobs", [job | {"train_subjects": "all", "seed": 0, "device": "cpu"} for job in jobs])
    return folder


def slices_of(method):
    """Four slices of 10 to 40 % (60 to 90 % for the proposed method), the last of two bones, and an empty one."""
    low = 0.5 * (method == "proposed")
    row = {"method": method, "seed": 0, "fold": 0, "train_subjects": "all", "domain": "ankle", "case": "a1"}
    row |= {"subject": "subject of a1", "label": "talus", "prediction_area": 9, "reference_area": 0}
    rows = [row | {"slice": z, "dice": low + 0.1 * z} for z in (1, 2, 3)]
    rows += [row | {"slice": 4, "dice": low + 0.3}, row | {"slice": 4, "dice": low + 0.5, "label": "calcaneus"}]
    return [*rows, row | {"slice": 5, "dice": NAN, "prediction_area": 0}]


def edit(folder, name, change):
    """Replace the rows of a file by `change` of them."""
    write_rows(folder, name, change(read_rows(folder, name)))


def grids(path):
    """Markdown tables of a file, each as its lines without padding."""
    blocks = [block.splitlines() for block in path.read_text(encoding="utf-8").split("\n\n") if block.startswith("|")]
    return [[" ".join(line.split()) for line in block if "--" not in line] for block in blocks]


def test_the_files_are_those_promised(tmp_path):
    paths = write_tables(write_experiment(tmp_path))
    assert paths == [tmp_path / name for name in FILES]
    assert all(b"nan" not in path.read_bytes() for path in paths if path.suffix == ".md")


def test_table1_is_exact(tmp_path):
    write_tables(write_experiment(tmp_path))
    # Ankle exams of U-Net DSL: Dice (80 + 90) / 2 and (90 + 0) / 2, ASSD 1.5 and 1.1, MSSD 15 and 8. Its distances are
    # smaller, but it missed a bone and does not compete in them.
    text = (tmp_path / "table1.md").read_text(encoding="utf-8")
    assert text.startswith(TABLE_1)
    _, stages = grids(tmp_path / "table1.md")
    assert stages == [
        "| | ankle | | shoulder | |",
        "| Method | before | after | before | after |",
        "| U-Net DSL | 39.0 ± 17.0 | 65.0 ± 28.3 | 45.0 ± 4.2 | 75.0 ± 7.1 |",
        "| Proposed | 52.2 ± 4.2 | 87.0 ± 7.1 | 34.5 ± 19.1 | 57.5 ± 31.8 |",
    ]
    header, first, *_ = (tmp_path / "table1.csv").read_text().splitlines()
    assert header == (
        "stage,method,domain,num_exams,num_exams_distance,num_seeds,num_bones,missed,false_finds,dice_mean_percent,"
        "dice_sd_percent,dice_seed_sd_percent,assd_mean_mm,assd_sd_mm,assd_seed_sd_mm,mssd_mean_mm,mssd_sd_mm,"
        "mssd_seed_sd_mm,dice_median_percent,dice_worst_tenth_percent,level_errors,level_errors_percent,"
        "dice_as_one_mean_percent"
    )
    assert first == "after,unet-dsl,ankle,2,2,1,4,1,0,65,28.2843,nan,1.3,0.282843,nan,11.5,4.94975,nan,65,49,1,25,90"


def test_bones_have_tables_of_their_own(tmp_path):
    write_tables(write_experiment(tmp_path))
    calcaneus, talus, humerus, scapula = grids(tmp_path / "table1_bones.md")
    assert [grid[0] for grid in (calcaneus, humerus)] == [
        "| | ankle: calcaneus | | | | | |",
        "| | shoulder: humerus | | | | | |",
    ]
    assert calcaneus[2:] == [
        "| U-Net DSL | **85.0 ± 7.1** | 85.0 / 81.0 | 0 (0.0 %) | **1.1 ± 0.1** | **9.0 ± 1.4** | 2 / 0 / 0 |",
        "| Proposed | **85.0 ± 7.1** | 85.0 / 81.0 | 0 (0.0 %) | 1.5 ± 0.7 | 15.0 ± 7.1 | 2 / 0 / 0 |",
    ]
    assert talus[2] == (
        "| U-Net DSL | 45.0 ± 63.6 | 45.0 / 9.0 | 1 (50.0 %) | 2.0 ± - (1 missed) | 20.0 ± - (1 missed) | 2 / 1 / 0 |"
    )
    assert scapula[2:] == [
        "| U-Net DSL | - | - | 0 | - | - | 0 / 0 / 0 |",
        "| Proposed | **0.0 ± -** | 0.0 / 0.0 | 0 | - | - | 1 / 0 / 1 |",
    ]


def test_table2_is_exact(tmp_path):
    write_tables(write_experiment(tmp_path))
    on_slices, dice, assd = grids(tmp_path / "table2.md")
    # p = 2 / (8 over 4): the four slices of one method all lie below those of the other.
    assert on_slices == [
        "| Method | 2D Dice % | n slices | KS p |",
        "| U-Net DSL | 25.0 ± 12.9 | 4 | **0.03** |",
        "| Proposed | 75.0 ± 12.9 | 4 | - |",
    ]
    # Differences of exams: 7, 37, 10, -45 points, hence signed ranks 1, 3, 2, -4; the interval of all data sets ends at
    # (7 - 45) / 2 and (37 + 10) / 2, since either data set has two subjects, drawn alike one time in four.
    assert dice == [
        "| Data set | Method | exams | subjects | difference | 95 % interval | Wilcoxon p | Holm p | effect |",
        "| all data sets | U-Net DSL | 4 | 4 | +2.25 | -19.00 to +23.50 | 0.88 | 0.88 | +0.20 |",
        "| ankle | U-Net DSL | 2 | 2 | +22.00 | +7.00 to +37.00 | 0.50 | 0.50 | +1.00 |",
        "| shoulder | U-Net DSL | 2 | 2 | -17.50 | -45.00 to +10.00 | 1.00 | 1.00 | -0.33 |",
    ]
    # ASSD without the missed talus: 0.3, 1.1 - 2.0, 1.1, -0.9 mm, hence ranks 1, -2.5, 4, -2.5.
    assert assd[1:] == [
        "| all data sets | U-Net DSL | 4 | 4 | -0.10 | -0.90 to +0.70 | 1.00 | 1.00 | +0.00 | 1 |",
        "| ankle | U-Net DSL | 2 | 2 | -0.30 | -0.90 to +0.30 | 1.00 | 1.00 | -0.33 | 1 |",
        "| shoulder | U-Net DSL | 2 | 2 | +0.10 | -0.90 to +1.10 | 1.00 | 1.00 | +0.33 | 0 |",
    ]
    text = (tmp_path / "table2.md").read_text(encoding="utf-8")
    assert "- ankle: 2 pairs can give no Wilcoxon p below 2^(1-2) = 0.50, and no Holm p below 0.50" in text
    assert "Seeds: 1, fewer than 3: a difference cannot be told from the spread of seeds" in text
    assert (tmp_path / "table2.csv").read_text().splitlines()[1] == "unet-dsl,4,25,12.9099,0.0285714,proposed"
    assert (tmp_path / "table2_exams.csv").read_text().splitlines()[2] == (
        "dice_percent,ankle,unet-dsl,2,2,0,22,7,37,0.5,0.5,1,nan,1,,proposed"
    )


def test_seeds_are_averaged_in_each_exam_and_their_spread_stands_beside(tmp_path):
    write_experiment(tmp_path, [row for row in CASES if row[1] == "ankle"], seeds=(0, 1))
    # In seed 1 every bone loses 20 points, in a1 of U-Net DSL only.
    change = {("unet-dsl", "a1", 1): 0.2}
    edit(
        tmp_path,
        "cases",
        lambda table: table.assign(
            dice=table["dice"] - [change.get((row.method, row.case, row.seed), 0) for row in table.itertuples()]
        ),
    )
    write_tables(tmp_path)
    grid, _ = grids(tmp_path / "table1.md")
    # Exams: (85 + 65) / 2 and 45; seeds: 65 and 55.
    assert grid[1:3] == [
        "| Method | Dice % ↑ | median / worst tenth | as one % ↑ | level errors ↓ | ASSD mm ↓ | MSSD mm ↓ |"
        " sd of seeds | exams / missed / false |",
        "| U-Net DSL | 60.0 ± 21.2 | 60.0 / 48.0 | 90.0 | 2 (25.0 %) | 1.3 ± 0.3 (2 missed) | 11.5 ± 4.9 (2 missed) |"
        " 7.07 / 0.00 / 0.00 | 2 / 2 / 0 |",
    ]
    _, dice, _ = grids(tmp_path / "table2.md")
    assert dice[1].endswith("| +27.00 | +17.00 to +37.00 | 0.50 | 0.50 | +1.00 | 7.07 |")
    assert len(dice) == 2, "one data set needs no pooling"


def test_three_seeds_tell_which_differences_lie_within_their_spread(tmp_path):
    write_experiment(tmp_path, seeds=(0, 1, 2))
    # The ankles of U-Net DSL change by -6, 0 and 6 points with the seed, the shoulders by -30, 0 and 30: of the mean
    # differences +22.00 and -17.50 only the second is at most 2 standard errors, 2 * 30 / sqrt(3) = 34.6.
    step = {("unet-dsl", "ankle"): 0.06, ("unet-dsl", "shoulder"): 0.30}
    edit(
        tmp_path,
        "cases",
        lambda table: table.assign(
            dice=table["dice"] + [step.get((row.method, row.domain), 0) * (row.seed - 1) for row in table.itertuples()]
        ),
    )
    write_tables(tmp_path)
    _, dice, _ = grids(tmp_path / "table2.md")
    assert dice[0].endswith("| effect | sd of seeds | seeds |")
    assert dice[2].endswith("| +1.00 | 6.00 | |")
    assert dice[3].endswith("| -0.33 | 30.00 | within the spread of seeds |")
    text = (tmp_path / "table2.md").read_text(encoding="utf-8")
    assert "- within the spread of seeds: the difference is at most 2 standard errors of the seeds' mean" in text
    assert "cannot be told from the spread" not in text
    table = pd.read_csv(tmp_path / "table2_exams.csv")
    assert table[["num_seeds", "seed_spread"]].values.tolist()[1:3] == [[3, "beyond"], [3, "within"]]


def test_rows_of_an_earlier_version_have_no_columns_of_naming(tmp_path):
    write_experiment(tmp_path)
    rows = pd.read_csv(tmp_path / "cases.csv", dtype=str, keep_default_na=False)
    rows.drop(columns=[name for name in rows if "taken_for" in name or "as_one" in name]).to_csv(
        tmp_path / "cases.csv", index=False
    )
    write_tables(tmp_path)
    grid, _ = grids(tmp_path / "table1.md")
    assert grid[2].startswith("| U-Net DSL | 65.0 ± 28.3 | 65.0 / 49.0 | 1.3 ± 0.3 (1 missed) |")
    assert "level errors" not in (tmp_path / "table1.md").read_text(encoding="utf-8").lower()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_order_of_the_rows_changes_nothing(tmp_path, seed):
    def shuffle(table):
        first = table.drop_duplicates(["method", "domain", "label"])
        return pd.concat([first, table.drop(first.index).sample(frac=1, random_state=seed)])

    before = [path.read_bytes() for path in write_tables(write_experiment(tmp_path, seeds=(0, 1)))]
    for name in ("cases", "slices", "jobs"):
        edit(tmp_path, name, shuffle if name == "cases" else lambda table: table.sample(frac=1, random_state=seed))
    assert [path.read_bytes() for path in write_tables(tmp_path)] == before


def test_jobs_on_fewer_subjects_do_not_count(tmp_path):
    before = [path.read_bytes() for path in write_tables(write_experiment(tmp_path))]
    for name in ("cases", "slices", "jobs"):
        few = {"train_subjects": "3", "method": "other", **({"border": "surface"} if name == "jobs" else {})}
        edit(tmp_path, name, lambda table, few=few: pd.concat([table.assign(**few), table]))
    assert [path.read_bytes() for path in write_tables(tmp_path)] == before


def test_one_exam_has_no_spread(tmp_path):
    write_tables(write_experiment(tmp_path, [row for row in CASES if row[2] in ("a1", "s1")]))
    grid, _ = grids(tmp_path / "table1.md")
    assert grid[3].startswith(
        "| Proposed | **92.0 ± -** | 92.0 / 92.0 | 96.0 | 0 (0.0 %) | **1.2 ± -** | **11.0 ± -** | 1 / 0 / 0 |"
    )
    _, dice, _ = grids(tmp_path / "table2.md")
    assert dice[2] == "| ankle | U-Net DSL | 1 | 1 | +7.00 | - | 1.00 | 1.00 | +1.00 |"


def test_an_incomplete_method_is_named_and_gets_no_bold(tmp_path):
    cases = [row for row in CASES if row[:3] != ("proposed", "ankle", "a2")]
    write_tables(write_experiment(tmp_path, cases))
    for name in ("table1.md", "table1_bones.md", "table2.md"):
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert "fewer exams than the others. Proposed: 1 of 2 ankle exams with seed 0.\n" in text
    grid, _ = grids(tmp_path / "table1.md")
    assert grid[3].startswith(
        "| Proposed | 92.0 ± - | 92.0 / 92.0 | 96.0 | 0 (0.0 %) | 1.2 ± - | 11.0 ± - | 1 / 0 / 0 |"
    )
    assert "| 57.5 ± 31.8 | 57.5 / 39.5 | 70.0 | 0 (0.0 %) | **2.4" in grid[3]
    assert grid[2].startswith(
        "| U-Net DSL | **65.0 ± 28.3** | 65.0 / 49.0 | 90.0 | 1 (25.0 %) | **1.3 ± 0.3** (1 missed) |"
    )


def test_the_method_to_compare_with(tmp_path):
    write_experiment(tmp_path)
    write_tables(tmp_path, against="unet-dsl")
    _, dice, _ = grids(tmp_path / "table2.md")
    assert dice[2] == "| ankle | Proposed | 2 | 2 | -22.00 | -37.00 to -7.00 | 0.50 | 0.50 | -1.00 |"
    with pytest.raises(InputError, match="compare with must be one of unet-dsl, proposed, got unet; name one of them"):
        write_tables(tmp_path, against="unet")
    write_experiment(tmp_path, [row for row in CASES if row[0] == "unet-dsl"])
    write_tables(tmp_path)
    text = (tmp_path / "table2.md").read_text(encoding="utf-8")
    assert text.startswith("# Table 2. Methods compared with U-Net DSL\n")
    assert "No rows of proposed: the others are compared with U-Net DSL, the last method." in text
    assert "There is one method only" in text
    assert "No rows of proposed" not in (tmp_path / "table1.md").read_text(encoding="utf-8")


def test_the_surface_convention_is_written_beside_the_distances(tmp_path):
    write_tables(write_experiment(tmp_path, borders=("inside", None)))
    text = (tmp_path / "table1.md").read_text(encoding="utf-8")
    assert text.endswith(
        "- Seeds: 0.\n- Surface convention, border=inside: the outside of the array counts as foreground: a bone cut "
        "by the field of view has no surface there.\n- Devices: cpu.\n"
    )
    write_tables(write_experiment(tmp_path, borders=("inside", "surface")))
    assert "mix surface conventions and must not be compared" in (tmp_path / "table1.md").read_text(encoding="utf-8")
    (tmp_path / "jobs.csv").unlink()
    write_tables(tmp_path)
    assert "not recorded (no jobs.csv)" in (tmp_path / "table1.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (
            "cases",
            lambda table: table.assign(train_subjects="3"),
            "cases.csv of .* must have rows .* got none; run such",
        ),
        (
            "slices",
            lambda table: table[:0],
            "slices.csv of .* must have rows of jobs trained on all subjects, got none",
        ),
        ("cases", lambda table: pd.concat([table, table[1:2]]), "must differ, got method unet-dsl, .*a1, seed 0 twice"),
        ("slices", lambda table: pd.concat([table, table[:1]]), "rows of slices.csv .* must differ, .* slice 1 twice"),
        ("slices", lambda table: table[:6], "must have the same methods, got proposed in one of them; run its jobs"),
    ],
)
def test_unusable_rows_are_refused(tmp_path, name, change, message):
    edit(write_experiment(tmp_path), name, change)
    with pytest.raises(InputError, match=message):
        write_tables(tmp_path)
    assert not list(tmp_path.glob("table*"))
