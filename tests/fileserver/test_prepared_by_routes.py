"""Prepared responses of files behind `functools.partial` and behind a `Router`, and where there must be none."""

import functools
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest

import aiohttpd
from aiohttpd import SimpleHTTPRequestHandler
from aiohttpd.handlers.app import instant_of, prepare
from aiohttpd.handlers.files import tree
from aiohttpd.wire.response import ResponseFields

from ..support.asking import answer_to, fetch
from ..support.clients import get


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files that can be kept in memory at once."""
    monkeypatch.setattr(tree, "_SETTLED", -1)
    (tmp_path / "sub").mkdir()
    for name in ("a.css", "index.html", "a b.txt", "sub/index.html"):
        (tmp_path / name).write_text(name)
    return tmp_path


def files(folder: Path, **options: Any) -> Any:
    return functools.partial(SimpleHTTPRequestHandler, directory=folder, **options)


class Sent(list[str]):
    """Which targets have been answered by a prepared response."""

    def around(self, app: Any) -> Any:
        served = prepare(app)
        assert served.instant is not None

        def noting(request: aiohttpd.Request) -> Any:
            answer = served.instant(request)  # type: ignore[misc]
            if answer is not None:
                self.append(request.target)
            return answer

        class Noting:
            has_instant = True
            instant = staticmethod(noting)

            def __call__(self, request: aiohttpd.Request, response: Any) -> Any:
                return served.app(request, response)

        return Noting()


async def warm(app: Any, target: str) -> Any:
    """Ask twice on one connection: the second request can find the file in memory."""
    return await answer_to(app, get(target), get(target))


@pytest.mark.parametrize("target", ["/a.css", "/", "/sub/", "/a%20b.txt", "/a.css?x=1"])
async def test_a_partial(folder: Path, target: str) -> None:
    sent = Sent()
    answer = await warm(sent.around(files(folder)), target)
    assert sent == [target]
    usual = await fetch(files(folder), target)
    assert (answer.body, answer["ETag"], answer["Content-Type"]) == (usual.body, usual["ETag"], usual["Content-Type"])


async def test_fields_of_a_partial(folder: Path) -> None:
    sent = Sent()
    app = sent.around(files(folder, extra_response_headers=[["X-A", "1"]]))
    assert ((await warm(app, "/a.css"))["X-A"], sent) == ("1", ["/a.css"])
    assert (await warm(files(folder), "/a.css"))["X-A"] is None


@pytest.mark.parametrize("mount", ["/files/", "/a/b/"])
async def test_a_mount(folder: Path, mount: str) -> None:
    class Files(SimpleHTTPRequestHandler):
        directory = folder

    for app in (files(folder), Files, aiohttpd.Router({"/": Files, "/x/": files(folder)})):
        sent = Sent()
        path = mount + ("x/" if isinstance(app, aiohttpd.Router) else "")
        site = sent.around(aiohttpd.Router({mount: app, "/{name}": aiohttpd.BaseHTTPRequestHandler}))
        assert (await warm(site, f"{path}a.css?v=1")).body == b"a.css"
        assert (await warm(site, f"{path}sub/")).body == b"sub/index.html"
        assert set(sent) == {f"{path}a.css?v=1", f"{path}sub/"}


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/files//a.css", 308),
        ("/files/./a.css", 308),
        ("/files/sub/../a.css", 308),
        ("/files/%61.css", 200),
        ("/files/a%20b.txt", 200),
        ("/files/.hidden", 404),
        ("/files/page", 200),
        ("/files", 308),
        ("/filesa.css", 404),
        ("http://localhost/files/a.css", 200),
    ],
)
async def test_what_the_router_decides(folder: Path, target: str, status: int) -> None:
    """Whatever the store of the class knows, by another door even."""

    class Files(SimpleHTTPRequestHandler):
        directory = folder

    class Page(aiohttpd.BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            self.send_text("the page")

    (folder / "page").write_text("the file")
    for path in ("/a.css", "/page", "//a.css", "/./a.css", "/%61.css"):
        await warm(Files, path)
    sent = Sent()
    app = sent.around(aiohttpd.Router({"/files/": Files, "/files/page": Page}))
    answer = await warm(app, target)
    assert (answer.status, sent) == (status, [])
    if target == "/files/page":
        assert answer.body == b"the page"


async def test_conditions_ranges_and_methods(folder: Path) -> None:
    sent = Sent()
    app = sent.around(aiohttpd.Router({"/files/": files(folder)}))
    tag = (await warm(app, "/files/a.css"))["ETag"]
    sent.clear()
    assert (await answer_to(app, get("/files/a.css", f"If-None-Match: {tag}"))).status == 304
    assert (await answer_to(app, get("/files/a.css", "Range: bytes=0-1"))).body == b"a."
    assert (await fetch(app, "/files/a.css", method="HEAD"))["Content-Length"] == "5"
    assert (await fetch(app, "/files/a.css", method="POST")).status == 405
    assert sent == []


async def test_a_file_that_changes(folder: Path) -> None:
    app = aiohttpd.Router({"/files/": files(folder)})
    assert (await warm(app, "/files/a.css")).body == b"a.css"
    (folder / "a.css").write_text("changed")
    assert (await fetch(app, "/files/a.css")).body == b"changed"


class TestNone:
    """Apps that have no prepared responses."""

    def test_of_classes_and_partials_that_are_not_usual(self, folder: Path) -> None:
        class Own(SimpleHTTPRequestHandler):
            def __init__(self, request: Any, wfile: Any, *, directory: Any = None, more: int = 0) -> None:
                super().__init__(request, wfile, directory=directory)

        class Registered(SimpleHTTPRequestHandler):
            def __init_subclass__(cls, **kwargs: Any) -> None:
                raise AssertionError("no class is derived")

        class Other:
            derived = MagicMock(side_effect=AssertionError)

        for cls in (Own, Registered):
            assert instant_of(functools.partial(cls, directory=folder)) is None
        assert instant_of(functools.partial(SimpleHTTPRequestHandler, directory=folder, unknown=1)) is None
        assert instant_of(functools.partial(Other, directory=folder)) is None

    @pytest.mark.parametrize(
        "app", [MagicMock(), aiohttpd.Router(), aiohttpd.Router({"/": aiohttpd.BaseHTTPRequestHandler})]
    )
    def test_of_other_apps(self, app: Any) -> None:
        assert instant_of(app) is None

    def test_of_routes_by_host_and_of_mounts_with_parameters(self, folder: Path) -> None:
        assert instant_of(aiohttpd.Router({"example.org/files/": files(folder)})) is None
        assert instant_of(aiohttpd.Router({"/files/": files(folder), "example.org/": files(folder)})) is None
        assert instant_of(aiohttpd.Router({"/{user}/": files(folder)})) is None

    async def test_of_a_class_whose_hook_is_overridden(self, folder: Path) -> None:
        class Hooked(SimpleHTTPRequestHandler):
            directory = folder

            def end_headers(self) -> None:
                self.send_header("X-Hook", "1")
                super().end_headers()

        answer = await warm(aiohttpd.Router({"/files/": Hooked}), "/files/a.css")
        assert answer["X-Hook"] == "1"


def test_one_class_for_the_same_arguments(folder: Path) -> None:
    derived = [SimpleHTTPRequestHandler.derived(directory=where) for where in (folder, str(folder))]
    assert derived[0] is derived[1]
    assert derived[0] is not None
    assert derived[0].__name__ == "SimpleHTTPRequestHandler"
    assert isinstance(ResponseFields.of(derived[0].extra_response_headers), list)
