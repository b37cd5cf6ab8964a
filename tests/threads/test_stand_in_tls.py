"""TLS as handlers of http.server see it: what they ask of their connection, and what they may not do to it."""

import asyncio
import http.client
import socket
import ssl
import threading
from pathlib import Path
from typing import Any

import pytest
import trustme
import uvloop

from aiohttpd import compat
from aiohttpd.testing import running

from ..support.clients import connected
from ..support.old_handlers import ByConnection, QuietOld, loud
from ..support.waiting import BOUND

BOTH = pytest.mark.parametrize("base", [QuietOld, ByConnection], ids=["request", "connection"])


@pytest.fixture
def server_side(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.set_alpn_protocols(["http/1.1"])
    return context


@pytest.fixture
def client_side(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    authority.issue_cert("someone@example.org").configure_cert(context)
    context.set_alpn_protocols(["http/1.1"])
    return context


def asking(base: Any, ask: Any) -> Any:
    class Handler(base):  # type: ignore[misc]
        def do_GET(self) -> None:
            self.answer(repr(ask(self.connection)).encode())

        do_POST = do_GET

    return Handler


QUESTIONS: dict[str, tuple[Any, Any]] = {
    "isinstance": (lambda c: (isinstance(c, ssl.SSLSocket), isinstance(c, socket.socket)), (True, True)),
    "do_handshake": (lambda c: (c.do_handshake(), c.do_handshake(True)), (None, None)),
    "do_handshake_on_connect": (lambda c: c.do_handshake_on_connect, False),
    "pending": (lambda c: c.pending(), 0),
    "compression": (lambda c: c.compression(), None),
    "shared_ciphers": (lambda c: c.shared_ciphers() is None or isinstance(c.shared_ciphers(), list), True),
    "context": (lambda c: isinstance(c.context, ssl.SSLContext), True),
    "server_side": (lambda c: c.server_side, True),
    "server_hostname": (lambda c: c.server_hostname, None),
    "session_reused": (lambda c: c.session_reused, False),
    "session": (lambda c: c.session is None or isinstance(c.session, ssl.SSLSession), True),
    "getpeercert": (lambda c: c.getpeercert()["subjectAltName"], (("email", "someone@example.org"),)),
    "getpeercert, binary": (lambda c: isinstance(c.getpeercert(True), bytes), True),
    "getpeercert, by keyword": (lambda c: isinstance(c.getpeercert(binary_form=True), bytes), True),
    "cipher": (lambda c: c.cipher()[1], "TLSv1.3"),
    "version": (lambda c: c.version(), "TLSv1.3"),
    "alpn": (lambda c: c.selected_alpn_protocol(), "http/1.1"),
    "get_channel_binding": (lambda c: c.get_channel_binding() is None or True, True),
    "hasattr": (
        lambda c: (hasattr(c, "cipher"), hasattr(c, "getpeercert"), hasattr(c, "nonsense")),
        (True, True, False),
    ),
    "fileno": (lambda c: (c.fileno() > 0, c.version(), isinstance(c, ssl.SSLSocket)), (True, "TLSv1.3", True)),
    "type": (lambda c: (c.family, c.type), (socket.AF_INET, socket.SOCK_STREAM)),
    "getsockopt": (lambda c: c.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE), int(socket.SOCK_STREAM)),
}


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("question", QUESTIONS)
@BOTH
def test_what_is_asked(
    base: Any, question: str, loop_factory: Any, server_side: ssl.SSLContext, client_side: ssl.SSLContext
) -> None:
    ask, expected = QUESTIONS[question]

    async def main() -> None:
        async with running(asking(base, ask), ssl=server_side) as server, connected(server, tls=client_side) as client:
            for _ in range(2):
                answer = await client.ask()
                assert (answer.status, answer.body.decode()) == (200, repr(expected))

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(main())


@BOTH
async def test_without_tls(base: Any) -> None:
    def ask(connection: Any) -> Any:
        return (
            isinstance(connection, ssl.SSLSocket),
            isinstance(connection, socket.socket),
            [hasattr(connection, name) for name in ("do_handshake", "cipher", "pending", "context", "unwrap")],
        )

    async with running(asking(base, ask)) as server, connected(server) as client:
        assert (await client.ask()).body.decode() == repr((False, True, 5 * [False]))


@BOTH
async def test_read_pending_write(base: Any, server_side: ssl.SSLContext, client_side: ssl.SSLContext) -> None:
    def ask(connection: Any) -> Any:
        buffer = bytearray(2)
        return connection.pending(), connection.read(3), connection.read(10, buffer), buffer, connection.pending()

    async with running(asking(base, ask), ssl=server_side) as server, connected(server, tls=client_side) as client:
        for _ in range(2):
            await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabcde")
            assert (await client.answer()).body.decode() == repr((5, b"abc", 2, bytearray(b"de"), 0))


@BOTH
async def test_unwrap(base: Any, server_side: ssl.SSLContext, client_side: ssl.SSLContext) -> None:
    """Programs end TLS before they close; here both end after the answer."""

    class Handler(base):  # type: ignore[misc]
        def do_GET(self) -> None:
            super().do_GET()
            self.connection.unwrap().close()

    async with running(Handler, ssl=server_side) as server, connected(server, tls=client_side) as client:
        assert (await client.ask()).body == b"/"
        assert await client.rest() == b""


async def test_handshake_in_setup(server_side: ssl.SSLContext, client_side: ssl.SSLContext) -> None:
    """As programs do whose server does not shake hands in accept()."""

    class Handler(QuietOld):
        def setup(self) -> None:
            self.request.settimeout(BOUND)
            self.request.do_handshake()  # type: ignore[attr-defined]
            super().setup()

    async with running(Handler, ssl=server_side) as server, connected(server, tls=client_side) as client:  # type: ignore[arg-type]
        for _ in range(2):
            assert (await client.ask()).body == b"/"


class WrapsInSetup(QuietOld):
    context: ssl.SSLContext

    def setup(self) -> None:
        self.request = self.context.wrap_socket(self.request, server_side=True)
        super().setup()


async def test_a_handler_that_wraps_is_told(
    server_side: ssl.SSLContext, client_side: ssl.SSLContext, caplog: pytest.LogCaptureFixture
) -> None:
    """FAULT: its clients are refused, and nobody says why, nor what to do."""
    WrapsInSetup.context = server_side
    async with running(WrapsInSetup) as server:  # type: ignore[arg-type]
        for _ in range(2):
            with pytest.raises((ssl.SSLError, ConnectionError)):
                async with connected(server, tls=client_side):
                    pass
    [text] = loud(caplog)  # once
    assert "server.socket = context.wrap_socket(server.socket, server_side=True)" in text


@pytest.mark.parametrize("kind", [compat.HTTPServer, compat.ThreadingHTTPServer])
@pytest.mark.parametrize("hook", ["finish_request", "process_request"])
def test_a_server_that_wraps_is_told(
    kind: Any, hook: str, server_side: ssl.SSLContext, client_side: ssl.SSLContext, caplog: pytest.LogCaptureFixture
) -> None:
    def wrap(self: Any, request: Any, client_address: Any) -> None:
        getattr(kind, hook)(self, server_side.wrap_socket(request, server_side=True), client_address)

    with type("Server", (kind,), {hook: wrap})(("127.0.0.1", 0), QuietOld) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        connection = http.client.HTTPSConnection(*server.server_address, context=client_side, timeout=BOUND)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            connection.request("GET", "/")
        connection.close()
        server.shutdown()
        thread.join()
    [text] = loud(caplog)
    assert "or what get_request() returns" in text


@pytest.mark.parametrize("kind", [compat.HTTPServer, compat.ThreadingHTTPServer])
@pytest.mark.parametrize("way", ["server.socket", "get_request"])
def test_what_it_is_told_works(
    kind: Any, way: str, server_side: ssl.SSLContext, client_side: ssl.SSLContext, tmp_path: Path
) -> None:
    class Server(kind):  # type: ignore[misc]
        if way == "get_request":

            def get_request(self) -> Any:
                sock, address = super().get_request()
                return server_side.wrap_socket(sock, server_side=True, do_handshake_on_connect=False), address

    with Server(("127.0.0.1", 0), asking(QuietOld, lambda c: isinstance(c, ssl.SSLSocket))) as server:
        if way == "server.socket":
            server.socket = server_side.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        connection = http.client.HTTPSConnection(*server.server_address, context=client_side, timeout=BOUND)
        connection.request("GET", "/")
        assert connection.getresponse().read() == b"True"
        connection.close()
        server.shutdown()
        thread.join()


async def test_a_probe_says_nothing(client_side: ssl.SSLContext) -> None:
    """Whoever wraps nothing is not told either; the access log has it."""
    async with running(QuietOld) as server:  # type: ignore[arg-type]
        with pytest.raises((ssl.SSLError, ConnectionError)):
            async with connected(server, tls=client_side):
                pass
