import pytest
from pydicom.dataset import Dataset

from multijoint.clinic.dicom.parts import part_of


def private(group: int, creator: str, element: int, kind: str, value: object, *, before: int = 0) -> Dataset:
    """A header with one private element, behind the blocks of other creators."""
    header = Dataset()
    for number in range(before):
        header.private_block(group, f"OTHER {number}", create=True)
    header.private_block(group, creator, create=True).add_new(element, kind, value)
    return header


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ("M NORM DIS2D", "magnitude"),
        ("M_FFE M FFE", "magnitude"),
        ("M_SWI", "magnitude"),
        ("SW_M_FFE SW_M", "magnitude"),
        ("P ND", "phase"),
        ("SW_P_FFE SW_P FFE", "phase"),
        ("P_SE", "phase"),
        ("PHASE_MAP P FFE", "phase"),
        ("VELOCITY_MAP", "phase"),
        ("R_IR R IR", "real part"),
        ("REAL", "real part"),
        ("I_FFE", "imaginary part"),
        ("m p", "phase"),
        ("OTHER", ""),
        ("OUT_PHASE IN_PHASE WATER MPR PROJECTION IMAGE RESAMPLED", ""),
        ("", ""),
    ],
)
def test_words_of_an_image_type(words: str, part: str) -> None:
    values = [word.replace("_MAP", " MAP") for word in words.split()]
    assert part_of({}, ["ORIGINAL", "PRIMARY", *values], "") == part


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("before", [0, 3])
def test_the_number_of_ge(number: int, before: int) -> None:
    expected = ["magnitude", "phase", "real part", "imaginary part"][number]
    for kind, value in (("SS", number), ("UN", number.to_bytes(2, "little")), ("SS", [number, 0])):
        header = private(0x0043, "GEMS_PARM_01", 0x2F, kind, value, before=before)
        assert part_of(header, ["ORIGINAL", "PRIMARY", "OTHER"], "") == expected
    another = private(0x0043, "SOMEBODY", 0x2F, "SS", number)
    assert part_of(another, ["ORIGINAL", "PRIMARY", "OTHER"], "") == ""


def test_the_letter_of_philips() -> None:
    for value, part in (("P", "phase"), ("SW_P", "phase"), ("M", "magnitude"), (b"R ", "real part"), ("ODD", "")):
        kind = "UN" if isinstance(value, bytes) else "CS"
        header = private(0x2005, "Philips MR Imaging DD 001", 0x11, kind, value)
        assert part_of(header, ["ORIGINAL", "PRIMARY"], "") == part


def test_a_frame_counts_more_than_its_file_and_no_magnitude_more_than_one() -> None:
    header = Dataset()
    header.ComplexImageComponent = "MIXED"
    assert [part_of(header, [], word) for word in ("MAGNITUDE", "PHASE", "")] == ["magnitude", "phase", ""]
    header.ComplexImageComponent = "IMAGINARY"
    assert part_of(header, ["ORIGINAL", "PRIMARY", "M"], "") == "imaginary part"
