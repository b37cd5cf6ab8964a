"""RateLimit, ConcurrencyLimit, BodyLimit, Deadline: for whom, how much, and that their books are bounded."""

import asyncio
import pickle
from typing import Any

import pytest

import aiohttpd
from aiohttpd import Config, Request, middleware
from aiohttpd.middleware import BodyLimit, ConcurrencyLimit, Deadline, RateLimit, client_key, limits
from aiohttpd.testing import exchange, running

from ..support.asking import QUIET, answer_to, fetch
from ..support.clients import LAST_CHUNK, chunk, get, head
from ..support.layered import Page
from ..support.old_handlers import QuietOld
from ..support.wire import split

PROXIED = Config(access_log=False, trusted_proxies="127.0.0.1")


class Clock:
    """Stands for time.monotonic."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(limits, "monotonic", made)
    return made


async def from_client(app: Any, address: str, config: Config = PROXIED) -> Any:
    return await fetch(app, "/", f"X-Forwarded-For: {address}", config=config)


# Rates.


async def test_a_burst_then_a_rate(clock: Clock) -> None:
    app = aiohttpd.layers(Page, RateLimit(4, per=2))
    assert [(await fetch(app)).status for _ in range(6)] == [200] * 4 + [429] * 2
    answer = await fetch(app)
    assert (answer.status, answer["Retry-After"]) == (429, "1")
    clock.now += 0.5
    assert [(await fetch(app)).status for _ in range(2)] == [200, 429]
    clock.now += 1000
    assert [(await fetch(app)).status for _ in range(5)] == [200] * 4 + [429]


async def test_a_short_burst(clock: Clock) -> None:
    app = aiohttpd.layers(Page, RateLimit(60, per=60, burst=2))
    assert [(await fetch(app)).status for _ in range(3)] == [200, 200, 429]
    clock.now += 1
    assert [(await fetch(app)).status for _ in range(2)] == [200, 429]


async def test_who_waits_as_long_as_told_is_served(clock: Clock) -> None:
    app = aiohttpd.layers(Page, RateLimit(3, per=100))
    for _ in range(20):
        while (answer := await fetch(app)).status == 200:
            pass
        clock.now += int(str(answer["Retry-After"]))
        assert (await fetch(app)).status == 200


async def test_each_client_has_its_own(clock: Clock) -> None:
    app = aiohttpd.layers(Page, RateLimit(1, per=60))
    for address in ("192.0.2.1", "192.0.2.2"):
        assert [(await from_client(app, address)).status for _ in range(2)] == [200, 429]


async def test_a_field_of_the_client_makes_no_other_client(clock: Clock) -> None:
    """Limits behind proxies elsewhere believe X-Forwarded-For, so that each request is another client."""
    app = aiohttpd.layers(Page, RateLimit(1, per=60))
    statuses = [(await from_client(app, f"192.0.2.{number}", QUIET)).status for number in range(3)]
    assert statuses == [200, 429, 429]
    # Behind a trusted proxy it is the last address that counts: what stands before it is the client's own word.
    app = aiohttpd.layers(Page, RateLimit(1, per=60))
    statuses = [(await from_client(app, f"198.51.100.{number}, 192.0.2.7")).status for number in range(3)]
    assert statuses == [200, 429, 429]


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::/64"),
        ("odd:", "odd:"),
    ],
)
def test_what_counts_as_one_client(address: str, key: str) -> None:
    class Made:
        client_address = (address, 1, 0, 0)

    assert client_key(Made()) == key  # type: ignore[arg-type]


def test_a_unix_socket_is_one_client() -> None:
    class Made:
        client_address = ""

    assert client_key(Made()) == "unix"  # type: ignore[arg-type]


async def test_addresses_of_one_network_share_a_limit(clock: Clock) -> None:
    app = aiohttpd.layers(Page, RateLimit(2, per=60))
    statuses = [(await from_client(app, f"2001:db8::{number:x}")).status for number in range(1, 4)]
    assert statuses == [200, 200, 429]


async def test_a_key_of_ones_own(clock: Clock) -> None:
    def by_user(request: Request) -> str | None:
        return request.headers["X-User"]

    app = aiohttpd.layers(Page, RateLimit(1, per=60, key=by_user))
    statuses = [
        (await fetch(app, "/", *fields)).status for fields in (["X-User: a"], ["X-User: a"], ["X-User: b"], [], [])
    ]
    assert statuses == [200, 429, 200, 200, 200]


def test_the_books_are_bounded(clock: Clock) -> None:
    layer = RateLimit(1, per=60, most_clients=100)
    count: Any = layer.serve

    class Made:
        client_address = ("", 0)

    def app(request: Any, response: Any) -> None: ...

    for number in range(5000):
        Made.client_address = (f"10.0.{number // 256}.{number % 256}", 1)
        count(app, Made(), None)
        assert layer.clients <= 100
    clock.now += 61  # all have been silent: their entries go, two requests at a time
    for _ in range(200):
        clock.now += 61
        count(app, Made(), None)
    assert layer.clients <= 2


async def test_tries_of_passwords_are_limited(clock: Clock) -> None:
    app = aiohttpd.layers(Page, RateLimit(3, per=60), middleware.BearerAuth(["right"]))
    statuses = [(await fetch(app, "/", f"Authorization: Bearer {n}")).status for n in range(5)]
    assert statuses == [401, 401, 401, 429, 429]
    assert (await fetch(app, "/", "Authorization: Bearer right")).status == 429


def test_numbers_are_checked() -> None:
    for make in (
        lambda: RateLimit(0, per=1),
        lambda: RateLimit(1, per=0),
        lambda: RateLimit(1, per=1, burst=0),
        lambda: RateLimit(1, per=1, most_clients=0),
        lambda: ConcurrencyLimit(0),
        lambda: BodyLimit(-1),
        lambda: Deadline(0),
        lambda: Deadline(1, status=404),
    ):
        with pytest.raises(ValueError):  # noqa: PT011
            make()


def test_limits_can_be_handed_to_workers() -> None:
    for layer in (RateLimit(1, per=1), ConcurrencyLimit(1), BodyLimit(1), Deadline(1)):
        assert pickle.loads(pickle.dumps(aiohttpd.layers(Page, layer)))


# Requests at once.


async def test_so_many_at_once() -> None:
    entered: list[str] = []
    release = asyncio.Event()

    class Waiting(Page):
        async def do_GET(self) -> None:
            entered.append(self.client_address[0])
            if self.url_path == "/wait":
                await release.wait()
            self.send_text("ok")

    layer = ConcurrencyLimit(2)
    app = aiohttpd.layers(Waiting, layer)
    field = "X-Forwarded-For: 192.0.2.1"
    waiting = [asyncio.create_task(fetch(app, "/wait", field, config=PROXIED)) for _ in range(2)]
    while len(entered) < 2:
        await asyncio.sleep(0)
    answer = await from_client(app, "192.0.2.1")
    assert (answer.status, answer["Retry-After"]) == (429, "1")
    assert (await from_client(app, "192.0.2.2")).status == 200
    release.set()
    assert [(await task).status for task in waiting] == [200, 200]
    assert (layer.clients, (await from_client(app, "192.0.2.1")).status) == (0, 200)


async def test_one_that_fails_counts_no_longer(caplog: pytest.LogCaptureFixture) -> None:
    layer = ConcurrencyLimit(1)
    app = aiohttpd.layers(Page, layer)
    assert [(await fetch(app, "/fail")).status for _ in range(3)] == [500] * 3
    assert layer.clients == 0
    caplog.clear()


# Bodies.


async def test_a_body_of_known_length() -> None:
    app = aiohttpd.layers(Page, BodyLimit(5))
    for size, status in ((0, 200), (5, 200), (6, 413)):
        request = head("POST", "/", f"Content-Length: {size}") + b"a" * size
        answers = split(await exchange(app, request, config=QUIET))
        assert answers[0].status == status


class Blocking(aiohttpd.BlockingHTTPRequestHandler):
    def do_POST(self) -> None:
        self.send_text(str(len(self.rfile.read())))


class OfHTTPServer(QuietOld):
    def do_POST(self) -> None:
        self.answer(self.rfile.read())


class ByConnection(OfHTTPServer):
    def handle(self) -> None:
        super().handle()


def of_wsgi(environ: Any, start_response: Any) -> list[bytes]:
    content: bytes = environ["wsgi.input"].read()
    start_response("200 OK", [])
    return [content]


@pytest.mark.parametrize(
    "app", [Page, Blocking, OfHTTPServer, ByConnection, aiohttpd.wsgi(of_wsgi)], ids=["Page", "B", "O", "C", "W"]
)
async def test_a_body_in_chunks(app: Any) -> None:
    """Handlers of http.server get the chunks as they are, without the limit that the option has by default."""
    for size, status in ((5, 200), (6, 413)):
        request = head("POST", "/", "Transfer-Encoding: chunked") + chunk(b"a" * size) + LAST_CHUNK
        assert split(await exchange(aiohttpd.layers(app, BodyLimit(5)), request, config=QUIET))[0].status == status


async def test_the_app_is_not_called_for_a_body_that_is_too_large() -> None:
    async def app(request: Request, response: Any) -> None:
        raise AssertionError

    request = head("POST", "/", "Content-Length: 6", "Expect: 100-continue")
    answers = split(await exchange(aiohttpd.layers(app, BodyLimit(5)), request, config=QUIET))
    assert [answer.status for answer in answers] == [413]


async def test_it_can_be_higher_than_the_option() -> None:
    apps: list[Any] = [Page, OfHTTPServer]
    for app in apps:
        request = head("POST", "/", "Content-Length: 20", "Connection: close") + b"a" * 20
        config = Config(access_log=False, limit_body=10)
        assert split(await exchange(aiohttpd.layers(app, BodyLimit(50)), request, config=config))[0].status == 200


# Deadlines.


class Slow(aiohttpd.BaseHTTPRequestHandler):
    async def do_GET(self) -> None:
        match self.url_path:
            case "/caught":
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    self.send_text("caught")
            case "/begun":
                self.send_response(200)
                self.end_headers()
                await self.wfile.drain()
                await asyncio.sleep(0.02)
                self.wfile.write(b"late")
            case "/held":
                self.send_text("never seen")
                await asyncio.Event().wait()
            case "/quick":
                self.send_text("quick")
            case _:
                await asyncio.Event().wait()


async def slow_app(request: Request, response: Any) -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize("app", [Slow, slow_app])
async def test_a_handler_that_takes_too_long(app: Any, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged once, with what it waited for; the connection goes on."""
    around = aiohttpd.layers(app, Deadline(0.01, status=504))
    answers = split(await exchange(around, get() * 2, config=QUIET))
    assert [answer.status for answer in answers] == [504, 504]
    assert len(caplog.records) == 2
    assert "no answer was begun within 0.01 seconds" in caplog.text and "Event().wait()" in caplog.text
    caplog.clear()


