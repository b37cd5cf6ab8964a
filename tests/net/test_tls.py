"""TLS: handshakes that fail or are under way when the server stops; certificates of clients; new certificates."""

import asyncio
import contextlib
import logging
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from aiohttpd import HTTPServer, Request, StreamWriter
from aiohttpd.engine.connection import HTTPConnection
from aiohttpd.engine.handshake import TLSHandshake
from aiohttpd.errors import TLSError
from aiohttpd.net.tls import Certificates
from aiohttpd.testing import running

from ..support.clients import Client, answer_with, connected, echo_body, echo_path, get, post
from ..support.commands import HELLO, command
from ..support.loops import on_both_loops
from ..support.waiting import until


@dataclass
class Authority:
    """Who signs, with one certificate after the other in the files of a server."""

    ca: trustme.CA
    folder: Path

    def issue(self) -> Certificates:
        """Write another certificate into the files."""
        issued = self.ca.issue_cert("localhost", "127.0.0.1")
        issued.private_key_pem.write_to_path(self.folder / "key.pem")
        issued.cert_chain_pems[0].write_to_path(self.folder / "cert.pem")
        return Certificates(str(self.folder / "cert.pem"), str(self.folder / "key.pem"))

    def issue_for_a_client(self) -> Path:
        path = self.folder / "client.pem"
        self.ca.issue_cert("someone@example.org").private_key_and_cert_chain_pem.write_to_path(path)
        return path

    def trusting(self) -> ssl.SSLContext:
        """The context of a client."""
        context = ssl.create_default_context()
        self.ca.configure_trust(context)
        return context

    @property
    def file(self) -> str:
        path = self.folder / "ca.pem"
        self.ca.cert_pem.write_to_path(path)
        return str(path)


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def authority(ca: trustme.CA, tmp_path: Path) -> Authority:
    return Authority(ca, tmp_path)


def handshakes(server: HTTPServer) -> int:
    """How many are under way."""
    assert server._context is not None
    return len(server._context.registry.handshakes)


def certificate_of(client: Client) -> bytes:
    """What the server has shown."""
    found = client.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    assert isinstance(found, bytes)
    return found


@asynccontextmanager
async def reached(server: HTTPServer) -> AsyncIterator[socket.socket]:
    """A client that has connected and says nothing yet; the server knows of it."""
    before = handshakes(server)
    with socket.create_connection(server.server_address) as sock:
        sock.setblocking(False)
        await until(lambda: handshakes(server) > before)
        yield sock


@asynccontextmanager
async def agreed(sock: socket.socket, context: ssl.SSLContext) -> AsyncIterator[Client]:
    """Do the handshake on a connection that is there."""
    client = Client(*await asyncio.open_connection(sock=sock, ssl=context, server_hostname="localhost"))
    try:
        yield client
    finally:
        client.writer.transport.abort()


async def some(reader: asyncio.StreamReader) -> bytes:
    data = await reader.read(65536)
    if not data:
        raise ConnectionResetError
    return data


class InMemory:
    """A client whose bytes are in our hands."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")

    async def shake_hands(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Until only our last flight has to be sent."""
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                writer.write(self.outgoing.read())
                self.incoming.write(await some(reader))
            else:
                return

    async def read(self, reader: asyncio.StreamReader) -> bytes:
        while True:
            try:
                return self.tls.read(65536)
            except ssl.SSLWantReadError:
                self.incoming.write(await some(reader))


# Handshakes.


@on_both_loops
async def test_a_request_that_comes_with_the_end_of_the_handshake(authority: Authority) -> None:
    async with running(echo_path, ssl=authority.issue().context()) as server:
        reader, writer = await asyncio.open_connection(*server.server_address)
        client = InMemory(authority.trusting())
        await client.shake_hands(reader, writer)
        client.tls.write(get("/one") + get("/two"))
        writer.write(client.outgoing.read())
        text = await client.read(reader)
        while not text.endswith(b"/two"):
            text += await client.read(reader)
        assert text.count(b"/one") == 1
        writer.close()


