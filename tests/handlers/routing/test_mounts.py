"""Apps that are mounted: what they see of a request, and what they say about their place."""

import functools
import http.server
import json
from pathlib import Path
from typing import Any

import pytest

import aiohttpd
from aiohttpd import BaseHTTPRequestHandler, Request, Router, StreamWriter
from aiohttpd.compression import compress
from aiohttpd.fileserver.uploads import UploadHandler
from aiohttpd.testing import exchange, running

from ...support.asking import QUIET, answer_to, fetch
from ...support.clients import connected, head
from ...support.routes import reached, router_of, telling
from ...support.wire import finals


class Old(http.server.BaseHTTPRequestHandler):
    """A handler of http.server, as there are many."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None: ...

    def do_GET(self) -> None:
        text = f"{self.path} {self.requestline}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_POST(self) -> None:
        text = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


class Older(Old):
    """One that minds its connection, and parses its heads itself."""

    def parse_request(self) -> bool:
        return super().parse_request()


async def app(request: Request, response: StreamWriter) -> None:
    response.send_head(200)
    response.write(json.dumps([request.target, request.root_path, request.path, request.query_string]).encode())


SEEN = [
    ("/m/", "/", "/m"),
    ("/m/a/b", "/a/b", "/m"),
    ("/m/a/b/?x=/m/y", "/a/b/?x=/m/y", "/m"),
    ("/m/m/m/m", "/m/m/m", "/m"),
    ("/%6D/a%20b", "/a%20b", "/%6D"),
    ("/m/a%2Fb", "/a%2Fb", "/m"),
    ("/m/%FF", "/%FF", "/m"),
]


@pytest.mark.parametrize(("target", "inner", "root"), SEEN)
async def test_what_is_seen(target: str, inner: str, root: str) -> None:
    found = await reached(router_of("/m/"), target)
    assert (found["path"], found["root"]) == (inner, root)
    answer = await fetch(Router({"/m/": app}), target)
    assert json.loads(answer.body) == [inner, root, inner.partition("?")[0], inner.partition("?")[2]]


@pytest.mark.parametrize("old", [Old, Older, functools.partial(Old)])
@pytest.mark.parametrize(("target", "inner", "root"), SEEN)
async def test_handlers_of_http_server(old: Any, target: str, inner: str, root: str) -> None:
    answer = await fetch(Router({"/m/": old}), target)
    assert answer.body.decode() == f"{inner} GET {inner} HTTP/1.1"


@pytest.mark.parametrize("old", [Old, Older])
async def test_bodies_of_handlers_of_http_server(old: Any) -> None:
    sent = head("POST", "/m/x", "Content-Length: 5") + b"hello"
    assert (await answer_to(Router({"/m/": old}), sent, sent, sent)).body == b"hello"
    assert (await fetch(Router({"/m/": old}), "/m/x", method="PUT")).status == 501


async def test_absolute_targets_keep_their_host() -> None:
    seen: list[Any] = []

    async def look(request: Request, response: StreamWriter) -> None:
        seen.append((request.target, request.path, request.host, request.root_path))
        response.send_head(204)

    await fetch(Router({"/m/": look}), "http://m/m/x?y")
    assert seen == [("http://m/x?y", "/x", "m", "/m")]


async def test_routers_in_routers() -> None:
    site = Router({"/api/{version:int}/": Router({"/users/{user}/": router_of("/notes/{id:int}")}), "/x/": app})
    found = await reached(site, "/api/2/users/a%2Fb/notes/3?q")
    assert found == {
        "label": "/notes/{id:int}",
        "params": {"version": "2", "user": "a/b", "id": "3"},
        "path": "/notes/3?q",
        "root": "/api/2/users/a%2Fb",
    }
    assert await reached(site, "/api/2/users/u/notes/3/") == (308, "../3")
    assert await reached(site, "/api/2/users/u") == (308, "u/")
    assert await reached(site, "/api/2//users") == (308, "/api/2/users")
    assert await reached(site, "/api/x/users/u/notes/3") == 404


async def test_nobody_sees_the_parameters_of_another_request() -> None:
    site = router_of("/{a}", "/b/c")
    out = await exchange(site, [head("GET", "/x"), head("GET", "/b/c")], config=QUIET)
    assert [b'"a"' in part for part in out.split(b"HTTP/1.1 ")[1:]] == [True, False]


async def test_wsgi() -> None:
    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [json.dumps([environ["SCRIPT_NAME"], environ["PATH_INFO"], environ["REQUEST_URI"]]).encode()]

    answer = await fetch(Router({"/shop a/": aiohttpd.wsgi(application)}), "/shop%20a/x%20y?z")
    assert json.loads(answer.body) == ["/shop a", "/x y", "/shop%20a/x%20y?z"]


class TestFiles:
    @pytest.fixture
    def site(self, tmp_path: Path) -> Router:
        (tmp_path / "private").mkdir()
        (tmp_path / "private" / "secret.txt").write_text("secret")
        (tmp_path / "sub").mkdir()
        (tmp_path / "sub" / "a b.txt").write_text("text")
        files = functools.partial(aiohttpd.SimpleHTTPRequestHandler, directory=tmp_path)
        uploads = type("Uploads", (UploadHandler,), {"directory": str(tmp_path)})
        return Router({"/files/": files, "/files/private/": telling("guard"), "/up/": uploads})

    async def test_links_and_redirects(self, site: Router) -> None:
        answer = await fetch(site, "/files/sub")
        assert (answer.status, answer["Location"]) == (301, "sub/")
        page = (await fetch(site, "/files/sub/", "Accept: text/html")).body.decode()
        assert 'href="../"' in page
        assert 'href="a%20b.txt"' in page
        assert 'href="/' not in page
        assert (await fetch(site, "/files/sub/a%20b.txt")).body == b"text"

    async def test_where_an_upload_is(self, site: Router) -> None:
        sent = head("PUT", "/up/sub/new%20one.txt", "Content-Length: 2") + b"hi"
        answer = await answer_to(site, sent)
        assert (answer.status, answer["Location"]) == (201, "/up/sub/new%20one.txt")
        assert (await fetch(site, str(answer["Location"]))).body == b"hi"

    @pytest.mark.parametrize(
        "target",
        [
            "/files/private%2Fsecret.txt",
            "/files/private%2fsecret.txt",
            "/files/sub%2F..%2Fprivate%2Fsecret.txt",
            "/files/..%2Ffiles%2Fprivate/secret.txt",
            "/files/%2Fprivate/secret.txt",
            "/files/.%2Fprivate/secret.txt",
            "/files/x%2F%2E%2E/private/secret.txt",
            "/files/%2Fprivate%2Fsecret.txt",
            "/files//private/secret.txt",
            "/files/./private/secret.txt",
            "/files/x/../private/secret.txt",
            "/files/%2e/private/secret.txt",
            "/files/%2e%2e/files/private/secret.txt",
            "/files/%70rivate/secret.txt",
            "//files/private/secret.txt",
            "/%66iles/private/secret.txt",
            "/files/private%252Fsecret.txt",
            "http://localhost/files/private%2Fsecret.txt",
            "http://localhost//files//private/secret.txt",
        ],
    )
    async def test_nothing_behind_a_guard(self, site: Router, target: str) -> None:
        """However the path is spelt, what stands before a part of the folder is asked."""
        answer = await fetch(site, target)
        assert b"secret" not in answer.body or b"guard" in answer.body

    async def test_a_parameter_before_an_app_that_looks_at_the_path(self, tmp_path: Path, site: Router) -> None:
        """A handler class of ours has the parameter, with its slash; others take the slash for one."""
        files = functools.partial(aiohttpd.SimpleHTTPRequestHandler, directory=tmp_path)
        for given in (files, Old, app):
            flat = Router({"/{name}": given, "/private/": telling("guard")})
            assert (await fetch(flat, "/private%2Fsecret.txt")).status == 404
            assert (await fetch(flat, "/x%2F..%2Fprivate%2Fsecret.txt")).status == 404
        flat = Router({"/{name}": telling("name"), "/private/": telling("guard")})
        assert (await reached(flat, "/private%2Fsecret.txt"))["params"] == {"name": "private/secret.txt"}

    async def test_an_encoded_slash_that_leads_to_the_same_app(self, site: Router) -> None:
        assert (await fetch(site, "/files/sub%2Fa%20b.txt")).body == b"text"

    async def test_they_are_compressed_where_they_are_mounted(self, tmp_path: Path) -> None:
        (tmp_path / "long.txt").write_text("text " * 1000)
        files = functools.partial(aiohttpd.SimpleHTTPRequestHandler, directory=tmp_path)
        answer = await fetch(Router({"/files/": compress(files)}), "/files/long.txt", "Accept-Encoding: gzip")
        assert answer["Content-Encoding"] == "gzip"


async def test_the_log_has_what_was_sent(caplog: pytest.LogCaptureFixture) -> None:
    lines: list[str] = []

    class Log:
        def answered(self, request: Any, answer: Any, started: float) -> None:
            lines.append(request.requestline)

        def refused(self, *words: Any) -> None: ...
        def message(self, text: str) -> None: ...

    await exchange(Router({"/m/": telling("m"), "/old/": Old}), head("GET", "/m/x?y"), access_log=Log())
    assert lines == ["GET /m/x?y HTTP/1.1"]


async def test_on_a_connection_that_goes_on() -> None:
    site = Router({"/m/": telling("m"), "/old/": Old, "/older/": Older, "/api/": router_of("/x")})
    targets = {"/m/a": 200, "/old/b": 200, "/older/b": 200, "/api/x": 200, "/none": 404, "/older/c": 200, "/old": 308}
    async with running(site, access_log=False) as server, connected(server) as client:
        for target, status in (*targets.items(), *targets.items()):
            await client.send(head("GET", target))
            assert (await client.answer()).status == status


async def test_bodies_that_nobody_reads() -> None:
    site = Router({"/m/": telling("m")})
    sent = head("POST", "/m/x", "Content-Length: 5") + b"hello"
    out = await exchange(site, [sent, head("GET", "/m/y")], config=QUIET)
    assert out.count(b"HTTP/1.1 405 ") == 1
    assert out.count(b"HTTP/1.1 200 ") == 1


@pytest.mark.parametrize("mounted", [True, False])
async def test_a_read_that_is_not_awaited_is_told(caplog: pytest.LogCaptureFixture, mounted: bool) -> None:
    class Forgetful(BaseHTTPRequestHandler):
        async def do_POST(self) -> None:
            self.rfile.read()
            self.send_text("ok")

    sent = head("POST", "/m/x", "Content-Length: 5") + b"hello"
    answer = await answer_to(Router({"/m/" if mounted else "/m/x": Forgetful}), sent)
    assert answer.status == 500
    assert "not awaited" in caplog.text
    caplog.clear()


def redirecting(base: Any, location: str) -> Any:
    """A class whose handlers send an interim head, then Location, and content that looks like one."""

    class Redirecting(base):  # type: ignore[misc]
        def do_GET(self) -> None:
            self.send_response_only(103)
            self.end_headers()
            self.send_response(302)
            self.send_header("Content-Length", "15")
            self.send_header("location", location)
            self.end_headers()
            self.wfile.write(b"\nLocation: /x\r\n")

    return Redirecting


@pytest.mark.parametrize("base", [Old, Older])
@pytest.mark.parametrize(
    ("path", "location", "sent"),
    [
        ("/m/a", "/a/", "/m/a/"),
        ("/m/", "/login?next=/", "/m/login?next=/"),
        ("/m/m", "/m/", "/m/m/"),  # it has a folder of this name
        ("/m/a", "/m/b", "/m/b"),  # it knows where it is
        ("/m/a", "/mother", "/m/mother"),
        ("/m/a", "b", "b"),
        ("/m/a", "//host.example/a", "//host.example/a"),
        ("/m/a", "https://host.example/a", "https://host.example/a"),
    ],
)
async def test_location_of_a_handler_of_http_server(base: Any, path: str, location: str, sent: str) -> None:
    """FAULT: a redirect from /m/a to /a/, which is somebody else's."""
    [answer] = finals(await exchange(Router({"/m/": redirecting(base, location)}), head("GET", path), config=QUIET))
    assert (answer["Location"], answer.body) == (sent, b"\nLocation: /x\r\n")


async def test_the_prefix_in_a_location_does_not_lead_to_another_host() -> None:
    """FAULT: a browser takes /\\host.example/a for //host.example/a."""
    site = Router({"/{name}/": redirecting(Old, "/a")})
    [answer] = finals(await exchange(site, head("GET", "/\\host.example/"), config=QUIET))
    assert answer["Location"] == "/%5Chost.example/a"


async def test_a_mounted_folder_of_http_server(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()

    class Folder(Old, http.server.SimpleHTTPRequestHandler):
        do_GET = http.server.SimpleHTTPRequestHandler.do_GET

    folder = functools.partial(Folder, directory=str(tmp_path))
    assert (await fetch(Router({"/in/": Router({"/m/": folder})}), "/in/m/sub"))["Location"] == "/in/m/sub/"
    async with running(folder, root_path="/behind") as server, connected(server) as client:
        assert (await client.ask("/sub"))["Location"] == "/behind/sub/"
