"""The reference is complete: names, options, fields, metrics, messages."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import aiohttpd
import aiohttpd.asgi
import aiohttpd.compat
import aiohttpd.compression
import aiohttpd.middleware
import aiohttpd.testing
from aiohttpd.config import options
from aiohttpd.engine.states import ConnectionState
from aiohttpd.server.log_format import FIELDS
from aiohttpd.server.metrics import Metrics

from ..support.pages import DOCS
from ..support.places import ROOT

REFERENCE = DOCS / "reference"


def page(name: str) -> str:
    return (REFERENCE / name).read_text()


def first_column(text: str) -> list[str]:
    """What stands as code at the beginning of the rows of tables."""
    return re.findall(r"^\| `([^`]+)`", text, re.MULTILINE)


def test_generated_parts() -> None:
    """Options, commands, metrics and formats are what the code says."""
    done = subprocess.run(
        [sys.executable, str(DOCS / "generate.py"), "--check"], cwd=ROOT, capture_output=True, text=True, timeout=50
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_option_is_there_once() -> None:
    rows = first_column(page("options.md"))
    assert [rows.count(option.name) for option in options()] == [1 for _ in options()]


def test_public_names() -> None:
    documented = re.findall(r"^(?:\.\. )?auto\w+:: (\S+)|^\.\. \w+:: (\S+)", page("api.md"), re.MULTILINE)
    names = {one or other for one, other in documented}
    text = page("api.md")
    assert [name for name in aiohttpd.__all__ if name not in names and name != "__version__"] == []
    assert "`aiohttpd.__version__`" in text
    for module in (aiohttpd.asgi, aiohttpd.compression, aiohttpd.middleware, aiohttpd.testing):
        assert [name for name in module.__all__ if f"{module.__name__}.{name}" not in names] == []
    assert [name for name in aiohttpd.compat.__all__ if f"`{name}`" not in text] == []


def test_fields_of_the_log() -> None:
    fields = page("access-log.md").split("## Fields")[1].split("\n## ")[0]
    assert first_column(fields) == list(FIELDS)


def texts_of(name: str, path: Path) -> list[str]:
    """Texts of errors that a module makes; what is formatted into them is a star."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name and node.args:
            text = node.args[-1]
            if isinstance(text, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "*" for part in text.values]
                found.append("".join(map(str, parts)))
            elif isinstance(text, ast.Constant) and isinstance(text.value, str):
                found.append(text.value)
    return found


def test_states_of_connections() -> None:
    """Each is explained, and is a value of the metrics."""
    rows = re.findall(r"^\| ([A-Z]+) \|", (DOCS / "architecture.md").read_text(), re.MULTILINE)
    assert sorted(rows) == sorted(ConnectionState.__members__)
    (row,) = re.findall(r"^\| `state` \|(.*)", page("metrics.md"), re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", row)) == set(Metrics().snapshot()["connections"])


def test_refusals() -> None:
    """Each text with which a request is refused has a row."""
    rows = [
        re.sub(r"\*[^*]+\*", "*", row) for row in re.findall(r"^\| \d{3} (.*?) \|", page("errors.md"), re.MULTILINE)
    ]
    folders = (ROOT / "aiohttpd" / "wire", ROOT / "aiohttpd" / "engine")
    texts = {text for folder in folders for path in folder.rglob("*.py") for text in texts_of("WireError", path)}
    assert len(texts) > 40
    assert sorted(texts - set(rows)) == []


def messages_of(path: Path) -> set[str]:
    """Texts that a module logs or writes to stderr; what is formatted into them is a star."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if not (isinstance(node, ast.Call) and node.args):
            continue
        called, text = ast.unparse(node.func), node.args[0]
        if called != "say" and not re.search(r"(error_logger|\"aiohttpd\.error\"\))\.\w+$", called.replace("'", '"')):
            continue
        if isinstance(text, ast.JoinedStr):
            found.add("".join(str(part.value) if isinstance(part, ast.Constant) else "*" for part in text.values))
        elif isinstance(text, ast.Constant):
            found.add(re.sub(r"%[a-z]", "*", str(text.value)))
    return found


def test_messages() -> None:
    """Each message that the server logs or prints has a row. Those after "aiohttpd: " are errors at the start."""
    section = page("errors.md").split("## While it runs")[1]
    rows = [re.sub(r"\*([^*]+)\*", r"\1", row) for row in re.findall(r"^\| (.*?) \|", section, re.MULTILINE)]
    texts = {text for path in (ROOT / "aiohttpd").rglob("*.py") for text in messages_of(path)}
    assert len(texts) > 30
    texts -= {"*", "  *", "aiohttpd: *"}  # tracebacks and reports; the URLs of the line before; errors at the start
    missing = [
        text
        for text in sorted(texts)
        if not any(re.fullmatch(".*".join(map(re.escape, text.split("*"))), row) for row in rows)
    ]
    assert missing == []


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "SECURITY.md"])
def test_links_of_the_repository(name: str) -> None:
    """Links to files hold. Sphinx checks those inside of the documentation."""
    text = (ROOT / name).read_text()
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (ROOT / link).exists(), link
