import pytest
from custom_components.data.sides import mirrored_classes, mirrored_names

PAIRS = [
    ("left femur", "right femur"),
    ("femur_L", "femur_R"),
    ("LFemur", "RFemur"),
    ("femurLeft", "femurRight"),
    ("FEMUR LEFT", "FEMUR RIGHT"),
    ("L", "R"),
    ("fémur gauche", "fémur droit"),
    ("jambe gauche", "jambe droite"),
    ("os.g", "os.d"),
    ("linker Oberschenkel", "rechter Oberschenkel"),
    ("Wadenbein links", "Wadenbein rechts"),
    ("Femur li.", "Femur re."),
    ("talus (lt)", "talus (rt)"),
    ("muscle droit gauche", "muscle droit droit"),
]


@pytest.mark.parametrize(("left", "right"), PAIRS)
def test_sides_in_three_languages_are_exchanged(left: str, right: str) -> None:
    assert mirrored_names([left, "sacrum", right]) == ({left: right, right: left}, [])
    assert mirrored_classes([left, "sacrum", right]) == [0, 3, 2, 1]


@pytest.mark.parametrize(
    "names",
    [
        ["L1", "L2", "L3", "R1"],
        ["calcaneus", "talus", "tibia"],
        [f"tooth {letter}" for letter in "abcdefghijklmnopqrst"],
        ["condyle L", "condyle M"],
        ["bright", "cleft", "delight", "os d", "li"],
        ["anterior", "posterior"],
    ],
)
def test_names_without_sides_stay(names: list[str]) -> None:
    assert mirrored_names(names) == ({}, [])
    assert mirrored_classes(names) == list(range(len(names) + 1))


@pytest.mark.parametrize(
    ("names", "alone"),
    [
        (["left calcaneus", "left talus"], ["left calcaneus", "left talus"]),
        (["left hip", "right hip", "femur_l"], ["femur_l"]),
        (["left hip", "right hip", "r hip"], ["left hip", "right hip", "r hip"]),  # which of the two is it?
        (["fémur gauche", "fémur droit", "droit fémoral"], ["droit fémoral"]),
    ],
)
def test_names_without_a_partner_allow_no_mirror(names: list[str], alone: list[str]) -> None:
    assert mirrored_names(names)[1] == alone
    assert mirrored_classes(names) is None


def test_a_mirror_twice_is_none() -> None:
    names = [name for pair in PAIRS[:2] for name in pair] + ["sacrum", "hip_left", "hip_right"]
    table = mirrored_classes(names)
    assert table is not None
    assert [table[each] for each in table] == list(range(len(names) + 1))
