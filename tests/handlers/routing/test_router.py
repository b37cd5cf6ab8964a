"""A router as an App: methods, slashes, hosts, names, and what it answers itself."""

import http.server
import json
import pickle
from typing import Any

import pytest

import aiohttpd
from aiohttpd import BaseHTTPRequestHandler, Converter, HTTPError, Request, Router, StreamWriter

from ...support.asking import answer_to, fetch
from ...support.clients import head
from ...support.routes import reached, router_of, telling


class Notes(BaseHTTPRequestHandler):
    async def do_GET(self) -> None:
        self.send_json(sorted(self.params.items()))

    async def do_POST(self) -> None:
        self.send_json(await self.json())


class NoteOfSomebody(BaseHTTPRequestHandler):
    async def do_DELETE(self) -> None:
        raise HTTPError(410)


async def app(request: Request, response: StreamWriter) -> None:
    response.send_head(200, [("X-Method", request.method)])
    response.write(request.target.encode())


SITE = Router({"/notes": Notes, "/notes/{id:int}": NoteOfSomebody, "/app": app})


class TestMethods:
    async def test_405_names_what_there_is(self) -> None:
        answer = await fetch(SITE, "/notes", method="PATCH")
        assert (answer.status, answer["Allow"]) == (405, "GET, HEAD, POST, OPTIONS")
        answer = await fetch(SITE, "/notes/3")
        assert (answer.status, answer["Allow"]) == (405, "DELETE, OPTIONS")

    async def test_options(self) -> None:
        answer = await fetch(SITE, "/notes/3", method="OPTIONS")
        assert (answer.status, answer["Allow"]) == (204, "DELETE, OPTIONS")
        answer = await fetch(SITE, "*", method="OPTIONS")
        assert (answer.status, answer["Allow"]) == (204, "GET, HEAD, POST, OPTIONS, DELETE")
        assert (await fetch(SITE, "/none", method="OPTIONS")).status == 404

    async def test_an_app_gets_whatever_method(self) -> None:
        for method in ("GET", "OPTIONS", "BREW"):
            assert (await fetch(SITE, "/app", method=method))["X-Method"] == method

    async def test_unknown_methods(self) -> None:
        assert (await fetch(SITE, "/notes", method="BREW")).status == 501

    async def test_connect(self) -> None:
        request = b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n"
        assert (await answer_to(SITE, request)).status == 501

        async def proxy(request: Request, response: StreamWriter) -> None:
            raise HTTPError(403, None, request.target)

        answer = await answer_to(Router({"/": Notes}, connect=proxy), request)
        assert (answer.status, answer.body) == (403, b"403 Forbidden: example.com:443\n")

    async def test_bodies_arrive(self) -> None:
        body = b'{"a":[1,2]}'
        answer = await answer_to(SITE, head("POST", "/notes", f"Content-Length: {len(body)}") + body)
        assert answer.body == body

    async def test_what_is_not_found_leaves_the_connection_of_use(self) -> None:
        posted = head("POST", "/none", "Content-Length: 5") + b"hello"
        answer = await answer_to(SITE, posted, head("GET", "/notes"))
        assert (answer.status, answer.body) == (200, b"[]")


