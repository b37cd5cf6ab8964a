"""Connections through proxies on real sockets: preambles, TLS behind them, draining; on both loops."""

import asyncio
import json
import socket
import ssl
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trustme
from click.testing import CliRunner

from aiohttpd import Config, HTTPServer, Request, StreamWriter
from aiohttpd.engine.interfaces import Answer
from aiohttpd.net.sockets import BindError
from aiohttpd.runner.cli import main
from aiohttpd.testing import exchange, running

from ..support.clients import Client, connected, ended, get, post, shutting_down
from ..support.loops import on_both_loops
from ..support.waiting import until
from ..support.wire import finals

LINE = b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n"
SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
ADDRESSES = struct.pack("!4s4sHH", bytes([192, 0, 2, 1]), bytes([198, 51, 100, 7]), 56324, 443)
BLOCK = SIGNATURE + b"\x21\x11\x00\x0c" + ADDRESSES
OVER_TLS = SIGNATURE + b"\x21\x11\x00\x14" + ADDRESSES + b"\x20\x00\x05\x01" + bytes(4)
LOCAL = SIGNATURE + b"\x20\x00\x00\x00"
SPOOF = "X-Forwarded-For: 6.6.6.6"
CLIENT, ENTRANCE = ["192.0.2.1", 56324], ["198.51.100.7", 443]

PREAMBLES = pytest.mark.parametrize("preamble", [LINE, BLOCK], ids=["v1", "v2"])
BOTH_SCHEMES = pytest.mark.parametrize("scheme", ["http", "https"])


async def tell(request: Request, response: StreamWriter) -> None:
    """Answer who has asked, and with how much."""
    size = len(await request.body.read())
    told = [request.client_address, request.server_address, request.scheme, size]
    response.send_head(200)
    response.write(json.dumps(told).encode())


def behind(**more: Any) -> dict[str, Any]:
    return {"trusted_proxies": "127.0.0.1", "proxy_protocol": True, "access_log": False} | more


@pytest.fixture(scope="module")
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    authority = trustme.CA()
    server, client = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(server)
    authority.configure_trust(client)
    return server, client


