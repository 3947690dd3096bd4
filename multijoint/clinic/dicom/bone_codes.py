"""SNOMED CT codes of labels: what a segment shows, for whoever reads it elsewhere."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

__all__ = ["PRIVATE_SCHEME", "BoneCode", "find_code"]

PRIVATE_SCHEME = "99MULTIJOINT"
"""Coding scheme designator of labels that have no code here; 99 marks it as private."""

_MAX_CODE = 16  # characters of a code value

_SIDES = {"left": ("7771000", "Left"), "l": ("7771000", "Left"), "right": ("24028007", "Right")}
_SIDES |= {"r": ("24028007", "Right")}

# Values and meanings as in the standard's context groups (CID 7151, 7304, 7603, 8134), or else in SNOMED CT.
_CODES = {
    "bone": ("272673000", "Bone"),
    "calcaneus": ("80144004", "Calcaneus"),
    "talus": ("67453005", "Talus"),
    "navicular": ("75772009", "Navicular of hindfoot"),
    "cuboid": ("81012005", "Cuboid"),
    "medial cuneiform": ("2979003", "Medial cuneiform"),
    "intermediate cuneiform": ("19193007", "Intermediate cuneiform"),
    "lateral cuneiform": ("67411009", "Lateral cuneiform"),
    "tarsus": ("108371006", "Tarsus"),
    "metatarsus": ("280711000", "Metatarsus"),
    "tibia": ("12611008", "Tibia"),
    "fibula": ("87342007", "Fibula"),
    "patella": ("64234005", "Patella"),
    "femur": ("71341001", "Femur"),
    "pelvis": ("118645006", "Pelvis"),
    "ilium": ("22356005", "Ilium"),
    "ischium": ("85710004", "Ischium"),
    "sacrum": ("54735007", "Sacrum"),
    "coccyx": ("64688005", "Coccyx"),
    "humerus": ("85050009", "Humerus"),
    "scapula": ("79601000", "Scapula"),
    "clavicle": ("51299004", "Clavicle"),
    "radius": ("62413002", "Radius"),
    "ulna": ("23416004", "Ulna"),
    "scaphoid": ("30518006", "Scaphoid"),
    "sternum": ("56873002", "Sternum"),
    "rib": ("113197003", "Rib"),
    "skull": ("89546000", "Skull"),
    "mandible": ("91609006", "Mandible"),
    "vertebra": ("51282000", "Vertebra"),
    "spinal canal": ("61853006", "Spinal canal"),
    "hippocampus": ("5366008", "Hippocampus"),
}
_VERTEBRAE = {
    "c": ["14806007", "39976000", "113205007", "5329002", "36978003", "36054005", "87391001"],
    "t": ["64864005", "53733008", "1626008", "73071006", "56401006", "45296009", "62487009", "11068009", "82687006"],
    "l": ["66794005", "14293000", "36470004", "11994002", "49668003"],
}
_VERTEBRAE["t"] += ["7610001", "12989004", "23215003"]
_CODES |= {
    f"{region}{number}": (code, f"{region.upper()}{number} vertebra")
    for region, codes in _VERTEBRAE.items()
    for number, code in enumerate(codes, 1)
}
_SAME = {"calcaneum": "calcaneus", "heel bone": "calcaneus", "kneecap": "patella", "collarbone": "clavicle"}
_SAME |= {"shoulder blade": "scapula", "thigh bone": "femur", "shin bone": "tibia", "navicular of foot": "navicular"}
_SAME |= {"tarsal": "tarsus", "tarsals": "tarsus", "tarsal bone": "tarsus", "tarsal bones": "tarsus"}
_SAME |= {
    "metatarsals": "metatarsus",
    "metatarsal bones": "metatarsus",
    "vertebrae": "vertebra",
    "hippocampi": "hippocampus",
}
_SAME |= {"first cuneiform": "medial cuneiform", "second cuneiform": "intermediate cuneiform"}
_SAME |= {"third cuneiform": "lateral cuneiform", "middle cuneiform": "intermediate cuneiform", "bones": "bone"}
# Parts that have no code of their own here: the whole is coded, and the segment's label says which part.
_SAME |= {"hippocampus anterior": "hippocampus", "hippocampus posterior": "hippocampus"}


@dataclass(frozen=True)
class BoneCode:
    """A coded concept.

    Args:
        value, scheme, meaning: as DICOM wants them.
        side: value and meaning of the laterality, if the label says one.
    """

    value: str
    scheme: str
    meaning: str
    side: tuple[str, str] | None = None

    @property
    def is_private(self) -> bool:
        """Whether only this software knows the code."""
        return self.scheme == PRIVATE_SCHEME


def find_code(label: str, *, domain: str = "") -> BoneCode:
    """The code of a label; a private one if it is not known.

    Args:
        label: as in a manifest; case, underscores, a side and "bone" or "vertebra" behind a name do not matter.
        domain: tried in front of a label that means nothing alone.

    Example:
        >>> find_code("Talus_left")
        BoneCode(value='67453005', scheme='SCT', meaning='Talus', side=('7771000', 'Left'))
        >>> find_code("vertebra L4").value, find_code("posterior", domain="hippocampus").value
        ('11994002', '5366008')
        >>> find_code("osteophyte")
        BoneCode(value='OSTEOPHYTE', scheme='99MULTIJOINT', meaning='osteophyte', side=None)
    """
    words = [word for word in re.split(r"[\W_]+", label.casefold()) if word]
    sides = [word for word in words if word in _SIDES]
    side = _SIDES[sides[0]] if len(sides) == 1 and len(words) > 1 else None
    named = [word for word in words if side is None or word not in _SIDES]
    bare = [word for word in named if word not in ("bone", "vertebra")]
    own_domain = re.split(r"[\W_]+", domain.casefold())
    for tried in (named, bare, [*own_domain, *named]):
        name = " ".join(tried)
        found = _CODES.get(_SAME.get(name, name))
        if found is not None:
            return BoneCode(found[0], "SCT", found[1], side)
    code = re.sub(r"[^A-Z0-9]+", "_", label.upper()).strip("_") or "LABEL"
    if len(code) > _MAX_CODE:  # labels that begin alike must not become one code
        code = f"{code[: _MAX_CODE - 5]}_{hashlib.sha256(label.encode()).hexdigest()[:4].upper()}"
    return BoneCode(code, PRIVATE_SCHEME, label[:64])
