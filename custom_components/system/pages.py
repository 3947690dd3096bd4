"""Pages from Jinja2 templates, in which text from files stays text; all of them in the same clothes.

The folder `page` next to this file holds what pages share: `base.html.j2`, which a template extends, `parts.html.j2` of
macros, a style and a script.
"""

from __future__ import annotations

import base64
import hashlib
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import custom_components
from custom_components.system.terminal import count

_SHARED = Path(__file__).with_name("page")


def render_page(template: Path, *, colors: Sequence[str] = (), **values: Any) -> str:
    """Fill a template; every value is escaped, unless it is `markupsafe.Markup`, and a missing one is an error.

    Templates of the same folder, and those that pages share, can be included, imported and extended by their names. A
    page that extends `base.html.j2` loads nothing and runs only the shared script. Its style is the shared one and that
    of `report.css` next to `report.html.j2`; classes `c0`, `c1`, ... set `--color` to one of the colours, `#rrggbb`,
    and `--on` to that of text on it. The filter `number(digits)` is `show_number`, `count(noun)` is `terminal.count`.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    loader = FileSystemLoader([template.parent, _SHARED])
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"number": show_number, "count": count}
    own = template.with_name(f"{template.name.partition('.')[0]}.css")
    classes = "".join(
        f".c{index} {{ --color: {color}; --on: {_text_on(color)} }}\n" for index, color in enumerate(colors)
    )
    style = (_SHARED / "base.css").read_text("utf-8") + classes + (own.read_text("utf-8") if own.is_file() else "")
    script = (_SHARED / "base.js").read_text("utf-8")
    policy = (
        f"default-src 'none'; img-src data:; style-src {_digest(style)}; script-src {_digest(script)}; "
        "base-uri 'none'; form-action 'none'"
    )
    environment.globals |= {
        **{"style": Markup(style), "script": Markup(script), "policy": policy},
        **{"colors": colors, "num_colors": max(1, len(colors))},
        **{"version": custom_components.__version__, "date": time.strftime("%Y-%m-%d")},
    }
    return environment.get_template(template.name).render(values)


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _text_on(color: str) -> str:
    red, green, blue = bytes.fromhex(color[1:])
    return "#fff" if 0.299 * red + 0.587 * green + 0.114 * blue < 100 else "#000"


def show_number(value: float, digits: int) -> str:
    """Round a number for a reader; a dash stands for NaN and infinity.

    Example:
        >>> show_number(0.125, 2), show_number(float("nan"), 2)
        ('0.12', '–')
    """  # noqa: RUF002
    return f"{value:.{digits}f}" if math.isfinite(value) else "\u2013"