@pytest.fixture
def tls(scheme: str, contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> "Contexts":
    """The contexts of server and client; None for plain HTTP."""
    return contexts if scheme == "https" else (None, None)


Contexts = tuple[ssl.SSLContext | None, ssl.SSLContext | None]


class Speaker:
    """A client that decides how its bytes are cut, those of TLS too."""

    def __init__(self, client: Client, context: ssl.SSLContext | None) -> None:
        self.client = client
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context and context.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")

    def hello(self) -> bytes:
        """The first bytes of TLS."""
        if self._tls is not None:
            with suppress(ssl.SSLWantReadError):
                self._tls.do_handshake()
        return self._outgoing.read()

    async def finish_handshake(self) -> None:
        while self._tls is not None:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                await self._read()
        await self.client.send(self._outgoing.read())

    async def _read(self) -> None:
        data = await self.client.reader.read(64 * 1024)
        if not data:
            raise EOFError
        self._incoming.write(data)

    async def send(self, data: bytes) -> None:
        if self._tls is not None:
            self._tls.write(data)
            data = self._outgoing.read()
        await self.client.send(data)

    async def ask(self, data: bytes) -> Any:
        """Send a request; what `tell` answers."""
        await self.send(data)
        if self._tls is None:
            return json.loads((await self.client.answer()).body)
        answer = b""
        while not answer.endswith(b"]"):
            try:
                answer += self._tls.read()
            except ssl.SSLWantReadError:
                await self._read()
        return json.loads(finals(answer)[0].body)


async def in_pieces(client: Client, data: bytes, cuts: Iterator[int] | list[int]) -> None:
    for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        await client.send(data[start:end])
        for _ in range(5):
            await asyncio.sleep(0)


async def open_with(client: Client, context: ssl.SSLContext | None, preamble: bytes, *cuts: int) -> Speaker:
    """Connect as a proxy does, all in one piece but for the cuts."""
    speaker = Speaker(client, context)
    await in_pieces(client, preamble + speaker.hello(), list(cuts))
    await speaker.finish_handshake()
    return speaker


@PREAMBLES
@BOTH_SCHEMES
@on_both_loops
async def test_the_client_is_the_one_of_the_preamble(preamble: bytes, scheme: str, tls: Contexts) -> None:
    size = len(preamble)
    for cuts in ((), (size,), (1,), (size - 1,), (5, 13, size + 1), (size, size + 5, size + 100), (size + 1,)):
        cuts = cuts if scheme == "https" else [cut for cut in cuts if cut <= size]
        async with running(tell, ssl=tls[0], **behind()) as server, connected(server) as client:
            speaker = await open_with(client, tls[1], preamble, *cuts)
            assert await speaker.ask(get("/", SPOOF)) == [CLIENT, ENTRANCE, scheme, 0]
            body = post(300_000) + bytes(300_000)
            assert await speaker.ask(body) == [CLIENT, ENTRANCE, scheme, 300_000]
            assert await speaker.ask(get()) == [CLIENT, ENTRANCE, scheme, 0]


class Clients:
    """An access log that keeps who has asked."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def answered(self, request: Request, answer: Answer, started: float) -> None:
        self.seen.append(request.client_address)

    def refused(self, client_address: Any, line: str, status: int) -> None:
        self.seen.append(client_address)

    def message(self, text: str) -> None:
        pass


@PREAMBLES
@BOTH_SCHEMES
@on_both_loops
async def test_the_log_has_the_client_of_the_preamble(preamble: bytes, scheme: str, tls: Contexts) -> None:
    """Of requests and of refusals, although TLS begins after the preamble on a transport of its own."""
    log = Clients()
    config = Config(**behind(access_log=True))
    async with HTTPServer(("127.0.0.1", 0), tell, ssl=tls[0], config=config, access_log=log) as server:
        async with connected(server) as client:
            speaker = await open_with(client, tls[1], preamble)
            await speaker.ask(get())
            await speaker.send(b"nonsense\r\n\r\n")
            await until(lambda: len(log.seen) == 2)
    assert [list(address) for address in log.seen] == [CLIENT, CLIENT]


@PREAMBLES
@on_both_loops
async def test_everything_in_one_piece(preamble: bytes) -> None:
    async with running(tell, **behind()) as server, connected(server) as client:
        await client.send(preamble + get() + post(100_000) + bytes(100_000) + get())
        sizes = [json.loads((await client.answer()).body)[3] for _ in range(3)]
        assert sizes == [0, 100_000, 0]
        client.send_eof()
        assert await client.rest() == b""


@PREAMBLES
@BOTH_SCHEMES
@on_both_loops
async def test_byte_by_byte(preamble: bytes, scheme: str, tls: Contexts) -> None:
    async with running(tell, ssl=tls[0], **behind()) as server, connected(server) as client:
        speaker = await open_with(client, tls[1], preamble, *range(1, len(preamble) + 40 * (scheme == "https")))
        assert (await speaker.ask(get()))[0] == CLIENT


@PREAMBLES
async def test_cut_at_each_byte_in_memory(preamble: bytes) -> None:
    data, config = preamble + get("/", SPOOF) + get(), Config(**behind())
    wanted = await exchange(tell, data, config=config)
    assert [json.loads(answer.body)[0] for answer in finals(wanted)] == [CLIENT, CLIENT]
    for cut in range(1, len(data)):
        answers = finals(await exchange(tell, [data[:cut], data[cut:]], config=config))
        assert [json.loads(answer.body)[0] for answer in answers] == [CLIENT, CLIENT]


@PREAMBLES
async def test_the_end_at_each_byte_in_memory(preamble: bytes) -> None:
    for cut in range(len(preamble) + 1):
        assert await exchange(tell, preamble[:cut], config=Config(**behind())) == b""


# Who may, and who may not.


@BOTH_SCHEMES
@on_both_loops
async def test_others_have_none(scheme: str, tls: Contexts) -> None:
    options = behind(trusted_proxies="10.0.0.0/8")
    async with running(tell, ssl=tls[0], **options) as server, connected(server) as client:
        speaker = await open_with(client, tls[1], b"")
        address, *rest = await speaker.ask(get("/", SPOOF))
        assert address[0] == "127.0.0.1" and rest == [list(server.server_address), scheme, 0]


@pytest.mark.parametrize("preamble", [LINE, BLOCK, LOCAL, b"PROXY UNKNOWN\r\n"])
@BOTH_SCHEMES
@on_both_loops
async def test_of_others_it_is_refused(preamble: bytes, scheme: str, tls: Contexts) -> None:
    for options in (behind(trusted_proxies="10.0.0.0/8"), behind(proxy_protocol=False)):
        async with running(tell, ssl=tls[0], **options) as server, connected(server) as client:
            await client.send(preamble + Speaker(client, tls[1]).hello() + get())
            if scheme == "http":
                assert (await client.answer()).status == 400
            with suppress(ConnectionResetError):
                assert b"HTTP" not in await client.rest()  # an alert of TLS, perhaps
            client.close()
            await until(lambda: not server.connections)


class Log:
    """Keeps what is refused."""

    def __init__(self) -> None:
        self.lines: list[tuple[Any, str, int]] = []

    def answered(self, request: Request, answer: Answer, started: float) -> None:
        raise AssertionError(request)

    def refused(self, client_address: Any, line: str, status: int) -> None:
        self.lines.append((client_address[0], line, status))

    def message(self, text: str) -> None:
        raise AssertionError(text)


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (get("/secret"), "GET /secret HTTP/1.1"),
        (b"\x16\x03\x01\x02\x00", "TLS handshake on a port without TLS"),
        (b"PROXY TCP4 1.2.3.4\r\n" + get(), "PROXY TCP4 1.2.3.4"),
        (b"PROXY UNKNOWN " + b"x" * 20_000, "PROXY UNKNOWN " + "x" * 186),
        (SIGNATURE + b"\x21\x11\xff\xff" + bytes(70_000), ""),
    ],
    ids=["request", "TLS", "malformed", "endless line", "endless block"],
)
@BOTH_SCHEMES
@on_both_loops
async def test_of_a_proxy_it_is_required(data: bytes, line: str, scheme: str, tls: Contexts) -> None:
    log = Log()
    config = Config(**behind(access_log=True, timeout_drain_idle=0))
    async with HTTPServer(("127.0.0.1", 0), tell, config=config, ssl=tls[0], access_log=log) as server:
        async with connected(server) as client:
            await client.send(data)
            assert (await client.answer()).status == 400
            await client.send(data)  # on its way, perhaps; there is no second answer
            assert await client.rest() == b""
            client.close()
            await until(lambda: not server.connections)
    assert log.lines == [("127.0.0.1", line, 400)]


@pytest.mark.parametrize("preamble", [LOCAL, b"PROXY UNKNOWN\r\n", SIGNATURE + b"\x21\x00\x00\x00"])
@BOTH_SCHEMES
@on_both_loops
async def test_a_proxy_that_names_nobody(preamble: bytes, scheme: str, tls: Contexts) -> None:
    """It is itself the client, or an unknown one is; nobody's fields are believed."""
    async with running(tell, ssl=tls[0], **behind()) as server, connected(server) as client:
        speaker = await open_with(client, tls[1], preamble)
        address, ours, *_ = await speaker.ask(get("/", SPOOF))
        assert address[0] == "127.0.0.1" and tuple(ours) == server.server_address


@pytest.mark.parametrize(("trusted", "told"), [("192.0.2.0/24", "6.6.6.6"), ("192.0.3.0/24", "192.0.2.1")])
@on_both_loops
async def test_fields_after_a_preamble(trusted: str, told: str) -> None:
    """They count if the client of the preamble is a proxy, too."""
    async with running(tell, **behind(trusted_proxies=f"127.0.0.1 {trusted}")) as server, connected(server) as client:
        speaker = await open_with(client, None, LINE)
        assert (await speaker.ask(get("/", SPOOF)))[0][0] == told


@on_both_loops
async def test_tls_with_the_proxy() -> None:
    """The scheme is the client's; that the transport can be closed by half stays as it is."""
    async with running(tell, **behind()) as server, connected(server) as client:
        await client.send(OVER_TLS + get() + get())
        client.send_eof()
        assert [json.loads(answer.body)[2] for answer in finals(await client.rest())] == ["https", "https"]


@on_both_loops
async def test_unix_socket(tmp_path: Path) -> None:
    for trusted, told in (("unix:", "6.6.6.6"), ("127.0.0.1", "unix:")):
        config = Config(trusted_proxies=trusted, timeout_drain_idle=0)
        async with HTTPServer(str(tmp_path / "socket"), tell, config=config) as server, connected(server) as client:
            speaker = Speaker(client, None)
            assert (await speaker.ask(get("/", SPOOF)))[0][0] == told
    config = Config(**behind(trusted_proxies="unix:", timeout_drain_idle=0))
    async with HTTPServer(str(tmp_path / "socket"), tell, config=config) as server, connected(server) as client:
        speaker = await open_with(client, None, BLOCK)
        assert (await speaker.ask(get("/", SPOOF)))[:2] == [CLIENT, ENTRANCE]


@on_both_loops
async def test_ipv6() -> None:
    config = Config(trusted_proxies="::1", timeout_drain_idle=0)
    try:
        async with HTTPServer(("::1", 0), tell, config=config) as server:
            client = Client(*await asyncio.open_connection("::1", server.server_port))
            assert (await Speaker(client, None).ask(get("/", SPOOF)))[0][0] == "6.6.6.6"
            client.close()
    except BindError:
        pytest.skip("this machine has no IPv6")


def reset_at_once(server: HTTPServer, data: bytes) -> None:
    """Connect, send and reset before the server has had a turn to accept."""
    with socket.create_connection(server.server_address) as sock:
        sock.sendall(data)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@PREAMBLES
@on_both_loops
async def test_who_has_gone_before_anybody_looked(preamble: bytes) -> None:
    """HAProxy's health checks do; nothing is refused then, and nothing is logged."""
    log = Log()
    config = Config(**behind(access_log=True, timeout_drain_idle=0))
    async with HTTPServer(("127.0.0.1", 0), tell, config=config, access_log=log) as server:
        for _ in range(20):
            reset_at_once(server, preamble)
        async with connected(server) as client:
            await client.send(get())  # it is accepted after those
            assert (await client.answer()).status == 400
    assert [line for _, line, _ in log.lines] == ["GET / HTTP/1.1"]


@on_both_loops
async def test_who_has_gone_is_not_taken_for_a_unix_socket() -> None:
    seen = []

    async def app(request: Request, response: StreamWriter) -> None:
        seen.append(request.client_address[0])
        response.send_head(200)

    async with running(app, **behind(trusted_proxies="unix:", proxy_protocol=False)) as server:
        for _ in range(20):
            reset_at_once(server, get("/", SPOOF))
        async with connected(server) as client:
            await client.send(get())
            await client.answer()
    assert seen[-1] == "127.0.0.1"
    assert set(seen) <= {"127.0.0.1", "-"}


async def test_one_connection_too_many() -> None:
    async with (
        running(tell, **behind(max_connections=1)) as server,
        connected(server) as client,
        connected(server) as other,
    ):
        await client.send(LINE + get())
        assert (await client.answer()).status == 200
        await other.send(LINE + get())
        assert (await other.answer()).status == 503


# How they end.


@pytest.mark.parametrize("sent", [b"", LINE[:20], BLOCK[:14], LINE, BLOCK], ids=["", "v1", "v2", "v1 all", "v2 all"])
@on_both_loops
async def test_deadline(sent: bytes) -> None:
    """It is one for the preamble and the first head, however many bytes there have been."""
    async with running(tell, **behind(timeout_head=0.2)) as server, connected(server) as client:
        for byte in sent:
            await client.send(bytes([byte]))
            await asyncio.sleep(0)
        assert await ended(client)
        await until(lambda: not server.connections)


NO_HELLO = pytest.mark.parametrize("more", [b"", b"\x16\x03\x01", b"GET / HTTP/1.1\r\n\r\n", b"\x16" * 300])


@NO_HELLO
@pytest.mark.parametrize("scheme", ["https"])
@on_both_loops
async def test_no_handshake(more: bytes, scheme: str, tls: Contexts) -> None:
    """TLS that does not come, or is none, ends; the log is silent."""
    async with running(tell, ssl=tls[0], **behind(timeout_handshake=0.2)) as server, connected(server) as client:
        await client.send(LINE + more)
        with suppress(ConnectionResetError):
            await client.rest()
        await until(lambda: not server.connections)


@NO_HELLO
@pytest.mark.parametrize("scheme", ["https"])
@on_both_loops
async def test_a_handshake_is_in_nobodys_way(more: bytes, scheme: str, tls: Contexts) -> None:
    async with running(tell, ssl=tls[0], **behind()) as server:
        async with connected(server) as client, connected(server) as other:
            await client.send(LINE + more)
            speaker = await open_with(other, tls[1], LINE)
            assert (await speaker.ask(get()))[0] == CLIENT


STAGES = pytest.mark.parametrize("stage", ["nothing", "half a preamble", "a preamble", "half a hello"])


def until_stage(stage: str, hello: bytes) -> bytes:
    return {
        "nothing": b"",
        "half a preamble": LINE[:20],
        "a preamble": LINE,
        "half a hello": LINE + hello[: len(hello) // 2],
    }[stage]


async def send_some(client: Client, data: bytes) -> None:
    if data:  # asyncio's transports do not get rid of nothing
        await client.send(data)


@STAGES
@BOTH_SCHEMES
@on_both_loops
async def test_a_connection_under_way_is_served_while_draining(stage: str, scheme: str, tls: Contexts) -> None:
    async with running(tell, ssl=tls[0], **behind(timeout_drain_idle=5)) as server, connected(server) as client:
        speaker = Speaker(client, tls[1])
        hello = speaker.hello()
        begun = until_stage(stage, hello)
        await send_some(client, begun)
        await until(lambda: server.connections)
        for _ in range(5):
            await asyncio.sleep(0)
        async with shutting_down(server):
            await client.send((LINE + hello)[len(begun) :])
            await speaker.finish_handshake()
            assert (await speaker.ask(get()))[0] == CLIENT
            client.close()  # which says more about the end of TLS than this client knows to say


@STAGES
@pytest.mark.parametrize(("grace", "quiet"), [(0, 5), (5, 0), (0.1, 5)])
@BOTH_SCHEMES
@on_both_loops
async def test_the_server_ends(stage: str, grace: float, quiet: float, scheme: str, tls: Contexts) -> None:
    async with running(tell, ssl=tls[0], **behind(timeout_drain_idle=quiet)) as server, connected(server) as client:
        await send_some(client, until_stage(stage, Speaker(client, tls[1]).hello()))
        await until(lambda: server.connections)
        for _ in range(5):
            await asyncio.sleep(0)
        await server.shutdown(grace)
        assert not server.connections
        assert await ended(client)


@STAGES
@pytest.mark.parametrize("way", ["close", "eof", "reset"])
@BOTH_SCHEMES
@on_both_loops
async def test_the_client_ends(stage: str, way: str, scheme: str, tls: Contexts) -> None:
    async with running(tell, ssl=tls[0], **behind()) as server, connected(server) as client:
        await send_some(client, until_stage(stage, Speaker(client, tls[1]).hello()))
        await until(lambda: server.connections)
        {"close": client.close, "eof": client.send_eof, "reset": client.reset}[way]()
        await until(lambda: not server.connections)


# What it costs, and what the command says.


def test_nothing_is_loaded_unless_it_is_wanted() -> None:
    code = (
        "import aiohttpd.runner.cli, aiohttpd.server.server, sys; assert 'aiohttpd.engine.proxied' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--proxy-protocol"], "--trusted-proxies"),
        (["--trusted-proxies", "10.0.0.1/8"], "10.0.0.1/8"),
        (["--trusted-proxies", "::1", "--trusted-fields", "X-Real-IP"], "x-real-ip"),
    ],
)
def test_the_command_refuses(arguments: list[str], says: str) -> None:
    result = CliRunner().invoke(main, ["serve", *arguments])
    assert result.exit_code == 2 and says in result.output


def test_the_command_shows_them() -> None:
    shown = CliRunner().invoke(main, ["serve", "--help"]).output
    for flag in ("--trusted-proxies NETWORKS", "--trusted-fields FIELDS", "--proxy-protocol"):
        assert flag in shown
