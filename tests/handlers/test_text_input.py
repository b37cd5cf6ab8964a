"""URL-encoded fields, queries, cookies, text and JSON: what handlers take, and what is refused."""

import asyncio
import gzip
import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aiohttpd import BaseHTTPRequestHandler
from aiohttpd.handlers.forms import decode
from aiohttpd.handlers.json_text import dumps, loads
from aiohttpd.testing import exchange

from ..support.asking import answer_to
from ..support.clients import get
from ..support.forming import END, MULTIPART, URL_ENCODED, Taker, Teller, part, post_form, taking

# URL-encoded forms and queries.


@pytest.mark.parametrize(
    ("body", "pairs"),
    [
        ("", []),
        ("a=1&b=2&a=3", [("a", "1"), ("b", "2"), ("a", "3")]),
        ("a&b=&=c&&=", [("a", ""), ("b", ""), ("", "c"), ("", "")]),
        ("a+b=c+d%2B%26%3D", [("a b", "c d+&=")]),
        ("a=b=c;d", [("a", "b=c;d")]),
        ("%zz=%", [("%zz", "%")]),
        ("n=%C3%BC%E2%82%AC", [("n", "ü€")]),
        ("n=%00%0D%0A", [("n", "\0\r\n")]),
    ],
)
async def test_url_encoded(body: str, pairs: list[tuple[str, str]]) -> None:
    async def do_get(self: Taker) -> None:
        assert self.query.pairs() == pairs
        assert self.query is self.query
        self.send_text("ok")

    answer = await answer_to(Teller, post_form(body.encode(), URL_ENCODED + ";charset=UTF-8"))
    assert [tuple(pair) for pair in json.loads(answer.body)] == pairs
    assert (await answer_to(type("Query", (Taker,), {"do_GET": do_get}), get(f"/?{body}"))).body == b"ok"


@pytest.mark.parametrize(
    ("body", "limits", "status", "reason"),
    [
        (b"a=%FF", {}, 400, "not in UTF-8"),
        (b"a=\xff", {}, 400, "not in UTF-8"),
        (b"&" * 999, {}, 200, ""),
        (b"&" * 1000, {}, 413, "more than 1000 fields"),
        (b"&" * 16_000_000, {}, 413, "more than 1000 fields"),
        (b"a=12345", {"max_field_size": 5}, 200, ""),
        (b"a=123456", {"max_field_size": 5}, 413, "the field 'a' is larger than 5 bytes"),
        ("a=€€".encode(), {"max_field_size": 5}, 413, "the field 'a' is larger than 5 bytes"),
        (b"abcdef=", {"max_field_size": 5}, 413, "the field 'abcdef' is larger than 5 bytes"),
        (b"a=" + b"%41" * 100_000, {"max_field_size": 100_000}, 200, ""),
        (b"a=" + b"%41" * 5_000_000, {}, 413, "the field 'a' is larger than 1048576 bytes"),
        (b"a=1&b=2", {"max_fields_size": 7}, 200, ""),
        (b"a=1&b=2", {"max_fields_size": 6}, 413, "the fields are larger than 6 bytes together"),
        (b"x" * 70_000, {"max_field_size": 5}, 413, "the field 'xxx"),
    ],
    ids=range(14),
)
async def test_limits_of_url_encoded(body: bytes, limits: dict[str, int], status: int, reason: str) -> None:
    answer = await answer_to(type("Limited", (Teller,), limits), post_form(body, URL_ENCODED))
    assert answer.status == status
    assert len(answer.body) < 500 or status == 200
    if reason:
        assert reason in answer.body.decode()


@pytest.mark.parametrize("query", ["a=%FF", "&" * 1000], ids=["utf8", "fields"])
async def test_a_query_that_is_refused(query: str) -> None:
    async def do_get(self: Taker) -> None:
        self.send_text(str(self.query))

    assert (await answer_to(type("Query", (Taker,), {"do_GET": do_get}), get(f"/?{query}"))).status == 400


class Looker(Taker):
    async def do_GET(self) -> None:
        assert all(isinstance(text, str) for pair in self.query.pairs() for text in pair)
        assert all(isinstance(text, str) for pair in self.cookies.items() for text in pair)
        self.send_json(self.cookies)


@settings(max_examples=80, deadline=None)
@given(
    query=st.text(st.sampled_from("ab&=%;+?/0Fé\xff\xc3"), max_size=40),
    cookie=st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=40)
    | st.text('ab=;" ,\t\\', max_size=40),
)
def test_queries_and_cookies_of_any_kind(query: str, cookie: str) -> None:
    request = f"GET /?{query} HTTP/1.1\r\nHost: a\r\nCookie: {cookie}\r\n\r\n".encode("latin-1")
    assert asyncio.run(answer_to(Looker, request)).status in (200, 400)


@pytest.mark.parametrize(
    ("fields", "cookies"),
    [
        ([], {}),
        (["a=1; b=2"], {"a": "1", "b": "2"}),
        (["a=1;b=2", "c=3"], {"a": "1", "b": "2", "c": "3"}),
        (["a=1; a=2"], {"a": "1"}),
        (['a="q d"; b="; c='], {"a": "q d", "b": '"', "c": ""}),
        (["nonsense; =x; ; a=b=c"], {"a": "b=c"}),
    ],
)
async def test_cookies(fields: list[str], cookies: dict[str, str]) -> None:
    answer = await answer_to(Looker, get("/", *(f"Cookie: {field}" for field in fields)))
    assert json.loads(answer.body) == cookies


