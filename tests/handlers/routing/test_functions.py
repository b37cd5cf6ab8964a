"""Functions and single methods as routes."""

import functools
import threading
from typing import Any

import pytest

import aiohttpd
from aiohttpd import BaseHTTPRequestHandler, HTTPError, Router, middleware
from aiohttpd.runner.routes import route_table

from ...support.asking import answer_to, fetch
from ...support.clients import head


def site() -> Router:
    router = Router()

    @router.get("/ping")
    async def ping(self: BaseHTTPRequestHandler) -> None:
        """Say pong."""
        self.send_text(f"pong {self.query.get('a', '')}")

    @router.post("/ping")
    async def take(self: BaseHTTPRequestHandler) -> None:
        self.send_json(await self.json(), 201)

    @router.route(["PUT", "PROPFIND"], "/dav/{name}", name="dav")
    async def dav(self: BaseHTTPRequestHandler) -> None:
        self.send_text(f"{self.command} {self.params['name']}")

    @router.get("/thread")
    def thread(self: Any) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(threading.current_thread().name.encode())

    @router.patch("/gone")
    @router.delete("/gone")
    async def gone(self: BaseHTTPRequestHandler) -> None:
        raise HTTPError(410, "Gone away")

    assert ping.__doc__ == "Say pong."
    return router


SITE = site()


class TestFunctions:
    async def test_they_have_the_contract(self) -> None:
        assert (await fetch(SITE, "/ping?a=1")).body == b"pong 1"
        answer = await fetch(SITE, "/ping", method="HEAD")
        assert (answer.status, answer["Content-Length"], answer.body) == (200, "5", b"")
        sent = head("POST", "/ping", "Content-Length: 2", "Content-Type: application/json") + b"[]"
        assert (await answer_to(SITE, sent)).status == 201
        answer = await fetch(SITE, "/ping", method="DELETE")
        assert (answer.status, answer["Allow"]) == (405, "GET, HEAD, POST, OPTIONS")
        answer = await fetch(SITE, "/ping", method="OPTIONS")
        assert (answer.status, answer["Allow"]) == (204, "GET, HEAD, POST, OPTIONS")
        assert (await fetch(SITE, "/dav/a%20b", method="PROPFIND")).body == b"PROPFIND a b"
        assert (await fetch(SITE, "/dav/x")).status == 405
        for method in ("PATCH", "DELETE"):
            answer = await fetch(SITE, "/gone", method=method)
            assert (answer.status, answer.reason) == (410, "Gone away")

    async def test_a_plain_function_runs_in_a_thread(self) -> None:
        assert (await fetch(SITE, "/thread")).body != threading.current_thread().name.encode()

    def test_names(self) -> None:
        assert [SITE.url("ping"), SITE.url("dav", name="x"), SITE.url("gone")] == ["/ping", "/dav/x", "/gone"]

    def test_several_names_of_one_path(self) -> None:
        site = Router()

        @site.post("/notes/{id}")
        async def add(self: BaseHTTPRequestHandler) -> None: ...

        @site.get("/notes/{id}")
        async def show(self: BaseHTTPRequestHandler) -> None: ...

        @site.delete("/notes/{id}", name="note")
        async def remove(self: BaseHTTPRequestHandler) -> None: ...

        assert {site.url(name, id=1) for name in ("add", "show", "note")} == {"/notes/1"}
        with pytest.raises(LookupError, match="no route has the name 'remove'"):
            site.url("remove", id=1)
        assert [(route.name, route.names) for _, route in site.routes()] == [("add", ["add", "show", "note"])]
        assert "add, show, note" in route_table(site)

    async def test_their_class(self) -> None:
        class API(BaseHTTPRequestHandler):
            server_version = "mine"

            @staticmethod
            def error_body(status: int, message: str, explain: str) -> tuple[str, bytes]:
                return "text/x-mine", f"{status}!".encode()

        router = Router(handler=API)

        @router.get("/x")
        async def x(self: API) -> None:
            self.send_text("")

        assert (await fetch(router, "/x"))["Server"] == "mine"
        for target, method, status in (("/none", "GET", 404), ("/x", "PUT", 405), ("//x", "PUT", 404)):
            answer = await fetch(router, target, method=method)
            assert (answer.status, answer["Content-Type"], answer.body) == (status, "text/x-mine", b"%d!" % status)
        malformed = await answer_to(router, b"GET /x HTTP/1.1\r\n\r\n")
        assert (malformed.status, malformed.body) == (400, b"400!")

    def test_two_for_one_method(self) -> None:
        router = site()
        with pytest.raises(ValueError, match="'/ping' has a function for GET already"):
            router.get("/ping")(lambda self: None)

    def test_parameters_of_another_name(self) -> None:
        router = Router()
        router.get("/notes/{id}")(lambda self: None)
        with pytest.raises(ValueError, match="same paths"):
            router.post("/notes/{name}")(lambda self: None)
        assert [text for text, _ in router.routes()] == ["/notes/{id}"]

    @pytest.mark.parametrize("wrong", [lambda: None, lambda request, response: None])
    def test_other_arguments(self, wrong: Any) -> None:
        with pytest.raises(TypeError, match="takes the handler"):
            Router().get("/x")(wrong)

    def test_what_yields(self) -> None:
        async def events(self: BaseHTTPRequestHandler) -> Any:
            yield 1

        with pytest.raises(TypeError, match="yields"):
            Router().get("/x")(events)

    @pytest.mark.parametrize("method", ["get", "G T", "", "CONNECT", [], "a-b"])
    def test_methods(self, method: Any) -> None:
        with pytest.raises(ValueError, match="method|CONNECT"):
            Router().route(method, "/x")