@on_both_loops
async def test_a_handshake_in_small_pieces(authority: Authority) -> None:
    async with running(echo_body, ssl=authority.issue().context()) as server:
        reader, writer = await asyncio.open_connection(*server.server_address)
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client = InMemory(authority.trusting())
        with pytest.raises(ssl.SSLWantReadError):
            client.tls.do_handshake()
        hello = client.outgoing.read()
        for start in range(0, len(hello), 37):
            writer.write(hello[start : start + 37])
            await asyncio.sleep(0)
        client.incoming.write(await some(reader))
        await client.shake_hands(reader, writer)
        client.tls.write(post(70_000) + b"x" * 70_000)
        writer.write(client.outgoing.read())
        text = b""
        while not text.endswith(b"x" * 70_000):
            text += await client.read(reader)
        writer.close()


@on_both_loops
async def test_who_does_not_speak_tls(authority: Authority, caplog: pytest.LogCaptureFixture) -> None:
    """They are dropped, and others are served; logged is only who may not know that it wants TLS."""
    caplog.set_level(logging.INFO, "aiohttpd")
    context = authority.issue().context()
    async with running(echo_path, ssl=context) as server:
        for said in (get(), b"SSH-2.0-x\r\n", b"\x16\x03\x01\xff\xff" + b"\0" * 9):
            async with reached(server) as sock:
                loop = asyncio.get_running_loop()
                await loop.sock_sendall(sock, said)
                if said[0] == 0x16:
                    sock.shutdown(socket.SHUT_WR)
                with pytest.raises((ConnectionResetError, StopAsyncIteration)):
                    while await loop.sock_recv(sock, 1000):  # perhaps what is wrong with it
                        pass
                    raise StopAsyncIteration
            await until(lambda: handshakes(server) == 0)
        [line] = caplog.messages
        assert re.fullmatch(r"127\.0\.0\.1 - - \[[^]]+\] HTTP without TLS, where URLs begin with https://", line)
        async with reached(server) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            sock.close()
            async with connected(server, tls=authority.trusting()) as client:
                assert (await client.ask("/here")).body == b"/here"
        await server.shutdown(0)
        assert not handshakes(server)


@on_both_loops
async def test_an_old_version(authority: Authority) -> None:
    old = authority.trusting()
    old.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    old.set_ciphers("DEFAULT:@SECLEVEL=0")
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    async with running(echo_path, ssl=authority.issue().context()) as server:
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            async with connected(server, tls=old):
                pass


def test_a_client_cannot_begin_another_handshake(authority: Authority) -> None:
    # OpenSSL 3 refuses it without the option, too; 1.1.1 does not.
    assert authority.issue().context().options & ssl.OP_NO_RENEGOTIATION


@on_both_loops
async def test_what_is_agreed_on(authority: Authority) -> None:
    async with running(echo_path, ssl=authority.issue().context()) as server:
        offering = authority.trusting()
        offering.set_alpn_protocols(["h2", "http/1.1"])
        async with connected(server, tls=offering) as client:
            tls = client.writer.get_extra_info("ssl_object")
            assert (tls.selected_alpn_protocol(), tls.version()) == ("http/1.1", "TLSv1.3")


# Stopping.


@on_both_loops
async def test_a_handshake_under_way_is_waited_for(authority: Authority) -> None:
    options = {"timeout_drain_idle": 60, "timeout_grace": 60}
    async with running(echo_path, ssl=authority.issue().context(), **options) as server, reached(server) as sock:
        stopping = asyncio.create_task(server.shutdown())
        await until(lambda: server.sockets[0].fileno() < 0)
        async with agreed(sock, authority.trusting()) as client:
            answer = await client.ask("/here")
            assert (answer.body, answer["Connection"]) == (b"/here", "close")
        await stopping


@on_both_loops
async def test_but_not_for_longer_than_an_idle_connection(authority: Authority) -> None:
    options = {"timeout_drain_idle": 0.05, "timeout_grace": 60}
    async with running(echo_path, ssl=authority.issue().context(), **options) as server, reached(server) as sock:
        await server.shutdown()
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.get_running_loop().sock_recv(sock, 1) == b""