# Text and JSON.


@pytest.mark.parametrize(
    ("kind", "body", "status", "text"),
    [
        ("text/plain", "ü€".encode(), 200, "ü€"),
        ("", "ü".encode(), 200, "ü"),
        ("text/plain; charset=ISO-8859-1", b"\xfc", 200, "ü"),
        ('text/plain; charset="windows-1252"', b"\x80", 200, "€"),
        ("text/plain", b"ab\xfc", 400, "the text is not in utf-8: byte 2"),
        ("text/plain; charset=klingon", b"a", 415, "the charset klingon is not known"),
        ("text/plain; charset=base64", b"YQ==", 415, "the charset base64 is not known"),
        ("text/plain; charset=idna", b"xn--a", 415, "the charset idna is not known"),
        ("text/plain; charset=undefined", b"a", 415, "the charset undefined is not known"),
        ("text/plain; charset=" + "x" * 9999, b"a", 415, "is not known"),
        ("text/plain; charset=\xfc", b"a", 415, "is not known"),
    ],
    ids=range(11),
)
async def test_text(kind: str, body: bytes, status: int, text: str) -> None:
    answer = await answer_to(taking("text"), post_form(body, kind))
    assert answer.status == status
    assert text in answer.body.decode() and len(answer.body) < 200


def test_every_charset_is_one_of_python() -> None:
    from aiohttpd.handlers.forms.read import _CHARSETS

    assert {decode(b"", charset) for charset in _CHARSETS} == {""}
    with pytest.raises(LookupError):
        decode(b"", "rot13")


@pytest.mark.parametrize(
    ("kind", "body", "status", "text"),
    [
        ("application/json", b' {"a": [1, 2.5, null, true, "\\u00fc"]}\n', 200, '{"a":[1,2.5,null,true,"ü"]}'),
        ("application/problem+json; charset=utf-8", '"ü"'.encode(), 200, '"ü"'),
        ("", b"1", 200, "1"),
        ("application/json", b'"\\ud800"', 200, '"\\ud800"'),
        ("text/plain", b"1", 415, "application/json is wanted"),
        (URL_ENCODED, b"1", 415, "application/json is wanted"),
        ("application/json", b"", 400, "the body is empty"),
        ("application/json", b"{", 400, "malformed JSON: Expecting property name"),
        ("application/json", b"1 2", 400, "malformed JSON: Extra data"),
        ("application/json", b"[NaN]", 400, "NaN is no JSON"),
        ("application/json", b"-Infinity", 400, "-Infinity is no JSON"),
        ("application/json", b'"\xff"', 400, "it is not in UTF-8: byte 1"),
        ("application/json", b"\xef\xbb\xbf1", 400, "it begins with a byte order mark"),
        ("application/json", b"[" * 200_000, 400, "malformed JSON"),
        ("application/json", b"1" * 5000, 400, "malformed JSON"),
        ("application/json", '"a"'.encode("utf-16"), 400, "it is not in UTF-8"),
        ("application/json", b'"a\nb"', 400, "Invalid control character"),
    ],
    ids=range(17),
)
async def test_json(kind: str, body: bytes, status: int, text: str) -> None:
    answer = await answer_to(taking("json"), post_form(body, kind))
    assert answer.status == status
    assert text in answer.body.decode()


@pytest.mark.parametrize(
    ("method", "kind"),
    [("json", "application/json"), ("text", "text/plain"), ("form", URL_ENCODED), ("form", MULTIPART)],
)
async def test_what_is_encoded(method: str, kind: str) -> None:
    """What is told is not that it is malformed."""
    packed = gzip.compress(b"1")
    answer = await answer_to(taking(method), post_form(packed, kind, "Content-Encoding: gzip"))
    assert (answer.status, answer["Accept-Encoding"]) == (415, "identity")
    body = part("a") + END if kind == MULTIPART else b"1"
    assert (await answer_to(taking(method), post_form(body, kind, "Content-Encoding: Identity"))).status == 200


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=50, deadline=None)
@given(VALUES)
@example("\ud800")
def test_json_comes_back(value: Any) -> None:
    assert loads(dumps(value)) == value == json.loads(dumps(value))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1j, b"x"], ids=repr)
def test_what_json_has_not(value: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        dumps(value)


@pytest.mark.parametrize("method", ["body", "text", "json", "form"])
async def test_bodies_that_end_early_or_are_too_large(method: str) -> None:
    kind = URL_ENCODED if method == "form" else "application/json"
    app = taking(method, max_body_size=10)
    assert (await answer_to(app, post_form(b"1234", kind, length=5))).status == 400
    answer = await answer_to(app, post_form(b"12345678901", kind))
    assert (answer.status, answer.body) == (413, b"the body is larger than 10 bytes")


async def test_a_field_that_is_missing() -> None:
    """It is the client's fault, unless the handler catches it."""

    class Handler(BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            assert self.query.get("none") is None
            with pytest.raises(KeyError):
                self.query["none"]
            self.send_text(self.query["a"])

    for target, status in (("/?a=1", 200), ("/?b=1", 400)):
        answer = await exchange(Handler, f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        assert answer.startswith(f"HTTP/1.1 {status}".encode())
    assert b"the field 'a' is missing" in answer
