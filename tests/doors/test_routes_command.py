"""``aiohttpd routes``: the table of a Router."""

from pathlib import Path

import pytest

from ..support.commands import run

SITE = """
import functools
import http.server
import aiohttpd


class Home(aiohttpd.BaseHTTPRequestHandler):
    async def do_GET(self): ...


class Notes(Home):
    async def do_POST(self): ...

    @aiohttpd.route("PUT", "/notes/{id:int}/star")
    async def star(self): ...


class Old(http.server.BaseHTTPRequestHandler): ...


async def app(request, response): ...

site = aiohttpd.Router({
    "/": Home,
    "/notes": Notes,
    "/files/": functools.partial(aiohttpd.SimpleHTTPRequestHandler, directory="files"),
    "/old/": Old,
    "/app/{rest...}": app,
    "/api/": aiohttpd.Router({"/x": Home, "example.org/y": Home}),
    "example.org/x": Home,
})


@site.get("/ping", name="p")
async def ping(self): ...

@site.post("/ping")
async def take(self): ...
"""

TABLE = """\
METHODS                PATH                  NAME                         LEADS TO
GET HEAD OPTIONS       /                     home                         Home
GET HEAD POST OPTIONS  /notes                notes                        Notes
PUT OPTIONS            /notes/{id:int}/star  star                         Notes.star
GET HEAD OPTIONS       /files/               simple_http_request_handler  a partial of SimpleHTTPRequestHandler
any                    /old/                 old                          Old
any                    /app/{rest...}        app                          app()
any                    /api/                                              an instance of Router
GET HEAD OPTIONS       /api/x                home                         Home
GET HEAD OPTIONS       example.org/api/y     home                         Home
GET HEAD OPTIONS       example.org/x         home                         Home
GET HEAD POST OPTIONS  /ping                 p, take                      ping(), take()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "notes.py").write_text(SITE)
    (tmp_path / "clash.py").write_text(
        "import aiohttpd\nfrom notes import Home\nsite = aiohttpd.Router({'/{a}/b': Home, '/a/{b}': Home})\n"
    )
    return tmp_path


@pytest.mark.parametrize("target", ["notes:site", "notes.py:site"])
def test_the_table(folder: Path, target: str) -> None:
    done = run(folder, "routes", target)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == TABLE


def test_through_layers(folder: Path) -> None:
    (folder / "layered.py").write_text(
        "import aiohttpd\nfrom aiohttpd import middleware as m\nfrom notes import Home\n"
        "class Notes(Home):\n    async def do_POST(self): ...\n"
        "inner = aiohttpd.layers(aiohttpd.Router({'/x': aiohttpd.layers(Home, m.RequestID())}), m.ProblemDetails())\n"
        "made = aiohttpd.Router({'/a': aiohttpd.layers(Notes, m.RequestID(), m.Compression()), '/b/': inner})\n"
        "app = aiohttpd.layers(aiohttpd.handle_errors(made, {}), m.RequestID(), m.Compression())\n"
    )
    done = run(folder, "routes", "layered:app")
    assert [line.split() for line in done.stdout.splitlines()[1:]] == [
        ["GET", "HEAD", "POST", "OPTIONS", "/a", "notes", "Notes"],
        ["any", "/b/", "an", "instance", "of", "Router"],
        ["GET", "HEAD", "OPTIONS", "/b/x", "home", "Home"],
    ]


@pytest.mark.parametrize(
    ("target", "status", "text"),
    [
        ("notes:Home", 2, "notes:Home is no Router"),
        ("notes:none", 2, "notes has no 'none'"),
        ("none:site", 2, "no module named 'none'"),
        ("clash:site", 1, "the routes '/{a}/b' and '/a/{b}' contradict each other"),
    ],
)
def test_refused(folder: Path, target: str, status: int, text: str) -> None:
    done = run(folder, "routes", target)
    assert (done.returncode, done.stdout) == (status, "")
    assert text in done.stderr
