"""Sessions: a signed cookie that nobody else can make, extend, or fix in advance."""

import operator
import re
from collections.abc import Callable
from typing import Any

import pytest

import aiohttpd
from aiohttpd import Config, HTTPError
from aiohttpd.middleware import Sessions, sessions

from ..support.asking import QUIET, fetch
from ..support.wire import Response

SECRET = "a secret of more than sixteen characters"
OTHER = "another secret, which is longer than that"


class Notes(aiohttpd.BaseHTTPRequestHandler):
    """/set?name=value, /append, /renew?user=, /clear, /show, /none, /large, /odd, /fail"""

    async def do_GET(self) -> None:
        match self.url_path:
            case "/set":
                self.session.update({name: self.query[name] for name in self.query})
            case "/append":
                self.session.setdefault("list", []).append(1)
            case "/renew":
                self.session.renew()
                self.session["user"] = self.query["user"]
            case "/clear":
                self.session.clear()
            case "/none":
                self.send_text("none")
                return
            case "/large":
                import random

                self.session["large"] = "".join(random.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=6000))
            case "/odd":
                self.session["odd"] = object()
            case "/fail":
                self.session["failed"] = True
                raise HTTPError(404)
        self.send_json([self.session, self.session.is_new])


class Browser:
    """Keeps the cookie."""

    def __init__(self, *secrets: str, config: Config = QUIET, **options: Any) -> None:
        self.app = aiohttpd.layers(Notes, Sessions(secrets or SECRET, **options))
        self.config = config
        self.cookie: str | None = None

    async def get(self, path: str, *fields: str) -> Response:
        lines = [*fields, f"Cookie: {self.cookie}"] if self.cookie else fields
        answer = await fetch(self.app, path, *lines, config=self.config)
        if (text := answer["Set-Cookie"]) is not None:
            self.cookie = None if "Max-Age=0" in text else text.partition(";")[0]
        return answer

    async def shown(self) -> str:
        return (await self.get("/show")).body.decode()


async def test_it_is_kept() -> None:
    browser = Browser()
    assert await browser.shown() == "[{},true]" and browser.cookie is None
    await browser.get("/set?a=1")
    assert await browser.shown() == '[{"a":"1"},false]'
    await browser.get("/set?b=%C3%A4")
    assert await browser.shown() == '[{"a":"1","b":"ä"},false]'


async def test_changes_deep_in_it_are_kept() -> None:
    browser = Browser()
    await browser.get("/append")
    await browser.get("/append")
    assert await browser.shown() == '[{"list":[1,1]},false]'


async def test_the_cookie_is_set_when_something_has_changed() -> None:
    browser = Browser()
    assert (await browser.get("/set?a=1"))["Set-Cookie"]
    for path in ("/show", "/set?a=1", "/none"):
        assert (await browser.get(path))["Set-Cookie"] is None


async def test_an_empty_session_is_deleted() -> None:
    browser = Browser()
    await browser.get("/set?a=1")
    answer = await browser.get("/clear")
    assert "Max-Age=0" in str(answer["Set-Cookie"]) and browser.cookie is None


async def test_caches_do_not_keep_what_used_it() -> None:
    browser = Browser()
    answer = await browser.get("/show")
    assert (answer["Vary"], answer["Cache-Control"]) == ("Cookie", "private")
    answer = await browser.get("/none")
    assert (answer["Vary"], answer["Cache-Control"]) == (None, None)


async def test_attributes() -> None:
    text = str((await Browser().get("/set?a=1"))["Set-Cookie"])
    assert re.fullmatch(r"session=[\w.-]+; Max-Age=1209600; Expires=[^;]+; Path=/; HttpOnly; SameSite=Lax", text)
    proxied = Config(access_log=False, trusted_proxies="127.0.0.1")
    answer = await Browser(config=proxied).get("/set?a=1", "X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: https")
    assert "; Secure; HttpOnly" in str(answer["Set-Cookie"])
    browser = Browser(cookie="__Host-s", samesite="Strict", max_age=60)
    text = str((await browser.get("/set?a=1"))["Set-Cookie"])
    assert text.startswith("__Host-s=") and "Max-Age=60;" in text and text.endswith("Secure; HttpOnly; SameSite=Strict")