@on_both_loops
async def test_and_not_at_all_in_a_hurry(authority: Authority) -> None:
    options = {"timeout_drain_idle": 60, "timeout_grace": 60}
    async with running(echo_path, ssl=authority.issue().context(), **options) as server:
        async with reached(server), reached(server) as late:
            stopping = asyncio.create_task(server.shutdown())
            await until(lambda: server.sockets[0].fileno() < 0)
            assert not stopping.done()
            await server.shutdown(0)
            await stopping
            assert handshakes(server) == 0
            with contextlib.suppress(ConnectionResetError):
                assert await asyncio.get_running_loop().sock_recv(late, 1) == b""


# Certificates of clients.


@on_both_loops
async def test_only_who_has_a_certificate_gets_in(authority: Authority) -> None:
    names: list[object] = []

    async def app(request: Request, response: StreamWriter) -> None:
        names.append(response.get_extra_info("peercert")["subjectAltName"])
        response.send_head(200)

    files = authority.issue()
    context = Certificates(files.certificate, files.key, authority=authority.file).context()
    known, stranger, nobody = (authority.trusting() for _ in range(3))
    known.load_cert_chain(authority.issue_for_a_client())
    trustme.CA().issue_cert("someone@example.org").configure_cert(stranger)
    async with running(app, ssl=context) as server:
        async with connected(server, tls=known) as client:
            assert (await client.ask()).status == 200
        for other in (stranger, nobody):
            with pytest.raises((ssl.SSLError, ConnectionResetError, asyncio.IncompleteReadError)):
                async with connected(server, tls=other) as client:
                    await client.ask()  # TLS 1.3 tells only now
    assert names == [(("email", "someone@example.org"),)]


@pytest.mark.parametrize(
    ("text", "why"), [(None, "cannot read .*ca.pem: No such file"), ("nothing", "does not hold certificates in PEM")]
)
def test_no_authority(authority: Authority, tmp_path: Path, text: str | None, why: str) -> None:
    files = authority.issue()
    if text is not None:
        (tmp_path / "ca.pem").write_text(text)
    with pytest.raises(TLSError, match=why):
        Certificates(files.certificate, files.key, authority=str(tmp_path / "ca.pem")).context()


# New certificates.


@on_both_loops
async def test_another_context_is_for_connections_to_come(authority: Authority) -> None:
    files = authority.issue()
    async with running(echo_path, ssl=files.context()) as server:
        trusting = authority.trusting()
        async with reached(server) as sock, connected(server, tls=trusting) as old:
            before = certificate_of(old)
            authority.issue()
            server.use_ssl(files.context())
            async with agreed(sock, trusting) as under_way, connected(server, tls=trusting) as new:
                assert certificate_of(under_way) == before
                assert certificate_of(new) != before
                for client in (old, under_way, new):
                    assert (await client.ask("/here")).body == b"/here"


@on_both_loops
async def test_certificates_change_under_load(authority: Authority) -> None:
    """Connections come all the time, and none is lost."""
    files, shown, ends = authority.issue(), set(), asyncio.Event()
    async with running(echo_path, ssl=files.context()) as server:
        trusting = authority.trusting()

        async def ask() -> None:
            while not ends.is_set():
                async with connected(server, tls=trusting) as client:
                    shown.add(certificate_of(client))
                    assert (await client.ask("/here")).body == b"/here"

        async with asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(ask())
            for number in range(1, 5):
                await until(lambda: len(shown) == number, 10)  # noqa: B023
                authority.issue()
                server.use_ssl(files.context())
            ends.set()


class Greeted(asyncio.Protocol):
    """Something that comes before TLS on a connection, as the PROXY protocol does."""

    def __init__(self, server: HTTPServer, context: ssl.SSLContext) -> None:
        assert server._context is not None
        self.context = server._context
        self.handshake = TLSHandshake(self.context, context, lambda: HTTPConnection(self.context))
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data
        greeting, end, rest = self.received.partition(b"\r\n")
        if end:
            assert greeting == b"hello"
            self.transport.set_protocol(self.handshake)
            self.handshake.connection_made(self.transport)
            if rest:
                self.handshake.data_received(rest)


