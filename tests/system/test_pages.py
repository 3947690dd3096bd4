from pathlib import Path

import pytest
from custom_components.system.pages import render_page
from jinja2 import UndefinedError
from markupsafe import Markup

HOSTILE = "<script>alert('x')</script>&\""


@pytest.fixture
def template(tmp_path: Path) -> Path:
    (tmp_path / "part.html.j2").write_text("<b>{{ name }}</b>")
    path = tmp_path / "page.html.j2"
    path.write_text('<p title="{{ name }}">{{ share | number(1) }}</p>\n{% include "part.html.j2" %}')
    return path


def test_text_stays_text_in_elements_attributes_and_included_templates(template: Path) -> None:
    escaped = "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;&#34;"
    page = render_page(template, name=HOSTILE, share=0.25)
    assert page == f'<p title="{escaped}">0.2</p>\n<b>{escaped}</b>'


def test_markup_is_kept_and_missing_numbers_are_dashes(template: Path) -> None:
    page = render_page(template, name=Markup("<i>x</i>"), share=float("nan"))
    assert page == '<p title="<i>x</i>">\u2013</p>\n<b><i>x</i></b>'


def test_a_name_without_value_is_an_error(template: Path) -> None:
    with pytest.raises(UndefinedError, match="'share' is undefined"):
        render_page(template, name="x")