# What an attacker could try.


@pytest.mark.parametrize("change", ["first", "last", "cut", "more", "none", "other name", "unsigned", "huge"])
async def test_a_changed_cookie_is_none(change: str) -> None:
    browser = Browser()
    await browser.get("/set?user=me")
    assert browser.cookie is not None
    name, _, value = browser.cookie.partition("=")
    changed = {
        "first": "A" + value[1:] if value[0] != "A" else "B" + value[1:],
        "last": value[:-2] + ("AA" if value[-2:] != "AA" else "BB"),
        "cut": value.rpartition(".")[0],
        "more": value + "x",
        "none": "",
        "other name": value,
        "unsigned": "eyJ1c2VyIjoiYWRtaW4ifQ",
        "huge": ".eJx" + "x" * 5000,
    }[change]
    if change == "other name":
        browser = Browser(cookie="admin")
        name = "admin"
    browser.cookie = f"{name}={changed}"
    assert await browser.shown() == "[{},true]"


async def test_a_session_of_another_secret_is_none() -> None:
    browser = Browser(OTHER)
    await browser.get("/set?a=1")
    mine = Browser()
    mine.cookie = browser.cookie
    assert await mine.shown() == "[{},true]"


async def test_rotation_of_secrets() -> None:
    browser = Browser(OTHER)
    await browser.get("/set?a=1")
    rotated = Browser(SECRET, OTHER)
    rotated.cookie = browser.cookie
    assert await rotated.shown() == '[{"a":"1"},false]'
    await rotated.get("/set?b=2")
    new = Browser(SECRET)  # the first one has signed it
    new.cookie = rotated.cookie
    assert await new.shown() == '[{"a":"1","b":"2"},false]'


async def test_what_somebody_else_has_put_there_is_gone_after_renew() -> None:
    """Session fixation: the attacker has the victim's browser send a session of his own."""
    attacker, victim = Browser(), Browser()
    await attacker.get("/set?cart=theirs&csrf=known")
    victim.cookie = attacker.cookie
    answer = await victim.get("/renew?user=victim")
    assert answer.body == b'[{"user":"victim"},true]'
    assert await victim.shown() == '[{"user":"victim"},false]'
    assert "victim" not in await attacker.shown()


async def test_it_ends_after_its_age(monkeypatch: pytest.MonkeyPatch) -> None:
    import time as real

    import itsdangerous.timed

    now = [real.time()]

    class Time:
        @staticmethod
        def time() -> float:
            return now[0]

    monkeypatch.setattr(itsdangerous.timed, "time", Time)
    monkeypatch.setattr(sessions, "time", Time)
    browser = Browser(max_age=100)
    await browser.get("/set?a=1")
    now[0] += 40
    assert (await browser.get("/show"))["Set-Cookie"] is None
    now[0] += 20
    assert (await browser.get("/none"))["Set-Cookie"] is None
    assert (await browser.get("/show"))["Set-Cookie"]  # half of its life is over
    now[0] += 90
    assert await browser.shown() == '[{"a":"1"},false]'
    now[0] += 102
    assert await browser.shown() == "[{},true]"


@pytest.mark.parametrize(("path", "text"), [("/large", "browsers take 4096"), ("/odd", "cannot be written")])
async def test_what_is_no_session(path: str, text: str, caplog: pytest.LogCaptureFixture) -> None:
    """It is the program's mistake, and the session stays as it was."""
    browser = Browser()
    await browser.get("/set?a=1")
    answer = await browser.get(path)
    assert (answer.status, answer["Set-Cookie"]) == (500, None)
    assert text in caplog.text
    caplog.clear()
    assert await browser.shown() == '[{"a":"1"},false]'


