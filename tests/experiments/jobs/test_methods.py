from pathlib import Path

import pytest
from custom_components.errors import InputError
from support.bundles import BUNDLES

from multijoint.experiments.jobs.methods import known_methods, select_methods, title_of

CONFIGS = BUNDLES / "multijoint_mr_bone_segmentation" / "configs"


def test_the_papers_seven_methods_in_its_order() -> None:
    methods = select_methods(["all"])
    assert [method.name for method in methods] == [
        *("unet-base", "unet-joint", "unet-dsl"),
        *("attunet-base", "attunet-joint", "attunet-dsl"),
        "proposed",
    ]
    assert [method.name for method in methods if method.each] == ["unet-base", "attunet-base"]
    assert all(file.is_file() for method in methods for file in method.configs)
    assert known_methods()["attunet-joint"].configs == (
        CONFIGS / "shared_norm_and_head.yaml",
        CONFIGS / "attention_unet.yaml",
    )


def test_own_override_files_need_no_code(tmp_path: Path) -> None:
    wide = tmp_path / "wide.yaml"
    wide.write_text("widths: [64, 128]\n")
    alone, base = select_methods([str(wide), f"unet-base+{wide}"])
    assert (alone.name, alone.configs, alone.each) == ("wide", (wide,), False)
    assert (base.name, base.title, base.each) == ("unet-base+wide", "U-Net base + wide", True)
    assert base.configs[-1] == wide


def test_a_method_named_twice_runs_once() -> None:
    assert len(select_methods(["proposed", "all", "proposed"])) == 7


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["unet-bass"], "did you mean unet-base"),
        (["elbow"], "or an override file of your own"),
        (["none.yaml"], "must be a file, got none at"),
        (["proposed+none.yaml"], "must be a file, got none at"),
    ],
)
def test_unknown_methods_are_named(names: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        select_methods(names)


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    for folder in "ab":
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "wide.yaml").write_text("{}")
    with pytest.raises(InputError, match="methods must have different names, got wide"):
        select_methods([str(tmp_path / folder / "wide.yaml") for folder in "ab"])


def test_titles_are_the_papers_or_the_name() -> None:
    assert title_of("attunet-dsl") == "Att-U-Net DSL"
    assert title_of("wide") == "wide"
