"""BasicAuth and BearerAuth: functions and fixed credentials, challenges, the user."""

import asyncio
import base64
import functools
import hmac
import http.server
from typing import Any
from unittest.mock import Mock

import pytest

import aiohttpd
from aiohttpd.middleware import BasicAuth, BearerAuth
from aiohttpd.middleware.auth import basic_auth

from ..support.asking import fetch
from ..support.wire import Response


class Who(aiohttpd.BaseHTTPRequestHandler):
    async def do_GET(self) -> None:
        self.send_text(repr(self.request.user))


def basic(text: str | bytes) -> str:
    data = text.encode() if isinstance(text, str) else text
    return f"Authorization: Basic {base64.b64encode(data).decode()}"


async def ask(layer: Any, *fields: str) -> Response:
    return await fetch(aiohttpd.layers(Who, layer), "/", *fields)


FIXED = BasicAuth({"anna": "secret", "bert": "säcret:x"})


@pytest.mark.parametrize(("credentials", "user"), [("anna:secret", "anna"), ("bert:säcret:x", "bert")])
async def test_fixed_passwords(credentials: str, user: str) -> None:
    assert (await ask(FIXED, basic(credentials))).body.decode() == repr(user)


@pytest.mark.parametrize(
    "fields",
    [
        (),
        (basic("anna:wrong"),),
        (basic("anna:"),),
        (basic("anna"),),
        (basic("nobody:secret"),),
        (basic("bert:secret"),),
        (basic(b"anna:\xff"),),
        (basic("anna:secret"), basic("anna:secret")),
        ("Authorization: Basic !!!",),
        ("Authorization: Basic",),
        ("Authorization: Bearer YW5uYTpzZWNyZXQ=",),
        ("Authorization:",),
    ],
)
async def test_what_is_refused(fields: tuple[str, ...]) -> None:
    answer = await ask(FIXED, *fields)
    assert (answer.status, answer["WWW-Authenticate"]) == (401, 'Basic realm="aiohttpd", charset="UTF-8"')


async def test_the_user_of_the_option_auth() -> None:
    """A name that is not UTF-8 is the bytes of the command line."""
    assert (await fetch(basic_auth(Who, "anna:se:cret"), "/", basic("anna:se:cret"))).body == b"'anna'"
    name = b"\xfcn\xe4".decode("utf-8", "surrogateescape")
    assert (await fetch(basic_auth(Who, f"{name}:p"), "/", basic(b"\xfcn\xe4:p"))).body == repr(name).encode()


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_function_finds_the_user(asynchronous: bool) -> None:
    def find(name: str, password: str) -> Any:
        return {"True": True, "False": False, "None": None, "dict": {"id": 7}}[password] if name == "x" else None

    async def find_later(name: str, password: str) -> Any:
        await asyncio.sleep(0)
        return find(name, password)

    layer = BasicAuth(find_later if asynchronous else find, realm='a "b"')
    assert (await ask(layer, basic("x:True"))).body == b"'x'"
    assert (await ask(layer, basic("x:dict"))).body == b"{'id': 7}"
    for password in ("False", "None"):
        answer = await ask(layer, basic(f"x:{password}"))
        assert (answer.status, answer["WWW-Authenticate"]) == (401, 'Basic realm="a \\"b\\"", charset="UTF-8"')
    assert (await ask(layer, basic("y:True"))).status == 401


async def test_optional() -> None:
    layer = BasicAuth({"anna": "secret"}, optional=True)
    assert (await ask(layer)).body == b"None"
    assert (await ask(layer, basic("anna:secret"))).body == b"'anna'"
    assert (await ask(layer, basic("anna:wrong"))).status == 401


class Asks(aiohttpd.BaseHTTPRequestHandler):
    async def do_GET(self) -> None:
        raise aiohttpd.HTTPError(401, headers={"WWW-Authenticate": "Own"} if self.query.get("own") else {})