@pytest.mark.parametrize("together", [False, True])
@on_both_loops
async def test_something_else_may_come_first(authority: Authority, together: bool) -> None:
    async with running(echo_path) as server:
        context = authority.issue().context()
        loop = asyncio.get_running_loop()
        front = await loop.create_server(lambda: Greeted(server, context), "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*front.sockets[0].getsockname())
        client = InMemory(authority.trusting())
        with pytest.raises(ssl.SSLWantReadError):
            client.tls.do_handshake()
        hello = client.outgoing.read()
        for piece in [b"hello\r\n" + hello] if together else [b"hel", b"lo\r\n" + hello[:100], hello[100:]]:
            writer.write(piece)
            await asyncio.sleep(0.01)  # most likely they come one by one
        client.incoming.write(await some(reader))
        await client.shake_hands(reader, writer)
        client.tls.write(get("/here"))
        writer.write(client.outgoing.read())
        assert (await client.read(reader)).endswith(b"/here")
        writer.close()
        front.close()


async def test_a_server_without_tls_does_not_get_it_later(authority: Authority) -> None:
    async with running(answer_with("plain")) as server:
        with pytest.raises(RuntimeError, match="made without TLS"):
            server.use_ssl(authority.issue().context())


@contextmanager
def serving_in_tls(folder: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A server as a program, and its port."""
    (folder / "hello.py").write_text(HELLO)
    (folder / "neighbour.py").write_text("WORD = b'Hello!'\n")
    process = subprocess.Popen(
        command("serve", "hello:Hello", "-p", "0", "--no-access-log", *arguments),
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        match = re.match(r"Serving on https://127.0.0.1:(\d+)/", process.stderr.readline())
        assert match
        yield process, int(match[1])
    finally:
        process.kill()
        process.communicate()


def greeted(port: int, context: ssl.SSLContext) -> tuple[ssl.SSLSocket, bytes]:
    """Connect and ask; returns the connection, which persists, and the certificate that was shown."""
    sock = context.wrap_socket(socket.create_connection(("127.0.0.1", port), 10), server_hostname="localhost")
    try:
        ask_again(sock)
    except OSError:
        sock.close()
        raise
    shown = sock.getpeercert(binary_form=True)
    assert shown is not None
    return sock, shown


def ask_again(sock: ssl.SSLSocket) -> None:
    sock.sendall(get())
    text = b""
    while not text.endswith(b"Hello!"):
        piece = sock.recv(4096)
        if not piece:
            raise ConnectionResetError
        text += piece


def test_sighup_reads_the_files_again(authority: Authority) -> None:
    folder, trusting = authority.folder, authority.trusting()
    authority.issue()
    with serving_in_tls(folder, "--tls-cert", "cert.pem", "--tls-key", "key.pem") as (process, port):
        assert process.stderr is not None
        first, old = greeted(port, trusting)
        authority.issue()
        process.send_signal(signal.SIGHUP)
        assert process.stderr.readline() == "cert.pem has been read again\n"
        second, new = greeted(port, trusting)
        assert new != old
        # What is wrong with the files is told, and the server has not changed.
        shutil.copy(folder / "key.pem", folder / "right")
        trustme.CA().issue_cert("localhost").private_key_pem.write_to_path(folder / "key.pem")
        process.send_signal(signal.SIGHUP)
        assert process.stderr.readline() == "The old certificate stays in use: key.pem is not the key of cert.pem\n"
        third, same = greeted(port, trusting)
        assert same == new
        os.unlink(folder / "cert.pem")
        process.send_signal(signal.SIGHUP)
        assert "cannot read cert.pem: No such file or directory" in process.stderr.readline()
        for sock in (first, second, third):
            ask_again(sock)
            sock.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def test_the_command_wants_certificates(authority: Authority) -> None:
    authority.issue()
    known, nobody = authority.trusting(), authority.trusting()
    known.load_cert_chain(authority.issue_for_a_client())
    arguments = ("--tls-cert", "cert.pem", "--tls-key", "key.pem", "--tls-ca", authority.file)
    with serving_in_tls(authority.folder, *arguments) as (_, port):
        greeted(port, known)[0].close()
        with pytest.raises((ssl.SSLError, ConnectionError)):  # an end of TLS, or of the connection, as it happens
            greeted(port, nobody)