class TestSlashes:
    @pytest.mark.parametrize(
        ("target", "location"),
        [
            ("/mount", "mount/"),
            ("/mount?a=/b", "mount/?a=/b"),
            ("/page/", "../page"),
            ("/page/?x", "../page?x"),
            ("/p/7/", "../7"),
            ("/p/a:b/", "../a:b"),
            ("/p/%2F%2Fother.example/", "../%2F%2Fother.example"),
            ("/p/\\\\other.example/", "../%5C%5Cother.example"),
            ("/slash", "slash/"),
            ("/x:y", "./x:y/"),
        ],
    )
    async def test_redirect_to_the_only_one(self, target: str, location: str) -> None:
        site = router_of("/mount/", "/page", "/p/{name}", "/slash/{$}", "/x:y/")
        for method in ("GET", "HEAD", "POST"):
            answer = await fetch(site, target, method=method)
            assert (answer.status, answer["Location"]) == (308, location)

    async def test_both(self) -> None:
        site = router_of("/notes", "/notes/")
        assert (await reached(site, "/notes"))["label"] == "/notes"
        assert (await reached(site, "/notes/"))["label"] == "/notes/"

    async def test_neither(self) -> None:
        site = router_of("/a/b")
        assert [await reached(site, path) for path in ("/", "/a", "/a/", "/a/b/c", "/a/b/c/")] == [404] * 5

    @pytest.mark.parametrize(
        ("target", "location"),
        [
            ("//a", "/a"),
            ("//other.example/..", "/"),
            ("/a//b", "/a/b"),
            ("/a/./b?c", "/a/b?c"),
            ("/a/%2e%2E/b", "/b"),
            ("/../../etc/passwd", "/etc/passwd"),
            ("/a/b/..", "/a/"),
            ("/a/.", "/a/"),
            ("/a//", "/a/"),
            ("/.", "/"),
            ("/%2e//%5Cother.example", "/%5Cother.example"),
            ("//\\other.example", "/%5Cother.example"),
            ("/a//b%2Fc/%20/", "/a/b%2Fc/%20/"),
            ("http://example.org//x", "/x"),
        ],
    )
    async def test_unclean_paths(self, target: str, location: str) -> None:
        site = router_of("/", "/a/b", "/{rest...}")
        for method in ("GET", "HEAD"):
            answer = await fetch(site, target, method=method)
            assert (answer.status, answer["Location"]) == (308, location)
        assert (await fetch(site, target, method="POST")).status == 404


class TestHosts:
    SITE = router_of("/x", "example.org/x", "*.example.org/x", "*.deep.example.org/x", "example.org/only", "/{rest...}")

    @pytest.mark.parametrize(
        ("host", "target", "label"),
        [
            ("example.org", "/x", "example.org/x"),
            ("EXAMPLE.org.:8080", "/x", "example.org/x"),
            ("www.example.org", "/x", "*.example.org/x"),
            ("a.b.example.org", "/x", "*.example.org/x"),
            ("a.deep.example.org", "/x", "*.deep.example.org/x"),
            ("deep.example.org", "/x", "*.example.org/x"),
            ("notexample.org", "/x", "/x"),
            ("other.example", "/x", "/x"),
            ("[::1]:80", "/x", "/x"),
            ("example.org", "/only", "example.org/only"),
            ("www.example.org", "/only", "/{rest...}"),
            ("example.org", "/y", "/{rest...}"),
            ("other.example", "http://example.org/x", "example.org/x"),
        ],
    )
    async def test_lead(self, host: str, target: str, label: str) -> None:
        sent = f"GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
        assert json.loads((await answer_to(self.SITE, sent)).body)["label"] == label

    async def test_without_host(self) -> None:
        assert (await answer_to(self.SITE, b"GET /x HTTP/1.0\r\n\r\n")).status == 200

    async def test_a_route_that_was_known_before_a_host_came(self) -> None:
        site = router_of("/x")
        assert (await reached(site, "/x"))["label"] == "/x"
        site.add("localhost/x", telling("host"))
        sent = b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n"
        assert b"host" in (await answer_to(site, sent)).body