class Writes(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(401)
        self.send_header("Content-Length", "0")
        self.end_headers()


@pytest.mark.parametrize("app", [Asks, Writes])
async def test_the_challenge_of_an_app_with_optional_credentials(app: Any) -> None:
    """A 401 has a challenge (RFC 9110 section 15.5.2); what the App has set itself stays."""
    site = aiohttpd.layers(app, BearerAuth(["t"], realm='"x"', optional=True))
    answer = await fetch(site, "/")
    assert (answer.status, answer["WWW-Authenticate"]) == (401, 'Bearer realm="\\"x\\""')


async def test_the_challenge_of_the_app_itself_stays() -> None:
    answer = await fetch(aiohttpd.layers(Asks, BasicAuth({"anna": "secret"}, optional=True)), "/?own=1")
    assert answer["WWW-Authenticate"] == "Own"  # and only one


async def test_comparison_takes_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values of one length are compared whole, also for a name that does not exist."""
    compared: list[tuple[int, int]] = []
    compare = hmac.compare_digest

    def noting(a: bytes, b: bytes) -> bool:
        compared.append((len(a), len(b)))
        return compare(a, b)

    monkeypatch.setattr(hmac, "compare_digest", noting)
    for credentials in ("anna:secret", "anna:s", "nobody:secret", "anna:" + "x" * 500):
        await ask(FIXED, basic(credentials))
    tokens = BearerAuth(["one", "two", "three"])
    for token in ("one", "three", "x" * 100):
        await ask(tokens, f"Authorization: Bearer {token}")
    assert compared == [(32, 32)] * (4 + 9)


def test_malformed_options() -> None:
    for given in ({"anna": ""}, {"": "x"}, {"a:b": "x"}):
        with pytest.raises(ValueError, match=r"credentials|colon"):
            BasicAuth(given)
    with pytest.raises(ValueError, match="realm"):
        BasicAuth({"a": "b"}, realm="a\r\nb")
    for wrong in ("anna:secret", None, ["anna"], {"anna": None}, {"anna": 1}):
        with pytest.raises(TypeError, match="BasicAuth"):
            BasicAuth(wrong)  # type: ignore[arg-type]
    for tokens in ([], [""], ["a b"], ["ä"], [None], None):
        with pytest.raises(ValueError, match="a token has"):
            BearerAuth(tokens)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("layer", "check", "what"),
    [
        (BasicAuth, lambda name: True, "name and password"),
        (BasicAuth, functools.partial(lambda name, password: True, "anna"), "name and password"),
        (BearerAuth, lambda: True, "the token"),
        (BearerAuth, lambda name, password: True, "the token"),
    ],
)
def test_functions_of_something_else(layer: Any, check: Any, what: str) -> None:
    """FAULT: each request was 500."""
    with pytest.raises(TypeError, match=rf"{layer.__name__}: .* cannot be called with {what}"):
        layer(check)


@pytest.mark.parametrize(
    "check", [lambda *arguments: True, lambda name, password, more=1: True, hmac.compare_digest, Mock()]
)
def test_functions_that_may_be_right(check: Any) -> None:
    BasicAuth(check)


async def test_users_by_token() -> None:
    """FAULT: the values were ignored, and the user was the token."""
    layer = BearerAuth({"one": "anna", "two": {"id": 2}, "three": True, "none": None})
    users = [(await ask(layer, f"Authorization: Bearer {token}")).body for token in ("one", "two", "three")]
    assert users == [b"'anna'", b"{'id': 2}", b"'three'"]
    for token in ("none", "four"):
        assert (await ask(layer, f"Authorization: Bearer {token}")).status == 401


TOKENS = BearerAuth(["kGl3-x.y~z+/==", "other"])


@pytest.mark.parametrize("value", ["Bearer kGl3-x.y~z+/==", "bearer other", "BEARER  other "])
async def test_tokens(value: str) -> None:
    answer = await ask(TOKENS, f"Authorization: {value}")
    assert answer.body.decode() == repr(value.split()[1])


@pytest.mark.parametrize("value", ["Bearer othe", "Bearer others", "Bearer", "Bearer a b", "Basic other", "other"])
async def test_wrong_tokens(value: str) -> None:
    answer = await ask(TOKENS, f"Authorization: {value}")
    assert (answer.status, answer["WWW-Authenticate"]) == (401, 'Bearer realm="aiohttpd", error="invalid_token"')


async def test_no_token() -> None:
    """RFC 6750 section 3.1: no error code, if the client has not tried."""
    answer = await ask(TOKENS)
    assert (answer.status, answer["WWW-Authenticate"]) == (401, 'Bearer realm="aiohttpd"')


async def test_a_function_of_the_token() -> None:
    async def find(token: str) -> Any:
        return {"good": "anna", "yes": True}.get(token)

    layer = BearerAuth(find, optional=True)
    assert (await ask(layer, "Authorization: Bearer good")).body == b"'anna'"
    assert (await ask(layer, "Authorization: Bearer yes")).body == b"'yes'"
    assert (await ask(layer)).body == b"None"
    assert (await ask(layer, "Authorization: Bearer bad")).status == 401


async def test_the_user_is_known_below_a_mount() -> None:
    app = aiohttpd.layers(aiohttpd.Router({"/a/": aiohttpd.Router({"/b": Who})}), BearerAuth(["t"]))
    assert (await fetch(app, "/a/b", "Authorization: Bearer t")).body == b"'t'"


async def test_an_error_of_the_function_is_500(caplog: pytest.LogCaptureFixture) -> None:
    def broken(token: str) -> Any:
        raise RuntimeError("the database is gone")

    assert (await ask(BearerAuth(broken), "Authorization: Bearer t")).status == 500
    assert "the database is gone" in caplog.text
    caplog.clear()
