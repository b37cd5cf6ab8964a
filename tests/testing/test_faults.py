"""Faults, byte for byte, as a client sees them that reads all it can get."""

import asyncio
import gzip
import http.server
import socket
import ssl
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import aiohttpd
from aiohttpd.testing import Expectation, Faults, TestServer, closed_port

from ..support.raw_peer import RawPeer

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
CONTENT = "0123456789"


@pytest.fixture
def server() -> Iterator[TestServer]:
    with TestServer(server_header=False) as server:
        yield server


@pytest.fixture
def peer(server: TestServer) -> Iterator[RawPeer]:
    peer = RawPeer(server)
    yield peer
    peer.sock.close()


def whole(server: TestServer, break_it: Callable[[Expectation], object] = lambda it: it) -> tuple[bytes, bytes, str]:
    """Head and body of an answer that ends with its connection, and how that ended."""
    break_it(server.expect("GET", "/").respond(text=CONTENT))
    peer = RawPeer(server)
    peer.send(GET)
    head, _, body = peer.rest().partition(b"\r\n\r\n")
    peer.sock.close()
    return head, body, peer.end


class TestEnds:
    def test_reset_before_the_head(self, server: TestServer) -> None:
        assert whole(server, lambda it: it.reset()) == (b"", b"", "RST")

    @pytest.mark.parametrize("count", [1, 15, 40])
    def test_reset_in_the_head(self, server: TestServer, count: int) -> None:
        head, _, end = whole(server, lambda it: it.reset(in_head=count))
        assert len(head) == count
        assert b"HTTP/1.1 200 OK\r\n".startswith(head[:17])
        assert end == "RST"

    @pytest.mark.parametrize("count", [0, 1, 9, 10])
    def test_reset_after_some_content(self, server: TestServer, count: int) -> None:
        head, body, end = whole(server, lambda it: it.reset(after=count))
        assert b"Content-Length: 10" in head
        assert (body, end) == (CONTENT[:count].encode(), "RST")

    def test_reset_after_much_content_loses_nothing_of_it(self, server: TestServer) -> None:
        server.expect("GET", "/").respond(body=b"x" * 3_000_000).reset(after=2_999_999)
        peer = RawPeer(server)
        peer.send(GET)
        time.sleep(0.05)  # so that most of it waits in the kernel
        _, _, body = peer.rest().partition(b"\r\n\r\n")
        assert (len(body), peer.end) == (2_999_999, "RST")
        peer.sock.close()

    @pytest.mark.parametrize("count", [0, 4])
    def test_truncate(self, server: TestServer, count: int) -> None:
        head, body, end = whole(server, lambda it: it.truncate(count))
        assert b"Content-Length: 10" in head
        assert (body, end) == (CONTENT[:count].encode(), "FIN")

    def test_close_without_answer(self, server: TestServer) -> None:
        assert whole(server, lambda it: it.close_without_answer()) == (b"", b"", "FIN")

    def test_stall(self, server: TestServer, peer: RawPeer) -> None:
        server.expect("GET", "/").respond(text=CONTENT).stall(after=3)
        peer.send(GET)
        peer.read_until(b"\r\n\r\n012")
        assert peer.is_quiet()

    @pytest.mark.parametrize("count", [None, 3])
    def test_nothing_follows_when_the_server_stops_meanwhile(self, count: int | None) -> None:
        with TestServer() as server:
            expected = server.expect("GET", "/").respond(text=CONTENT)
            if count is None:
                expected.never_answer()
            else:
                expected.stall(after=count)
            peer = RawPeer(server)
            peer.send(GET)
            if count is not None:
                peer.read_until(b"\r\n\r\n012")
            while not server.requests:
                pass
        assert peer.rest() == b""
        peer.sock.close()

    def test_never_answer(self, server: TestServer, peer: RawPeer) -> None:
        server.expect("GET", "/").never_answer()
        peer.send(GET)
        assert peer.is_quiet()
        assert len(server.requests) == 1

    def test_close_after_the_first_of_two_pipelined(self, server: TestServer, peer: RawPeer) -> None:
        server.expect("GET", "/").respond(text=CONTENT).close_after()
        peer.send(GET + GET)
        answers = peer.rest()
        assert answers.count(b"HTTP/1.1 200") == 1
        assert b"Connection: close" not in answers
        assert answers.endswith(b"9")
        assert peer.end == "FIN"

    def test_close_when_the_connection_is_used_again(self, server: TestServer, peer: RawPeer) -> None:
        server.expect("GET", "/").respond(text=CONTENT).close_on_reuse()
        peer.send(GET)
        peer.read_until(CONTENT.encode())
        assert peer.is_quiet()
        peer.send(GET)
        assert peer.rest() == b""
        assert peer.end == "FIN"
        again = RawPeer(server)  # a new connection works
        again.send(GET)
        assert again.read(15) == b"HTTP/1.1 200 OK"
        again.sock.close()

    def test_refuse(self, server: TestServer) -> None:
        for _ in range(20):
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", int(server.refused_url.rpartition(":")[2])))
        with closed_port() as port, pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))

    def test_a_body_under_way_does_not_turn_fin_into_rst(self, server: TestServer, peer: RawPeer) -> None:
        server.expect("POST", "/").close_without_answer()
        peer.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000)
        assert (peer.rest(), peer.end) == (b"", "FIN")


