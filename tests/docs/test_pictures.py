"""The pictures: the terminal shows what is printed today, and each page's pictures exist."""

import re
import runpy
import shutil
from pathlib import Path

import pytest

from ..support.pages import DOCS, pages
from ..support.places import ROOT


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl: Debian's package curl")
def test_the_terminal(tmp_path: Path) -> None:
    script = runpy.run_path(str(DOCS / "pictures.py"))
    lines = script["session"](tmp_path)
    assert (DOCS / "pictures" / "terminal.svg").read_text() == script["terminal"](lines), "run docs/pictures.py"


def test_pictures_exist_and_are_used() -> None:
    used = set()
    for page in pages():
        text = page.read_text()
        for link in re.findall(r"!\[[^\]]+\]\(([^)]+)\)|(?:src|srcset)=\"([^\"]+)\"", text):
            picture = (page.parent / (link[0] or link[1])).resolve()
            assert picture.exists(), (page, link)
            used.add(picture)
    assert used == {path.resolve() for path in (ROOT / "docs" / "pictures").iterdir()}