async def test_what_is_held_is_replaced(caplog: pytest.LogCaptureFixture) -> None:
    answer = await fetch(aiohttpd.layers(Slow, Deadline(0.01)), "/held")
    assert answer.status == 503 and b"never seen" not in answer.body
    caplog.clear()


async def test_who_answers_or_has_begun_may_go_on() -> None:
    app = aiohttpd.layers(Slow, Deadline(0.01))
    assert (await fetch(app, "/quick")).body == b"quick"
    assert (await fetch(app, "/caught")).body == b"caught"
    assert (await fetch(app, "/begun")).body == b"late"


async def test_a_deadline_in_a_deadline(caplog: pytest.LogCaptureFixture) -> None:
    app = aiohttpd.layers(Slow, Deadline(30), Deadline(0.01, status=504))
    assert (await fetch(app)).status == 504
    app = aiohttpd.layers(Slow, Deadline(0.01, status=504), Deadline(30))
    assert (await fetch(app)).status == 504
    caplog.clear()


async def test_the_shutdown_of_the_server_is_no_deadline() -> None:
    entered = asyncio.Event()

    class Entered(Slow):
        async def setup(self) -> None:
            entered.set()

    app = aiohttpd.layers(Entered, Deadline(30))
    async with running(app, access_log=False) as server:
        reader, writer = await asyncio.open_connection(*server.server_address)
        writer.write(get())
        await entered.wait()
        await server.shutdown(0)
        assert b"503" in await reader.readline()
        writer.close()
    assert (await answer_to(app, get("/quick"))).body == b"quick"