class TestPace:
    def test_drip(self, server: TestServer, peer: RawPeer) -> None:
        server.expect("GET", "/").respond(text=CONTENT).drip(400)
        begun = time.monotonic()
        peer.send(GET)
        peer.read_until(CONTENT.encode())
        assert time.monotonic() - begun > 0.2  # at least 100 bytes: it cannot be faster

    def test_what_drips_can_be_cut(self, server: TestServer) -> None:
        _, body, end = whole(server, lambda it: it.drip(5000).reset(after=3))
        assert (body, end) == (b"012", "RST")

    def test_rate_has_to_be_positive(self) -> None:
        with pytest.raises(ValueError, match="stall"):
            Faults().drip(0)

    def test_interim(self, server: TestServer, peer: RawPeer) -> None:
        server.expect("GET", "/").respond(text=CONTENT).interim(100, 103, 103, fields={"Link": "</a>"})
        peer.send(GET)
        got = peer.read_until(CONTENT.encode())
        statuses = [line.split()[1] for line in got.split(b"\r\n") if line.startswith(b"HTTP/1.1")]
        assert statuses == [b"100", b"103", b"103", b"200"]
        assert got.count(b"Link: </a>\r\n") == 3

    @pytest.mark.parametrize("call", [{"after": -1}, {"in_head": -1}])
    def test_counts_are_not_negative(self, call: dict[str, int]) -> None:
        for verb in (Faults().reset, Faults().truncate, Faults().stall):
            with pytest.raises(ValueError, match="0 or more, not -1"):
                verb(**call)

    def test_interim_is_below_200(self) -> None:
        with pytest.raises(ValueError, match="respond"):
            Faults().interim(204)


