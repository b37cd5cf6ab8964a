"""The programs of the tutorial that have paths: they run, and a type checker has nothing to say."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ...support.asking import fetch
from ...support.checking import checked
from ...support.pages import program_of


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a b.txt").write_text("text")
    (tmp_path / "report.pdf").write_bytes(b"%PDF")
    (tmp_path / "notes.py").write_text(program_of("tutorial/many-pages.md", "site.py"))
    (tmp_path / "forms.py").write_text(program_of("tutorial/forms-and-json.md", "notes.py"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("target", "method", "status", "body"),
    [
        ("/", "GET", 200, b"The first note is at /notes/1\n"),
        ("/notes/7", "GET", 200, b'{"id":7}'),
        ("/notes/100", "GET", 404, b'{"error":"there are 99 notes"}'),
        ("/notes/x", "GET", 404, b'{"error":"there is no such page"}'),
        ("/notes/7/star", "POST", 303, b""),
        ("/files/a%20b.txt?x", "GET", 200, b"text"),
        ("/files/none", "GET", 404, b'{"error":"there is no such page"}'),
        ("/ping", "GET", 200, b"pong\n"),
    ],
)
async def test_routes(folder: Path, target: str, method: str, status: int, body: bytes) -> None:
    site: Any = load(folder / "notes.py").site
    answer = await fetch(site, target, method=method)
    assert (answer.status, answer.body) == (status, body)


@pytest.mark.parametrize("target", ["/report", "/report?utm=1", "/%72eport"])
async def test_a_path_with_a_query(folder: Path, target: str) -> None:
    answer = await fetch(load(folder / "forms.py").Notes, target)
    assert (answer.status, answer.body) == (200, b"%PDF")


# What a program does besides, and its types.
MORE = """
import http.server

async def use(self: Note) -> None:
    reveal_type(self.params)
    reveal_type(self.url_path)
    reveal_type(self.request.query["page"])

class Old(http.server.BaseHTTPRequestHandler): ...

async def app(request: aiohttpd.Request, response: aiohttpd.StreamWriter) -> None: ...

class Server:
    pages = {404: not_found, KeyError: not_found}
    one = {404: not_found}
    other = aiohttpd.Router({"/": Old, "/x": app, "/y/": site, "/z": aiohttpd.wsgi(lambda environ, start: [])},
        error_handlers=one, converters={"year": aiohttpd.Converter("[0-9]{4}", int)}, handler=Home)
    server = aiohttpd.HTTPServer(("127.0.0.1", 0), aiohttpd.handle_errors(other, pages), error_handlers=one)

@site.route(["GET", "PUT"], "/x", name="x")
def plain(self: aiohttpd.BlockingHTTPRequestHandler) -> None:
    self.wfile.write(b"x")

reveal_type(plain)
reveal_type(site.url("x"))
"""


def test_types(folder: Path, mypy_cache: Path) -> None:
    program = folder / "notes.py"
    program.write_text(program.read_text() + MORE)
    done = checked(folder, mypy_cache, program.name)
    told = [line.partition(": ")[2] for line in done.stdout.splitlines()]
    revealed = [
        "dict[str, Any]",
        "str",
        "str",
        "def (self: aiohttpd.handlers.blocking.BlockingHTTPRequestHandler)",
        "str",
    ]
    assert told[: len(revealed)] == [f'note: Revealed type is "{text}"' for text in revealed], done.stdout
    assert done.returncode == 0, done.stdout
