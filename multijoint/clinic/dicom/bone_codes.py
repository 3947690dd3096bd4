"""SNOMED CT codes of bones, from the names of labels."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

PRIVATE_SCHEME = "99MULTIJOINT"
"""Coding scheme designator of labels that have no code here; 99 marks it as private."""

_MAX_CODE = 16  # characters of a code value

_SIDES = {"left": "Left", "l": "Left", "right": "Right", "r": "Right"}

# Label -> keyword of its concept in pydicom's SNOMED CT dictionary, which is made from the standard's context groups.
# Only these: the dictionary has diseases and procedures as well, which a label may be called like by chance.
_KEYWORDS = {
    name: name.title()
    for name in (
        *("bone", "calcaneus", "talus", "tarsus", "metatarsus", "tibia", "fibula", "patella", "femur", "ilium"),
        *("ischium", "sacrum", "coccyx", "humerus", "scapula", "clavicle", "ulna", "scaphoid", "sternum", "rib"),
        *("skull", "mandible", "vertebra", "hippocampus"),
    )
}
_KEYWORDS |= {"navicular": "NavicularOfHindfoot", "pelvis": "BoneStructureOfPelvis", "radius": "RadiusBone"}
_KEYWORDS |= {
    f"{part}{k}": f"{part.upper()}{k}Vertebra" for part, n in (("c", 7), ("t", 12), ("l", 5)) for k in range(1, n + 1)
}

_OWN = {
    # Not in the standard's context groups. Source: SNOMED CT, International Edition.
    "cuboid": ("81012005", "Cuboid"),
    "medial cuneiform": ("2979003", "Medial cuneiform"),
    "intermediate cuneiform": ("19193007", "Intermediate cuneiform"),
    "lateral cuneiform": ("67411009", "Lateral cuneiform"),
    # In the dictionary as "Vertebral canal", which is a synonym. Source: SNOMED CT, International Edition.
    "spinal canal": ("61853006", "Spinal canal"),
}

_SAME = {
    "bones": "bone",
    "calcaneum": "calcaneus",
    "heel bone": "calcaneus",
    "navicular of foot": "navicular",
    "first cuneiform": "medial cuneiform",
    "second cuneiform": "intermediate cuneiform",
    "middle cuneiform": "intermediate cuneiform",
    "third cuneiform": "lateral cuneiform",
    **dict.fromkeys(("tarsal", "tarsals", "tarsal bone", "tarsal bones"), "tarsus"),
    **dict.fromkeys(("metatarsals", "metatarsal bones"), "metatarsus"),
    "shin bone": "tibia",
    "kneecap": "patella",
    "thigh bone": "femur",
    "shoulder blade": "scapula",
    "collarbone": "clavicle",
    "vertebrae": "vertebra",
    # A part that has no code gets the code of the whole; the segment's label says which part it is.
    **dict.fromkeys(("hippocampi", "hippocampus anterior", "hippocampus posterior"), "hippocampus"),
}


@dataclass(frozen=True)
class BoneCode:
    """A coded concept as DICOM wants it; `side` is the value and meaning of the laterality, if the label says one."""

    value: str
    scheme: str
    meaning: str
    side: tuple[str, str] | None = None


def find_code(label: str, *, domain: str = "") -> BoneCode:
    """The code of a label; a private one if it is not known.

    Case, underscores, a side and "bone" or "vertebra" behind a name do not matter. A label that means nothing alone is
    tried with the domain in front.

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
    side = _look_up(_SIDES[sides[0]]) if len(sides) == 1 and len(words) > 1 else None
    named = [word for word in words if side is None or word not in _SIDES]
    bare = [word for word in named if word not in ("bone", "vertebra")]
    own_domain = re.split(r"[\W_]+", domain.casefold())
    for tried in (named, bare, [*own_domain, *named]):
        name = _SAME.get(" ".join(tried), " ".join(tried))
        if name in _KEYWORDS or name in _OWN:
            value, meaning = _OWN[name] if name in _OWN else _look_up(_KEYWORDS[name])
            return BoneCode(value, "SCT", meaning, side)
    code = re.sub(r"[^A-Z0-9]+", "_", label.upper()).strip("_") or "LABEL"
    if len(code) > _MAX_CODE:  # labels that begin alike must not become one code
        code = f"{code[: _MAX_CODE - 5]}_{hashlib.sha256(label.encode()).hexdigest()[:4].upper()}"
    return BoneCode(code, PRIVATE_SCHEME, label[:64])


def _look_up(keyword: str) -> tuple[str, str]:
    """Value and meaning of a concept in pydicom's dictionary."""
    from pydicom.sr.codedict import codes

    concept = getattr(codes.SCT, keyword)
    return concept.value, concept.meaning
