"""Cookies that a handler sets."""

import json
import ssl
import time
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import pytest
import trustme

from aiohttpd import ContractError, HTTPError
from aiohttpd.testing import exchange, running
from aiohttpd.wire.dates import parse_http_date

from ..support.asking import QUIET
from ..support.calling import Body, all_of, given, handling
from ..support.clients import connected, expect_logged, get
from ..support.loops import on_both_loops
from ..support.wire import split

# Cookies.


def cookie(*args: Any, **kwargs: Any) -> Body:
    async def body(self: Any) -> None:
        self.set_cookie(*args, **kwargs)
        self.send_text("x")

    return body


class TestCookies:
    @pytest.mark.parametrize(
        ("options", "value"),
        [
            ({}, "a=b; Path=/; HttpOnly; SameSite=Lax"),
            ({"httponly": False, "samesite": None}, "a=b; Path=/"),
            ({"samesite": "Strict", "path": "/in here"}, "a=b; Path=/in here; HttpOnly; SameSite=Strict"),
            ({"samesite": "None", "secure": True}, "a=b; Path=/; Secure; HttpOnly; SameSite=None"),
            ({"domain": "example.com"}, "a=b; Path=/; Domain=example.com; HttpOnly; SameSite=Lax"),
        ],
    )
    async def test_attributes(self, options: dict[str, Any], value: str) -> None:
        assert (await given(cookie("a", "b", **options)))["Set-Cookie"] == value

    @pytest.mark.parametrize("max_age", [1, 3600, 10**9, 10**12, 10**30])
    async def test_max_age(self, max_age: int) -> None:
        before = int(time.time())
        found = SimpleCookie((await given(cookie("a", "b", max_age=max_age)))["Set-Cookie"])["a"]
        assert found["max-age"] == str(max_age)
        expires = parse_http_date(found["expires"], time.time())
        assert expires is not None
        if max_age < 10**10:
            assert before + max_age <= expires <= time.time() + max_age
        else:
            assert found["expires"] == "Fri, 31 Dec 9999 23:59:59 GMT"

    @pytest.mark.parametrize("name", ["a", "__Host-sid", "__Secure-sid", "__host-sid", "!#$%&'*+-.^_`|~"])
    async def test_names_that_want_to_be_secure(self, name: str) -> None:
        """As they do behind a proxy with TLS, too: browsers refuse them otherwise."""
        answer = await given(cookie(name, "b"))
        assert ("; Secure" in (answer["Set-Cookie"] or "")) == name.startswith("__")

    @pytest.mark.parametrize("value", ["", "a", "a=b", "".join(map(chr, range(33, 127)))])
    async def test_round_trip(self, value: str) -> None:
        """What is set comes back, by our eyes and by those of http.cookies."""
        value = "".join(sign for sign in value if sign not in '",;\\')

        async def body(self: Any) -> None:
            if self.path == "/set":
                self.set_cookie("one", value)
                self.set_cookie("two", "2")
                self.send_text("x")
            else:
                self.send_json(self.cookies)

        answer = await given(body, get("/set"))
        jar: SimpleCookie = SimpleCookie()
        for field in all_of(answer, "Set-Cookie"):
            jar.load(field)
        assert {name: morsel.value for name, morsel in jar.items()} == {"one": value, "two": "2"}
        sent = "; ".join(field.partition(";")[0] for field in all_of(answer, "Set-Cookie"))
        assert json.loads((await given(body, get("/", f"Cookie: {sent}"))).body) == {"one": value, "two": "2"}

    @pytest.mark.parametrize(
        ("args", "options"),
        [
            *((("a", value), {}) for value in ("a b", "a,b", "a;b", 'a"b', "a\\b", "ä", "a\r\nb", "\0", "\x7f", "☃")),
            *(((name, "b"), {}) for name in ("", "a b", "a=b", "a;b", "ä", "a\r\nb", "(a)", '"a"')),
            *((("a", "b"), {"path": path}) for path in ("/;x", "/\r\nSet-Cookie: c=d", "/ä", "/\0", "/\x7f", "/☃")),
            *((("a", "b"), {"domain": domain}) for domain in ("a;b", "a\nb", "bücher.example")),
            *((("a", "b"), {"samesite": samesite}) for samesite in ("none", "lax", "", "Lax; Secure", "None")),
            (("a", "b"), {"samesite": "None", "secure": False}),
            *(((name, "b"), {"secure": False}) for name in ("__Host-a", "__Secure-a", "__SECURE-a")),
            *((("__host-a", "b"), options) for options in ({"path": "/a"}, {"path": ""}, {"domain": "a.example"})),
            (("a", "b"), {"max_age": float("nan")}),
        ],
        ids=str,
    )
    async def test_refused(self, args: tuple[str, str], options: dict[str, Any]) -> None:
        """Where it is set, so that the handler can still answer."""

        async def body(self: Any) -> None:
            with pytest.raises(ValueError, match=r"."):
                self.set_cookie(*args, **options)
            self.send_text("x")

        answer = await given(body)
        assert (answer.status, answer["Set-Cookie"]) == (200, None)

    async def test_what_is_no_text(self) -> None:
        async def body(self: Any) -> None:
            value: Any = 1
            with pytest.raises(TypeError, match="the value of cookie a is text, not 1"):
                self.set_cookie("a", value)
            self.send_text("x")

        assert (await given(body)).body == b"x"

    async def test_delete(self) -> None:
        async def body(self: Any) -> None:
            self.delete_cookie("a", path="/in", domain="example.com")
            self.delete_cookie("__Host-b")
            self.send_text("x")

        first, second = all_of(await given(body), "Set-Cookie")
        past = "Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT"
        assert first == f"a=; {past}; Path=/in; Domain=example.com; HttpOnly; SameSite=Lax"
        assert second == f"__Host-b=; {past}; Path=/; Secure; HttpOnly; SameSite=Lax"

    @pytest.mark.parametrize("max_age", [0, -1, -(10**30)])
    async def test_of_the_past(self, max_age: int) -> None:
        answer = await given(cookie("a", "b", max_age=max_age))
        assert f"Max-Age={max_age}; Expires=Thu, 01 Jan 1970" in (answer["Set-Cookie"] or "")

    @pytest.mark.parametrize("call", ["send_text", "redirect", "send_error", "raise", "304", "103"])
    async def test_before_what_answers(self, call: str, folder: Path) -> None:
        async def body(self: Any) -> None:
            if call == "103":
                self.send_response_only(103)
                self.send_header("Link", "</a>")
            self.set_cookie("a", "b")
            self.set_cookie("c", "d")
            if call == "raise":
                raise HTTPError(403)
            if call == "304":
                await self.send_file(folder / "a.txt")
            elif call == "103":
                self.end_headers()
                self.send_text("x")
            else:
                getattr(self, call)(404 if call == "send_error" else "/")

        request = get("/", "If-None-Match: *") if call == "304" else get()
        *interim, answer = split(await exchange(handling(body), request, config=QUIET))
        assert [field.partition(";")[0] for field in all_of(answer, "Set-Cookie")] == ["a=b", "c=d"]
        assert not any(all_of(early, "Set-Cookie") for early in interim)

    async def test_within_a_head(self) -> None:
        async def body(self: Any) -> None:
            self.send_response(200)
            self.set_cookie("a", "b")
            self.send_header("X-Own", "1")
            self.end_headers()

        answer = await given(body)
        assert (answer["Set-Cookie"], answer["X-Own"]) == ("a=b; Path=/; HttpOnly; SameSite=Lax", "1")

    @pytest.mark.parametrize("call", ["set_cookie", "delete_cookie", "add_header"])
    async def test_after_the_head(self, call: str) -> None:
        """It would be lost, and nobody would notice."""

        async def body(self: Any) -> None:
            self.send_text("x")
            with pytest.raises(ContractError, match="the head has been ended"):
                getattr(self, call)(*(["X"] if call == "delete_cookie" else ["X", "y"]))

        assert (await given(body)).body == b"x"

    @pytest.mark.parametrize("begun", [False, True])
    async def test_an_exception(self, begun: bool, caplog: pytest.LogCaptureFixture) -> None:
        """A broken session that was to be forgotten is forgotten, whatever happens after."""

        async def body(self: Any) -> None:
            if begun:
                self.send_response(200)
                self.send_header("X-Own", "1")
            self.delete_cookie("sid")
            raise LookupError("oops")

        answer = await given(body)
        assert (answer.status, answer["X-Own"]) == (500, None)
        assert (answer["Set-Cookie"] or "").startswith("sid=; Max-Age=0")
        expect_logged(caplog, "oops")

    async def test_no_other_request_sees_them(self) -> None:
        async def body(self: Any) -> None:
            if self.path == "/set":
                self.set_cookie("a", "b")
            self.send_text("x")

        answers = split(await exchange(handling(body), get("/set") + get("/"), config=QUIET))
        assert [len(all_of(answer, "Set-Cookie")) for answer in answers] == [1, 0]


@on_both_loops
async def test_cookies_on_tls_are_secure() -> None:
    authority = trustme.CA()
    server_side, client_side = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(server_side)
    authority.configure_trust(client_side)

    async def body(self: Any) -> None:
        self.set_cookie("a", "b")
        self.set_cookie("c", "d", samesite="None")
        self.set_cookie("e", "f", secure=False)
        self.delete_cookie("g")
        self.send_text("x")

    async with running(handling(body), ssl=server_side) as server, connected(server, tls=client_side) as client:
        answer = await client.ask()
        assert ["; Secure;" in field for field in all_of(answer, "Set-Cookie")] == [True, True, False, True]
