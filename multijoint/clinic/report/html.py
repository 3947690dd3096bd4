"""HTML of a report: text that came from files stays text, and the page may load nothing and run only its own script."""

from __future__ import annotations

import base64
import hashlib
import html
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files

from multijoint.clinic.report.cases import ReportedCase

__all__ = ["GRAVE", "escape", "facts", "fill_page", "flag_list", "plain_table", "show_number"]

GRAVE = ("missing", "missed", "false-find")
"""Flags that make a result unusable as it is; drawn heavier."""


def escape(text: object) -> str:
    """Text for an element or an attribute in quotes."""
    return html.escape(str(text), quote=True)


def show_number(value: float, digits: int, *, otherwise: str = "&ndash;") -> str:
    """A number, or a dash where there is none."""
    return f"{value:.{digits}f}" if math.isfinite(value) else otherwise


def flag_list(flags: Iterable[tuple[str, str]]) -> str:
    """Flags, each with the bone that it is of."""
    items = "".join(
        f"<li{' class=grave' if flag in GRAVE else ''}>{escape(f'{bone}: {flag}' if bone else flag)}</li>"
        for flag, bone in flags
    )
    return f'<ul class="flags">{items}</ul>' if items else ""


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """A list of names and values; the values are HTML already, empty ones are left out."""
    items = "".join(f"<dt>{escape(name)}</dt><dd>{value}</dd>" for name, value in pairs if value)
    return f'<dl class="facts">{items}</dl>'


def plain_table(header: Sequence[str], rows: Iterable[Sequence[str]], *, num_left: int, label: str) -> str:
    """A table; the cells are HTML already.

    Args:
        header: plain text.
        rows: cells, the first of each its heading.
        num_left: columns set to the left; the others, of numbers, to the right.
        label: what it shows, for those who hear it.
    """
    kinds = ["" if column < num_left else ' class="number"' for column in range(len(header))]
    head = "".join(f'<th scope="col"{kind}>{escape(name)}</th>' for name, kind in zip(header, kinds, strict=True))
    body = "".join(
        f'<tr><th scope="row">{row[0]}</th>'
        + "".join(f"<td{kind}>{cell}</td>" for cell, kind in zip(row[1:], kinds[1:], strict=True))
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(label)}"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def fill_page(values: Mapping[str, str]) -> str:
    """The page of `report_page/`.

    Args:
        values: HTML for `{{name}}` of the template, but for style, script and policy.
    """
    folder = files("multijoint.clinic.report") / "page"
    page, style, script = ((folder / f"page.{ending}").read_text("utf-8") for ending in ("html", "css", "js"))
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    given = {**values, "policy": policy, "style": style, "script": script}
    # In one pass: whatever stands in a value is not looked at again.
    return re.sub(r"\{\{(\w+)\}\}", lambda match: given[match[1]], page)


def data_uri(case: ReportedCase) -> str:
    """The picture of a case, as an address that holds it."""
    return "data:image/webp;base64," + base64.b64encode(case.picture.data if case.picture else b"").decode()


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
