"""Names of labels in headers of label maps and in files next to them, compared with those of the manifest."""

from __future__ import annotations

import re
from collections.abc import Sequence

from custom_components.domains import Domain
from custom_components.errors import show_path
from custom_components.io.label_name_files import labels_beside
from custom_components.system.terminal import count

from multijoint.checks.checked_case import CheckedCase, Rule, Said


def _renamed(cases: Sequence[CheckedCase], domain: Domain) -> Said:
    """Values that other programs call otherwise than the manifest does: one of the two is mistaken."""
    label_maps = [case.case.label for case in cases if case.case.label is not None]
    files: dict[tuple[int, str], list[str]] = {}
    for path, labels in labels_beside(label_maps):
        for value, (name, _) in labels.items():
            if value in domain.labels and _plain(name) not in ("", _plain(domain.labels[value])):
                files.setdefault((value, name), []).append(show_path(path))
    for (value, name), having in sorted(files.items()):
        others = f" and {count(len(having) - 1, 'other file')}" if len(having) > 1 else ""
        own = domain.labels[value]
        text = f'value {value} is "{own}" in the manifest but "{name}" in {having[0]}{others}; correct one of them'
        yield "warning", "", text


def _plain(name: str) -> str:
    """A name without case, and with underscores, which colour tables have for spaces, as spaces.

    Example:
        >>> _plain("Talus_left") == _plain("talus  left")
        True
    """
    return " ".join(re.split(r"[\s_-]+", name.casefold()))


NAME_RULES: dict[str, Rule] = {"label-names": _renamed}
