import base64
import hashlib
import re
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


def test_a_page_in_the_shared_clothes_runs_only_what_its_policy_names(tmp_path: Path) -> None:
    (tmp_path / "own.css").write_text(".own { color: red }")
    template = tmp_path / "own.html.j2"
    template.write_text('{% extends "base.html.j2" %}{% block main %}{{ 1 | count("case") }}{% endblock %}')
    page = render_page(template, title="<Mine>", colors=["#E69F00", "#0072B2"])
    assert "<title>&lt;Mine&gt;</title>" in page
    assert 'name="viewport"' in page
    assert "1 case" in page
    assert ".own { color: red }" in page
    assert ".c0 { --color: #E69F00; --on: #000 }" in page
    assert ".c1 { --color: #0072B2; --on: #fff }" in page
    [policy] = re.findall('Content-Security-Policy" content="([^"]*)"', page)
    assert policy.startswith("default-src &#39;none&#39;; img-src data:; ")
    for kind in ("style", "script"):
        [content] = re.findall(f"<{kind}>(.*?)</{kind}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{kind}-src &#39;sha256-{digest}&#39;" in policy.replace("&#43;", "+")
    assert not re.search(r"<[^>]* (style|on[a-z]+)=", page)
