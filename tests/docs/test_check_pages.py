"""The check of the built pages finds what is wrong with them."""

import runpy
from pathlib import Path
from typing import Any

import pytest

from ..support.pages import DOCS

GOOD = '<h1 id="top">A</h1><a href="#top">x</a><a href="b.html#x">y</a><a href="https://example.org/">z</a>'


@pytest.fixture
def problems(tmp_path: Path) -> Any:
    """A function that checks a page with this content, beside a page that is right."""
    check = runpy.run_path(str(DOCS / "check_pages.py"))["problems"]
    (tmp_path / "b.html").write_text('<p id="x">B</p><img src="b.html">')

    def of(text: str, style: str = "") -> list[str]:
        (tmp_path / "a.html").write_text(text)
        (tmp_path / "a.css").write_text(style)
        return list(check(tmp_path))

    return of


def test_nothing_wrong(problems: Any) -> None:
    assert problems(GOOD, "p { background: url(b.html) } q { background: url(data:image/png,) }") == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('<a href="c.html">', "links to c.html, which does not exist"),
        ('<a href="b.html#y">', "no such place"),
        ('<a href="#y">', "no such place"),
        ('<img src="none.png">', "links to none.png"),
        ('<script src="https://cdn.example/x.js"></script>', "loads https://cdn.example/x.js"),
        ('<script src="//cdn.example/x.js"></script>', "loads //cdn.example/x.js"),
        ('<link rel="stylesheet" href="https://cdn.example/x.css">', "loads https://cdn.example/x.css"),
        ('<img src="https://cdn.example/x.png">', "loads https://cdn.example/x.png"),
    ],
)
def test_what_is_wrong(problems: Any, text: str, told: str) -> None:
    assert told in " ".join(problems(GOOD + text))


@pytest.mark.parametrize("style", ["@import 'https://cdn.example/x.css'", "p { src: url(//cdn.example/f.woff) }"])
def test_styles(problems: Any, style: str) -> None:
    assert "a.css loads" in " ".join(problems(GOOD, style))


def test_an_empty_folder(tmp_path: Path) -> None:
    assert "no pages" in runpy.run_path(str(DOCS / "check_pages.py"))["problems"](tmp_path)[0]