class TestFraming:
    def test_wrong_length(self, server: TestServer) -> None:
        head, body, end = whole(server, lambda it: it.wrong_length(20))
        assert head.count(b"Content-Length") == 1
        assert b"Content-Length: 20" in head
        assert (body, end) == (CONTENT.encode(), "FIN")

    @pytest.mark.parametrize(("lengths", "sent"), [((), [b"10", b"11"]), ((3, 10, 10), [b"3", b"10", b"10"])])
    def test_double_length(self, server: TestServer, lengths: tuple[int, ...], sent: list[bytes]) -> None:
        head, body, _ = whole(server, lambda it: it.double_length(*lengths))
        assert [line[16:] for line in head.split(b"\r\n") if line.startswith(b"Content-Length: ")] == sent
        assert body == CONTENT.encode()

    def test_no_length(self, server: TestServer) -> None:
        head, body, end = whole(server, lambda it: it.no_length())
        assert b"Content-Length" not in head
        assert b"Transfer-Encoding" not in head
        assert (body, end) == (CONTENT.encode(), "FIN")

    @pytest.mark.parametrize(
        ("break_it", "sent"),
        [
            (lambda it: it.lying_chunk(), b"b\r\n0123456789\r\n0\r\n\r\n"),
            (lambda it: it.lying_chunk(-4), b"6\r\n0123456789\r\n0\r\n\r\n"),
            (lambda it: it.unfinished_chunks(), b"a\r\n0123456789\r\n"),
            (lambda it: it.bad_chunk_size(), b"zz\r\n0123456789\r\n0\r\n\r\n"),
        ],
    )
    def test_chunks(self, server: TestServer, break_it: Callable[[Expectation], object], sent: bytes) -> None:
        head, body, end = whole(server, break_it)
        assert b"Transfer-Encoding: chunked" in head
        assert b"Content-Length" not in head
        assert (body, end) == (sent, "FIN")


class TestHeads:
    def test_garbage_status_line(self, server: TestServer) -> None:
        head, _, _ = whole(server, lambda it: it.garbage_status_line(b"\x01garbage"))
        assert head.startswith(b"\x01garbage\r\nDate: ")

    def test_unfinished_head(self, server: TestServer) -> None:
        head, body, end = whole(server, lambda it: it.unfinished_head())
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert head.endswith(b"\r\n")
        assert (body, end) == (b"", "FIN")

    def test_huge_header(self, server: TestServer) -> None:
        head, _, _ = whole(server, lambda it: it.huge_header().close_after())
        assert b"\r\nX-Huge: " + b"x" * 1024 * 1024 in head

    def test_folded_header(self, server: TestServer) -> None:
        head, _, _ = whole(server, lambda it: it.folded_header().close_after())
        assert head.endswith(b"\r\nX-Folded: one\r\n two")

    def test_nul_in_header(self, server: TestServer) -> None:
        head, _, _ = whole(server, lambda it: it.nul_in_header().close_after())
        assert head.endswith(b"\r\nX-Nul: one\0two")


class TestContent:
    def test_broken_gzip(self, server: TestServer) -> None:
        head, body, _ = whole(server, lambda it: it.broken_gzip().close_after())
        assert b"Content-Encoding: gzip" in head
        assert b"Content-Length: %d" % len(body) in head
        with pytest.raises((zlib.error, gzip.BadGzipFile)):
            gzip.decompress(body)

    def test_truncated_gzip(self, server: TestServer) -> None:
        _, body, _ = whole(server, lambda it: it.truncated_gzip().close_after())
        with pytest.raises(EOFError):
            gzip.decompress(body)

    def test_gzip_bomb(self, server: TestServer) -> None:
        _, body, _ = whole(server, lambda it: it.gzip_bomb(10_000_000).close_after())
        assert len(body) < 20_000
        assert gzip.decompress(body) == bytes(10_000_000)

    def test_mislabelled_gzip(self, server: TestServer) -> None:
        head, body, _ = whole(server, lambda it: it.mislabelled_gzip().close_after())
        assert b"Content-Encoding: gzip" in head
        assert body == CONTENT.encode()

    def test_cut_event(self, server: TestServer) -> None:
        events = "data: one\n\ndata: two\n\n"
        server.expect("GET", "/events").respond(text=events, headers={"Content-Type": "text/event-stream"}).cut_event()
        peer = RawPeer(server)
        peer.send(GET.replace(b"/ ", b"/events "))
        _, _, body = peer.rest().partition(b"\r\n\r\n")
        assert body == b"data: one\n\ndata"
        assert peer.end == "FIN"
        peer.sock.close()