class TestNames:
    def test_url(self) -> None:
        inner = router_of("/parts/{part}")
        site = Router(
            {
                "/": telling("home"),
                "/notes": Notes,
                "/notes/{id:int}": NoteOfSomebody,
                "/api/{version}/": inner,
                "/year/{year:year}": telling("year"),
            },
            converters={"year": Converter("[0-9]{4}", int, lambda value: f"{value:04}")},
        )
        site.add("/files/{name}/{rest...}", Notes, name="file")
        site.add("/page/{$}", Notes, name="page")
        inner.add("/deep/{$}", Notes, name="deep")
        assert site.url("notes") == site.url("notes") == "/notes"
        assert site.url("note_of_somebody", id=3) == site.url(NoteOfSomebody, id=3) == "/notes/3"
        assert site.url("file", name="a/b ü", rest="c d/e?") == "/files/a%2Fb%20%C3%BC/c%20d/e%3F"
        assert site.url("file", name="x", rest="") == "/files/x/"
        assert site.url("page") == "/page/"
        assert site.url("deep", version="1") == "/api/1/deep/"
        assert inner.url("deep") == "/deep/"

    @pytest.mark.parametrize(
        ("name", "params", "why"),
        [
            ("none", {}, "no route has the name 'none'"),
            ("", {}, "no route has the name ''"),
            ("telling", {}, "several routes have the name 'telling': '/a', '/b'"),
        ],
    )
    def test_no_such_name(self, name: str, params: dict[str, Any], why: str) -> None:
        site = router_of("/a", "/b")
        site.add("/c", app, name="")
        with pytest.raises(LookupError, match=why):
            site.url(name, **params)

    @pytest.mark.parametrize(
        "params",
        [
            {},
            {"id": 3},
            {"id": 3, "rest": "x", "more": 1},
            {"id": -3, "rest": "x"},
            {"id": "x", "rest": "x"},
            {"id": None, "rest": "x"},
            {"id": 2**64, "rest": "x"},
            {"id": 3, "rest": "../x"},
            {"id": 3, "rest": "/x"},
            {"id": 3, "rest": "a//b"},
            {"id": 3, "rest": ".."},
            {"id": 3, "rest": "\udcff"},
        ],
    )
    def test_values_that_would_lead_elsewhere(self, params: dict[str, Any]) -> None:
        site = Router()
        site.add("/{id:int}/{rest...}", Notes, name="x")
        with pytest.raises(ValueError, match="parameter"):
            site.url("x", **params)

    @pytest.mark.parametrize("value", ["", ".", "..", "\udcff"])
    def test_segments_that_would_lead_elsewhere(self, value: str) -> None:
        site = Router()
        site.add("/{name}", Notes, name="x")
        with pytest.raises(ValueError, match="parameter 'name'"):
            site.url("x", name=value)


class TestTable:
    @pytest.mark.parametrize("wrong", [3, "module:app", object(), lambda request, response: "text", Notes.do_GET])
    def test_what_is_no_app(self, wrong: Any) -> None:
        with pytest.raises(TypeError, match="the route '/x': "):
            Router({"/x": wrong})

    def test_a_function_of_a_handler(self) -> None:
        async def page(self: BaseHTTPRequestHandler) -> None: ...

        with pytest.raises(TypeError, match=r"is a route by router.get\('/x'\)"):
            Router({"/x": page})

    def test_routes(self) -> None:
        class Old(http.server.BaseHTTPRequestHandler):
            pass

        site = Router({"/notes": Notes, "/old/": Old, "/api/": router_of("/x/{y}")})
        assert [(text, route.methods, route.name) for text, route in site.routes()] == [
            ("/notes", ["GET", "HEAD", "POST", "OPTIONS"], "notes"),
            ("/old/", [], "old"),
            ("/api/", [], ""),
            ("/api/x/{y}", ["GET", "HEAD", "OPTIONS"], "telling"),
        ]

    async def test_it_crosses_into_workers(self) -> None:
        site = Router({"/notes/{id:int}": Notes, "/short": Short}, error_handlers={404: not_here})
        site.get("/ping", name="p")(ping)
        site.post("/ping")(ping)
        copy = pickle.loads(pickle.dumps(site))
        again = pickle.loads(pickle.dumps(copy))
        assert [text for text, _ in again.routes()] == [text for text, _ in site.routes()]
        assert again.url("p") == "/ping"
        for target, method, status, body in (
            ("/notes/3", "GET", 200, b'[["id",3]]'),
            ("/ping", "POST", 200, b"pong"),
            ("/none", "GET", 404, b"nothing"),
            ("/star", "PUT", 200, b"star"),
        ):
            answer = await fetch(again, target, method=method)
            assert (answer.status, answer.body) == (status, body)


class Short(BaseHTTPRequestHandler):
    @aiohttpd.route("PUT", "/star")
    async def star(self) -> None:
        self.send_text("star")


async def ping(self: BaseHTTPRequestHandler) -> None:
    self.send_text("pong")


async def not_here(self: BaseHTTPRequestHandler, error: HTTPError) -> None:
    self.send_text("nothing", 404)
