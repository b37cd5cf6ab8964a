"""What a request asks for, method, path and query, and what is said of methods that a class has not."""

from typing import Any

import pytest

from aiohttpd import BaseHTTPRequestHandler

from ..support.asking import answer_to
from ..support.clients import head


def handler(**methods: object) -> type[BaseHTTPRequestHandler]:
    return type("Handler", (BaseHTTPRequestHandler,), methods)


async def hello(self: BaseHTTPRequestHandler) -> None:
    self.send_text("hello")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "TRACE"])
async def test_a_method_of_http_that_the_class_has_not_is_405(method: str) -> None:
    """RFC 9110 section 15.5.6; what is no method of HTTP is 501, section 15.6.2."""
    answer = await answer_to(handler(do_GET=hello, do_SPAM=hello), head(method, "/"))
    assert (answer.status, answer["Allow"]) == (405, "GET, HEAD, OPTIONS, SPAM")
    assert answer["Connection"] is None


async def test_allow_has_what_can_be_called() -> None:
    class Parent(BaseHTTPRequestHandler):
        async def do_DELETE(self) -> None: ...

    class Child(Parent):
        do_DELETE = None  # type: ignore[assignment]

        async def do_PATCH(self) -> None: ...

    answer = await answer_to(Child, head("DELETE", "/"))
    assert (answer.status, answer["Allow"]) == (405, "PATCH, OPTIONS")


@pytest.mark.parametrize("target", ["/", "*"])
async def test_options(target: str) -> None:
    answer = await answer_to(handler(do_GET=hello, do_POST=hello), head("OPTIONS", target))
    assert (answer.status, answer["Allow"], answer.body) == (204, "GET, HEAD, POST, OPTIONS", b"")
    own = handler(do_OPTIONS=hello)
    assert (await answer_to(own, head("OPTIONS", target))).status == 200


@pytest.mark.parametrize(
    ("target", "path", "url_path"),
    [
        ("/report?utm=1", "/report?utm=1", "/report"),
        ("/a%20b.txt", "/a%20b.txt", "/a b.txt"),
        ("/a%2520b", "/a%2520b", "/a%20b"),
        ("//other.example/x", "/other.example/x", "/other.example/x"),
        ("/%2Fother.example/x", "/%2Fother.example/x", "/other.example/x"),
        ("/caf%C3%A9?caf%C3%A9", "/caf%C3%A9?caf%C3%A9", "/café"),
        ("/%FF", "/%FF", "/\udcff"),
        ("/100%", "/100%", "/100%"),
        ("/a?b?c=/d", "/a?b?c=/d", "/a"),
        ("http://localhost/x%21?y", "/x%21?y", "/x!"),
    ],
)
async def test_paths(target: str, path: str, url_path: str) -> None:
    seen: list[Any] = []

    async def look(self: BaseHTTPRequestHandler) -> None:
        seen.append((self.path, self.url_path, self.request.url_path, self.params, self.request.root_path))
        self.send_text("")

    assert (await answer_to(handler(do_GET=look), head("GET", target))).status == 200
    assert seen == [(path, url_path, url_path, {}, "")]


async def test_query_of_a_request_is_that_of_the_handler() -> None:
    seen: list[Any] = []

    async def look(self: BaseHTTPRequestHandler) -> None:
        seen.append((self.query, self.request.query, self.request.query["a"], self.request.query.getall("a")))
        self.send_text("")

    await answer_to(handler(do_GET=look), head("GET", "/x?a=1+2&a=%33&b="))
    [(query, same, first, every)] = seen
    assert query == same
    assert (first, every, same.pairs()) == ("1 2", ["1 2", "3"], [("a", "1 2"), ("a", "3"), ("b", "")])


async def test_a_field_that_is_missing_is_400() -> None:
    async def look(self: BaseHTTPRequestHandler) -> None:
        self.send_text(self.request.query["b"])

    assert (await answer_to(handler(do_GET=look), head("GET", "/?a"))).status == 400