CHANGES: dict[str, Callable[[Any], object]] = {
    "set": lambda session: session.__setitem__("late", 1),
    "delete": lambda session: session.__delitem__("kept"),
    "pop": lambda session: session.pop("kept", None),
    "popitem": lambda session: session.popitem(),
    "clear": lambda session: session.clear(),
    "renew": lambda session: session.renew(),
    "setdefault": lambda session: session.setdefault("late", 1),
    "update": lambda session: session.update(late=1),
    "|=": lambda session: operator.ior(session, {"late": 1}),
}


@pytest.mark.parametrize("name", CHANGES)
async def test_a_change_that_would_be_lost(name: str) -> None:
    """FAULT: it was lost, and nothing was said."""
    told: list[str] = []

    class Late(aiohttpd.BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            self.session["kept"] = 1
            self.send_text("sent")
            assert self.session.setdefault("kept") == self.session["kept"] == 1
            with pytest.raises(aiohttpd.ContractError, match="the head has been ended") as error:
                CHANGES[name](self.session)
            told.append(str(error.value))

    answer = await fetch(aiohttpd.layers(Late, Sessions(SECRET)), "/", config=QUIET)
    assert (answer.status, answer.body, len(told)) == (200, b"sent", 1)


async def test_an_error_page_may_change_it() -> None:
    """The head that has been ended before has not been sent, and another one takes its place."""

    class Fails(aiohttpd.BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            self.session["kept"] = 1
            self.send_text("not sent")
            raise HTTPError(404)

    async def page(self: Any, error: HTTPError) -> None:
        self.session["seen"] = error.status
        self.send_json(self.session, 404)

    app = aiohttpd.layers(aiohttpd.handle_errors(Fails, {404: page}), Sessions(SECRET))
    answer = await fetch(app, "/", config=QUIET)
    assert (answer.status, answer.body) == (404, b'{"kept":1,"seen":404}')
    assert answer["Set-Cookie"] is not None


async def test_errors_keep_it_too() -> None:
    browser = Browser()
    assert (await browser.get("/fail")).status == 404
    assert await browser.shown() == '[{"failed":true},false]'


async def test_without_the_layer(caplog: pytest.LogCaptureFixture) -> None:
    assert (await fetch(Notes, "/show")).status == 500
    assert "put aiohttpd.middleware.Sessions(...) around the App" in caplog.text
    caplog.clear()


async def test_below_a_mount() -> None:
    app = aiohttpd.layers(aiohttpd.Router({"/a/": Notes}), Sessions(SECRET))
    assert (await fetch(app, "/a/set?a=1"))["Set-Cookie"]


@pytest.mark.parametrize(
    ("secrets", "options", "text"),
    [
        ("short", {}, "at least 16"),
        ([], {}, "at least 16"),
        ([SECRET, "short"], {}, "at least 16"),
        (SECRET, {"cookie": "a b"}, "token"),
        (SECRET, {"max_age": 0}, "greater than 0"),
        (SECRET, {"cookie": "__Host-a", "path": "/x"}, "__Host-"),
        (SECRET, {"cookie": "__Host-a", "domain": "a.example"}, "__Host-"),
        (SECRET, {"cookie": "__Secure-a", "secure": False}, "not secure"),
        (SECRET, {"samesite": "lax"}, "samesite"),
        (SECRET, {"samesite": "None", "secure": False}, "not secure"),
        (SECRET, {"domain": "a; b"}, "domain"),
    ],
)
def test_malformed_options(secrets: Any, options: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Sessions(secrets, **options)


@pytest.mark.parametrize(
    ("secrets", "text"),
    [
        (None, "NoneType: is a variable"),
        ([SECRET, None], "NoneType: is a"),
        (b"x" * 32, "bytes$"),
        ([b"x" * 32], "bytes$"),
    ],
)
def test_a_secret_that_is_no_text(secrets: Any, text: str) -> None:
    with pytest.raises(TypeError, match=f"a secret is text, not {text}"):
        Sessions(secrets)


def test_can_be_handed_to_workers() -> None:
    import pickle

    assert pickle.loads(pickle.dumps(aiohttpd.layers(Notes, Sessions(SECRET))))
