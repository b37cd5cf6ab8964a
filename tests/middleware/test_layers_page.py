"""docs/layers.md: its programs run, and give the answers that stand under them."""

import re
from typing import Any

import pytest

from aiohttpd.testing import exchange

from ..support.asking import QUIET
from ..support.places import ROOT

PAGE = (ROOT / "docs" / "layers.md").read_text()
BLOCKS = re.findall(r"^```(python|http)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
SECTIONS = [number for number, (kind, _) in enumerate(BLOCKS) if kind == "python"]


def shown(text: str) -> tuple[bytes, str, list[str], str]:
    """A request as it is sent; the first line, the fields and the content of its answer."""
    request, _, rest = text.partition("\n\n")
    lines = request.splitlines()
    if not any(line.startswith("Host:") for line in lines):
        lines.append("Host: localhost")
    length = next((int(line.split(":")[1]) for line in lines if line.startswith("Content-Length:")), 0)
    head, _, content = rest.partition("\n\n")
    first, *fields = head.splitlines()
    return "\r\n".join([*lines, "", "a" * length]).encode() + b"\r\n" * (not length), first, fields, content.strip()


def matches(pattern: str, text: str) -> bool:
    return re.fullmatch(re.escape(pattern).replace(r"\.\.\.", ".+"), text) is not None


@pytest.mark.parametrize("number", SECTIONS)
async def test_a_program_and_its_answers(number: int, caplog: pytest.LogCaptureFixture) -> None:
    if "Sessions(" in BLOCKS[number][1]:
        pytest.importorskip("itsdangerous")
    names: dict[str, Any] = {}
    exec(BLOCKS[0][1], names)
    exec(BLOCKS[number][1], names)
    answers = 0
    for kind, text in BLOCKS[number + 1 :]:
        if kind == "python":
            break
        request, first, fields, content = shown(text)
        head, _, body = (await exchange(names["site"], request, config=QUIET)).decode().partition("\r\n\r\n")
        lines = head.split("\r\n")
        assert matches(first, lines[0])
        for field in fields:
            assert any(matches(field, line) for line in lines), f"{field} is not in {lines}"
        assert not content or body == content
        answers += 1
    assert answers
    caplog.clear()


def test_each_layer_is_on_the_page() -> None:
    from aiohttpd import middleware

    names = [name for name in middleware.__all__ if isinstance(getattr(middleware, name), type) and name != "Session"]
    assert not [name for name in names if not re.search(rf"middleware\.{name}\b|^## .*\b{name}\b", PAGE, re.MULTILINE)]
