"""Further planes of data sets: their domains, and the cases that they train on."""

from pathlib import Path

import pytest
from custom_components.data.cases import Case, in_planes
from custom_components.data.planes import add_planes
from custom_components.domains import Domain
from custom_components.errors import InputError

HIP = Domain("hip", {1: "femur", 4: "pelvis"}, "coronal", "MR T1")
SPINE = Domain("spine", {1: "L1"}, "sagittal")


def test_chosen_data_sets_get_the_other_planes_behind_all_domains() -> None:
    assert add_planes([HIP, SPINE], planes="own", head="shared") == [HIP, SPINE]
    found = add_planes([HIP, SPINE], planes=["hip"])
    assert [(each.name, each.plane, each.plane_of) for each in found] == [
        ("hip", "coronal", ""),
        ("spine", "sagittal", ""),
        ("hip_sagittal", "sagittal", "hip"),
        ("hip_axial", "axial", "hip"),
    ]
    assert found[2].labels == HIP.labels
    assert add_planes([HIP, SPINE], planes="hip") == found
    assert len(add_planes([HIP, SPINE], planes="all")) == 6


@pytest.mark.parametrize(
    ("domains", "planes", "head", "message"),
    [
        ([HIP], ["knee"], "domain", r"planes must be own, all, or names among hip, got 'knee'"),
        ([HIP], None, "domain", r"planes must be own, all, or names among hip, got None; correct it"),
        ([HIP], "all", "shared", r"planes must be own where all domains share a head, got 'all'"),
        (
            [HIP, Domain("hip_axial", {1: "femur"}, "axial")],
            ["hip"],
            "domain",
            r"hip_axial must be the name of a furth",
        ),
    ],
)
def test_wrong_planes_are_refused(domains: list[Domain], planes: object, head: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        add_planes(domains, planes=planes, head=head)


def test_cases_come_again_in_each_plane_of_their_own_data_set() -> None:
    cases = [Case(name, domain, Path(name), Path(name), name) for name, domain in (("a", "hip"), ("b", "spine"))]
    found = in_planes(iter(cases), add_planes([HIP, SPINE], planes=["hip"]))
    assert [(each.name, each.domain) for each in found] == [
        ("a", "hip"),
        ("b", "spine"),
        ("a", "hip_sagittal"),
        ("a", "hip_axial"),
    ]
