"""Pages from Jinja2 templates, in which text from files stays text."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any


def render_page(template: Path, **values: Any) -> str:
    """Fill a template; every value is escaped, unless it is `markupsafe.Markup`, and a missing one is an error.

    Templates of the same folder can be included and imported by their names. The filter `number(digits)` is
    `show_number`.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(template.parent)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["number"] = show_number
    return environment.get_template(template.name).render(values)


def show_number(value: float, digits: int) -> str:
    """Round a number for a reader; a dash stands for NaN and infinity.

    Example:
        >>> show_number(0.125, 2), show_number(float("nan"), 2)
        ('0.12', '–')
    """  # noqa: RUF002
    return f"{value:.{digits}f}" if math.isfinite(value) else "\u2013"