class TestRedirects:
    def test_loop(self, server: TestServer) -> None:
        head, _, _ = whole(server, lambda it: it.redirect_loop(307).close_after())
        assert head.startswith(b"HTTP/1.1 307 ")
        assert b"\r\nLocation: /\r\n" in head

    def test_chain(self, server: TestServer) -> None:
        server.expect("GET", "/a").respond(text=CONTENT).redirect_chain(2).close_after()
        places = []
        for target in (b"/a", b"/a?hop=1", b"/a?hop=2"):
            peer = RawPeer(server)
            peer.send(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % target)
            answer = peer.rest()
            peer.sock.close()
            places += [line for line in answer.split(b"\r\n") if line.startswith((b"Location", b"0123"))]
        assert places == [b"Location: /a?hop=1", b"Location: /a?hop=2", CONTENT.encode()]


class Streamed(aiohttpd.BaseHTTPRequestHandler):
    async def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        for digit in CONTENT:
            self.wfile.write(digit.encode())
            await self.wfile.drain()


class OldHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "10")
        self.end_headers()
        self.wfile.write(CONTENT.encode())

    def log_message(self, *args: object) -> None:
        pass


class PlainMethod(aiohttpd.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_text(CONTENT)


def wsgi_application(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [CONTENT.encode()]


class Failing(aiohttpd.BaseHTTPRequestHandler):
    async def do_GET(self) -> None:
        self.send_error(404)


class TestAroundApps:
    def test_answers_of_a_handler(self) -> None:
        with TestServer(Faults().truncate(4).around(Streamed)) as server:
            peer = RawPeer(server)
            peer.send(GET)
            head, _, body = peer.rest().partition(b"\r\n\r\n")
            peer.sock.close()
        assert b"Transfer-Encoding: chunked" in head
        assert body == b"1\r\n0"  # bytes on the wire

    def test_chunks_are_taken_apart_where_the_content_changes(self) -> None:
        with TestServer(Faults().mislabelled_gzip().close_after().around(Streamed)) as server:
            peer = RawPeer(server)
            peer.send(GET)
            _, _, body = peer.rest().partition(b"\r\n\r\n")
            peer.sock.close()
        assert body == CONTENT.encode()

    def test_files(self, tmp_path: object) -> None:
        (tmp_path / "a.txt").write_text(CONTENT)  # type: ignore[operator]

        class Site(aiohttpd.SimpleHTTPRequestHandler):
            def __init__(self, *args: object) -> None:
                super().__init__(*args, directory=str(tmp_path))  # type: ignore[arg-type]

        with TestServer(Faults().reset(after=7).around(Site)) as server:
            peer = RawPeer(server)
            peer.send(b"GET /a.txt HTTP/1.1\r\nHost: a\r\n\r\n")
            _, _, body = peer.rest().partition(b"\r\n\r\n")
            peer.sock.close()
        assert body == CONTENT[:7].encode()

    @pytest.mark.parametrize("app", [OldHandler, PlainMethod, aiohttpd.wsgi(wsgi_application)])
    def test_code_in_threads(self, app: Any) -> None:
        with TestServer(Faults().reset(after=4).around(app)) as server:
            peer = RawPeer(server)
            peer.send(GET)
            head, _, body = peer.rest().partition(b"\r\n\r\n")
            peer.sock.close()
        assert b"Content-Length: 10" in head
        assert (body, peer.end) == (CONTENT[:4].encode(), "RST")

    def test_errors_of_a_handler_go_wrong_too(self) -> None:
        with TestServer(Faults().reset(after=0).around(Failing)) as server:
            peer = RawPeer(server)
            peer.send(GET)
            assert peer.rest().startswith(b"HTTP/1.1 404 ")
            assert peer.end == "RST"
            peer.sock.close()

    def test_no_app(self) -> None:
        with pytest.raises(TypeError):
            Faults().around(3)  # type: ignore[arg-type]


def ask_with_tls(server: TestServer) -> tuple[bytes, str]:
    """The end of what comes, and how the connection ends; OpenSSL on a socket says EOF for RST."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context(cafile=server.ca_file)
    tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with socket.create_connection((server.host, server.port), timeout=10) as sock:
        got = b""
        steps: list[Callable[[], object]] = [tls.do_handshake, lambda: tls.write(GET)]
        while True:
            try:
                if steps:
                    steps[0]()
                    del steps[0]
                elif piece := tls.read(65536):
                    got += piece
                else:
                    return got[-5:], "close_notify"
            except ssl.SSLWantReadError:
                if sent := outgoing.read():  # a call with nothing would raise for the RST, before what has come is read
                    sock.sendall(sent)
                try:
                    data = sock.recv(65536)
                except ConnectionResetError:
                    return got[-5:], "RST"
                if not data:
                    return got[-5:], "FIN"
                incoming.write(data)


class TestTLS:
    @pytest.mark.parametrize(
        ("break_it", "seen"),
        [
            (lambda it: it.reset(after=5), (b"01234", "RST")),
            (lambda it: it.truncate(5), (b"01234", "close_notify")),
            (lambda it: it.no_close_notify(), (b"56789", "FIN")),
        ],
    )
    def test_ends(self, break_it: Callable[[Expectation], object], seen: tuple[bytes, str]) -> None:
        with TestServer(tls=True) as server:
            break_it(server.expect("GET", "/").respond(text=CONTENT))
            assert ask_with_tls(server) == seen

    def test_no_close_notify(self) -> None:
        with TestServer(tls=True) as server:
            server.expect("GET", "/").respond(text=CONTENT).no_close_notify()
            context = ssl.create_default_context(cafile=server.ca_file)
            peer = RawPeer(server, context)
            peer.sock.suppress_ragged_eofs = False  # type: ignore[attr-defined]
            peer.send(GET)
            got = b""
            with pytest.raises(ssl.SSLEOFError):
                while True:
                    got += peer.sock.recv(65536)
            assert got.endswith(b"\r\n\r\n" + CONTENT.encode())
            assert b"Content-Length" not in got
            peer.sock.close()

    @pytest.mark.parametrize(
        ("kind", "reason"),
        [("expired", "expired"), ("wrong_name", "match"), ("unknown_authority", "local issuer")],
    )
    def test_certificates_to_be_refused(self, kind: str, reason: str) -> None:
        with TestServer(tls=kind) as server:  # type: ignore[arg-type]
            context = ssl.create_default_context(cafile=server.ca_file)
            with (
                socket.create_connection((server.host, server.port)) as sock,
                pytest.raises(ssl.SSLCertVerificationError, match=reason),
            ):
                context.wrap_socket(sock, server_hostname="localhost")

    def test_reset_in_the_handshake(self) -> None:
        with TestServer(tls="reset") as server:
            context = ssl.create_default_context(cafile=server.ca_file)
            with socket.create_connection((server.host, server.port)) as sock, pytest.raises(ConnectionResetError):
                context.wrap_socket(sock, server_hostname="localhost")

    def test_slow_handshake(self) -> None:
        with TestServer(tls="slow", tls_delay=0.3) as server:
            server.expect("GET", "/").respond(text=CONTENT).close_after()
            begun = time.monotonic()
            peer = RawPeer(server, ssl.create_default_context(cafile=server.ca_file))
            assert time.monotonic() - begun >= 0.25
            peer.send(GET)
            assert peer.rest().endswith(CONTENT.encode())
            peer.sock.close()

    def test_a_slow_handshake_does_not_hold_the_stop_up(self) -> None:
        with TestServer(tls="slow", tls_delay=60) as server:
            with socket.create_connection((server.host, server.port)):
                pass


async def test_nothing_is_left_of_faults() -> None:
    async with TestServer() as server:
        server.expect("GET", "/").respond(text=CONTENT).close_on_reuse()
        server.expect("GET", "/b").never_answer()
        writers = []
        for target in ("/", "/b"):
            reader, writer = await asyncio.open_connection(server.host, server.port)
            writer.write(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            writers.append(writer)
        await reader.read(0)
        await server.arrived(1)
    for writer in writers:
        writer.close()
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}