class Note(BaseHTTPRequestHandler):
    """A resource with two actions that have paths of their own."""

    before: str = ""

    async def setup(self) -> None:
        self.before = "set up"

    async def do_GET(self) -> None:
        self.send_text(f"note {self.params['id']}")

    async def do_DELETE(self) -> None:
        self.send_text("deleted")

    @aiohttpd.route("POST", "/notes/{id:int}/star")
    async def star(self) -> None:
        self.send_text(f"star {self.params['id']} {self.before}")

    @aiohttpd.route("DELETE", "/notes/{id:int}/star", name="no_star")
    async def unstar(self) -> None:
        self.send_text("no star")

    @aiohttpd.route(["GET", "PUT"], "/notes/{id:int}/tags/{tag}", name="tags")
    @aiohttpd.route("GET", "/tags/{tag}")
    async def tags(self) -> None:
        self.send_text(" ".join(map(str, self.params.values())))


class TestMethodsOfAClass:
    @pytest.mark.parametrize("include", [True, False])
    async def test_they_answer_their_path_and_nothing_else(self, include: bool) -> None:
        router = Router() if include else Router({"/notes/{id:int}": Note})
        if include:
            router.include(Note)
            router.include(Note)
        found = {}
        for method in ("GET", "HEAD", "POST", "DELETE", "OPTIONS"):
            answer = await fetch(router, "/notes/3/star", method=method)
            found[method] = (answer.status, answer["Allow"] or answer.body)
        allow = "POST, DELETE, OPTIONS"
        assert found == {
            "GET": (405, allow),
            "HEAD": (405, allow),
            "POST": (200, b"star 3 set up"),
            "DELETE": (200, b"no star"),
            "OPTIONS": (204, allow),
        }
        assert (await fetch(router, "/notes/3/tags/x", method="PUT")).body == b"3 x"
        assert (await fetch(router, "/tags/x")).body == b"x"
        assert (await fetch(router, "/notes/3")).status == (404 if include else 200)
        assert router.url("star", id=3) == router.url("no_star", id=3) == "/notes/3/star"

    async def test_they_are_plain_methods_too(self) -> None:
        """The class is what it was."""
        assert (await fetch(Note, "/x", method="POST")).status == 405
        assert not [name for name in vars(Note) if name == "do_POST"]

    async def test_a_class_that_is_derived(self) -> None:
        class More(Note):
            async def star(self) -> None:
                self.send_text("nothing is marked")

        router = Router()
        router.include(More)
        assert (await fetch(router, "/notes/3/star", method="POST")).status == 405
        assert (await fetch(router, "/notes/3/star", method="DELETE")).status == 200

    @pytest.mark.parametrize(
        "app", [aiohttpd.layers(Note, middleware.RequestID()), functools.partial(Note)], ids=["layer", "partial"]
    )
    async def test_none_is_left_out_without_a_word(self, app: Any) -> None:
        """A layer around the class would not be around its other paths: a page that needs a password, say."""
        with pytest.raises(ValueError, match=r"only, but Note has methods with @route .* call include\(Note\) before"):
            Router({"/notes/{id:int}": app})
        router = Router()
        router.include(Note)
        router.add("/notes/{id:int}", app)
        assert (await fetch(router, "/notes/3")).body == b"note 3"
        assert (await fetch(router, "/notes/3/star", method="POST")).status == 200
        around = aiohttpd.layers(Router({"/notes/{id:int}": Note}), middleware.RequestID())
        assert (await fetch(around, "/notes/3/star", method="POST"))["X-Request-ID"]

    def test_twice(self) -> None:
        class Twice(BaseHTTPRequestHandler):
            @aiohttpd.route("GET", "/x")
            async def one(self) -> None: ...

            @aiohttpd.route("GET", "/x")
            async def two(self) -> None: ...

        with pytest.raises(ValueError, match="two methods for GET /x"):
            Router().include(Twice)


def test_a_decorator_without_its_path() -> None:
    """FAULT: the function was taken for the path, and there was no route."""
    site: Any = aiohttpd.Router()

    async def page(self: Any) -> None: ...

    for decorate in (site.get, site.post, functools.partial(site.route, "GET")):
        with pytest.raises(TypeError, match=r"a route begins with its path, @site\.get\('/path'\): <function .*page"):
            decorate(page)


@pytest.mark.parametrize("table", [[("/", aiohttpd.BaseHTTPRequestHandler)], ("/a",), "/a", aiohttpd.Router()])
def test_a_table_that_is_none(table: Any) -> None:
    with pytest.raises(TypeError, match=r"the table of a Router is a dictionary, \{'/path': App\}, not"):
        aiohttpd.Router(table)
