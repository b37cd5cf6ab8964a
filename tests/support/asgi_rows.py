"""What the specification of ASGI says, as rows of a table: each asks a server, and says how that deviates.

A row passes, raises `AssertionError` with the deviation, or `NotClaimed` for an extension that a server does not say it
has. The applications are those of `asgi_applications`.
"""

import asyncio
import contextlib
import itertools
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NamedTuple

from .clients import BLOCK, LAST_CHUNK, MIB, Client, chunk
from .wire import Response

_numbers = itertools.count()
_QUIET = 0.3  # seconds in which nothing happens that should not


class NotClaimed(Exception):
    """The server does not say that it has this extension."""


class TableServer:
    """A server that serves `asgi_applications.app`.

    Args:
        host: where it is.
        port: where it is.
        log: what it has said on stderr so far.
    """

    def __init__(self, host: str, port: int, log: Callable[[], str] = lambda: "") -> None:
        self.host, self.port, self.log = host, port, log

    @contextlib.asynccontextmanager
    async def connected(self, *, window: int = 0) -> AsyncIterator[Client]:
        sock = socket.socket()
        sock.setblocking(False)
        if window:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        try:
            await asyncio.get_running_loop().sock_connect(sock, (self.host, self.port))
        except BaseException:
            sock.close()
            raise
        client = Client(*await asyncio.open_connection(sock=sock, limit=window or BLOCK))
        try:
            yield client
        finally:
            client.writer.transport.abort()

    async def seen(self, path: str, *, end: bool = True) -> list[Any]:
        """What the application has noted under a path, once it has ended."""
        found: list[Any] = []

        async def look() -> list[Any]:
            nonlocal found
            async with self.connected() as client:
                await client.send(request("/seen" + path))
                found = json.loads((await client.answer()).body)
            return found

        async with asyncio.timeout(5):
            while "end" not in await look():
                if not end and found:
                    break
                await asyncio.sleep(0.02)
        return [each for each in found if each != "end"]

    async def ask(
        self, name: str, *lines: str, method: str = "GET", body: bytes = b"", version: str = "1.1"
    ) -> Response:
        """One request and its answer, on a connection of its own."""
        async with self.connected() as client, asyncio.timeout(5):
            await client.send(request(path_of(name), *lines, method=method, version=version), body)
            return await client.answer(method)

    async def noted(self, name: str, *lines: str, method: str = "GET", body: bytes = b"") -> list[Any]:
        """One request, and what the application has noted of it."""
        path = path_of(name)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            async with self.connected() as client, asyncio.timeout(5):
                await client.send(request(path, *lines, method=method), body)
                await client.answer(method)
        return await self.seen(path)

    async def scope(self, target: str = "", *lines: str, method: str = "GET", version: str = "1.1") -> dict[str, Any]:
        """The scope that an application gets; the query is there to tell requests apart."""
        number = next(_numbers)
        path = f"/scope/{number}"
        async with self.connected() as client, asyncio.timeout(5):
            await client.send(request(path + target, *lines, method=method, version=version))
            await client.answer(method)
        found: dict[str, Any] = (await self.seen(path + target.partition("?")[0]))[0]
        return found


async def require(server: TableServer, spec_version: str) -> None:
    """Leave a row out that is for a later version of the specification."""
    if (await server.scope())["asgi"].get("spec_version", "2.0") < spec_version:
        raise NotClaimed


def path_of(name: str) -> str:
    """A path of its own for each request."""
    return f"/{name}/{next(_numbers)}"


def request(path: str, *lines: str, method: str = "GET", version: str = "1.1") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/{version}", "Host: localhost", *lines, "", ""]).encode("latin-1")


class TableRow(NamedTuple):
    name: str
    section: str
    check: Callable[[TableServer], Awaitable[None]]


ROWS: list[TableRow] = []


def row(section: str, name: str) -> Any:
    def add(check: Callable[[TableServer], Awaitable[None]]) -> Callable[[TableServer], Awaitable[None]]:
        ROWS.append(TableRow(name, section, check))
        return check

    return add


def same(found: Any, expected: Any) -> None:
    assert found == expected, f"{found!r} instead of {expected!r}"


# Scopes.


@row("scope", "type, asgi.version 3.0, spec_version from 2.0 on")
async def row_versions(server: TableServer) -> None:
    scope = await server.scope()
    same(scope["type"], "http")
    same(scope["asgi"]["version"], "3.0")
    assert scope["asgi"].get("spec_version", "2.0") in ("2.0", "2.1", "2.2", "2.3", "2.4", "2.5")


@row("scope", "http_version, scheme, root_path, method")
async def row_words(server: TableServer) -> None:
    scope = await server.scope(method="DELETE")
    same([scope["http_version"], scope.get("scheme", "http"), scope.get("root_path", "")], ["1.1", "http", ""])
    same([scope["method"], (await server.scope(version="1.0"))["http_version"]], ["DELETE", "1.0"])


@row("scope", "path is decoded, once; UTF-8")
async def row_path(server: TableServer) -> None:
    assert (await server.scope("/%C3%A9%2F%25"))["path"].endswith("/é/%"), "another path"


@row("scope", "raw_path is what was sent")
async def row_raw_path(server: TableServer) -> None:
    assert ((await server.scope("/%C3%A9%2F%25")).get("raw_path") or "").endswith("/%C3%A9%2F%25"), "another raw_path"


@row("scope", "query_string: bytes, not decoded")
async def row_query(server: TableServer) -> None:
    same((await server.scope("/a%20b?x=%20&y"))["query_string"], "x=%20&y")


@row("scope", "headers: names in lower case, order and duplicates kept")
async def row_headers(server: TableServer) -> None:
    scope = await server.scope("", "X-B: 2", "X-A: 1", "X-b: 3", "Cookie: a=1", "Cookie: b=2")
    same(
        [pair for pair in scope["headers"] if pair[0][0] in "xc"],
        [["x-b", "2"], ["x-a", "1"], ["x-b", "3"], ["cookie", "a=1"], ["cookie", "b=2"]],
    )


@row("scope", "headers: bytes of values as they came")
async def row_odd_values(server: TableServer) -> None:
    scope = await server.scope("", "X-Odd: \xe9 \xff")
    same([value for name, value in scope["headers"] if name == "x-odd"], ["\xe9 \xff"])


@row("scope", "client and server are the addresses of the socket")
async def row_addresses(server: TableServer) -> None:
    number = f"/scope/{next(_numbers)}"
    async with server.connected() as client:
        own = client.writer.get_extra_info("sockname")
        await client.send(request(number))
        await client.answer()
    scope = (await server.seen(number))[0]
    same([scope["client"], scope["server"]], [list(own[:2]), [server.host, server.port]])


@row("scope", "a scope belongs to one request")
async def row_own_scope(server: TableServer) -> None:
    paths = [f"/scope/{next(_numbers)}" for _ in range(2)]
    async with server.connected() as client:
        for each in paths:
            await client.send(request(each))
            await client.answer()
    scope = (await server.seen(paths[1]))[0]
    assert "x-mine" not in dict(scope["headers"]), "it has what the one before has added"
    assert "mine" not in scope.get("state", {}), "its state has what the one before has set"


@row("scope", "the extension tls is not claimed without TLS")
async def row_no_tls(server: TableServer) -> None:
    assert "tls" not in (await server.scope()).get("extensions", {})


# Requests.


@row("request", "no body: one message, empty, the last")
async def row_empty_body(server: TableServer) -> None:
    same(await server.noted("reads"), [["http.request", 0, False]])


@row("request", "Content-Length: 0 is no body")
async def row_length_zero(server: TableServer) -> None:
    same(await server.noted("reads", "Content-Length: 0", method="POST"), [["http.request", 0, False]])


@row("request", "a body by its length")
async def row_length(server: TableServer) -> None:
    answer = await server.ask("reads", "Content-Length: 5", method="POST", body=b"12345")
    same(answer.body, b"5")


@row("request", "a chunked body is decoded")
async def row_chunked(server: TableServer) -> None:
    body = chunk(b"123") + chunk(b"4567") + LAST_CHUNK
    same((await server.ask("reads", "Transfer-Encoding: chunked", method="POST", body=body)).body, b"7")


@row("request", "a large body comes in parts, more_body until the last")
async def row_large_body(server: TableServer) -> None:
    seen = await server.noted("reads", f"Content-Length: {4 * MIB}", method="POST", body=bytes(4 * MIB))
    same(sum(size for _, size, _ in seen), 4 * MIB)
    assert len(seen) > 1, "in one message"
    same([more for *_, more in seen], [True] * (len(seen) - 1) + [False])


@row("request", "a part comes before the whole has been sent")
async def row_early_part(server: TableServer) -> None:
    path = path_of("reads")
    async with server.connected() as client:
        await client.send(request(path, "Content-Length: 10", method="POST"), b"first")
        same(await server.seen(path, end=False), [["http.request", 5, True]])
        await client.send(b"after")
        same((await client.answer()).body, b"10")


@row("request", "back-pressure: who does not read is not sent everything (bytes taken of 64 MiB)")
async def row_pressure_of_bodies(server: TableServer) -> None:
    taken = 0
    async with server.connected() as client:
        client.writer.transport.set_write_buffer_limits(0)
        await client.send(request(path_of("reads_slowly"), f"Content-Length: {64 * MIB}", method="POST"))
        with contextlib.suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(0.8):
                for _ in range(64 * 4):
                    await client.send(bytes(MIB // 4))
                    taken += MIB // 4
    assert taken < 24 * MIB, f"{taken // MIB} MiB were taken"


@row("request", "100 (Continue) when the application reads, and only then")
async def row_expect(server: TableServer) -> None:
    async with server.connected() as client, asyncio.timeout(5):
        await client.send(request(path_of("reads"), "Content-Length: 2", "Expect: 100-continue", method="POST"))
        same((await client.answer()).status, 100)
        await client.send(b"ab")
        same((await client.answer()).body, b"2")
    answer = await server.ask("reads_nothing", "Content-Length: 2", "Expect: 100-continue", method="POST")
    same(answer.status, 200)


# The client goes.


@row("disconnect", "receive() after the answer: http.disconnect")
async def row_after_complete(server: TableServer) -> None:
    same((await server.noted("after_complete"))[-1], ["http.disconnect", 0, False])


@row("disconnect", "a receive() that waits ends with the answer, and not before")
async def row_pending(server: TableServer) -> None:
    same((await server.noted("pending"))[1:], ["still waits", ["http.disconnect", 0, False]])


async def _gone(server: TableServer, name: str, leave: Callable[[Client], None], mark: str = "waits") -> list[Any]:
    path = path_of(name)
    async with server.connected() as client:
        await client.send(request(path))
        async with asyncio.timeout(5):
            while mark not in await server.seen(path, end=False):
                await asyncio.sleep(0.01)
        await asyncio.sleep(_QUIET)
        same((await server.seen(path, end=False))[-1], mark)  # it has not been told before
        leave(client)
        return await server.seen(path)


@row("disconnect", "the client closes: http.disconnect at once, not before")
async def row_closes(server: TableServer) -> None:
    same((await _gone(server, "waits", Client.close))[-1], ["http.disconnect", 0, False])


@row("disconnect", "the client resets: http.disconnect at once")
async def row_resets(server: TableServer) -> None:
    same((await _gone(server, "waits", Client.reset))[-1], ["http.disconnect", 0, False])


@row("beyond", "the client goes: the application is not cancelled")
async def row_not_cancelled(server: TableServer) -> None:
    same((await _gone(server, "sleeps", Client.reset, "sleeps"))[-1], "slept")


@row("disconnect", "the client goes in the middle of its body: http.disconnect")
async def row_in_body(server: TableServer) -> None:
    path = path_of("reads_until_gone")
    async with server.connected() as client:
        await client.send(request(path, "Content-Length: 100", method="POST"), b"part")
        await server.seen(path, end=False)
        client.reset()
        same((await server.seen(path))[-1], ["http.disconnect", 0, False])


@row("disconnect", "send() to a client that has gone raises an OSError (2.4)")
async def row_send_raises(server: TableServer) -> None:
    await require(server, "2.4")
    path = path_of("waits_in_stream")
    async with server.connected() as client:
        await client.send(request(path))
        await client.reader.readuntil(b"first")
        client.reset()
        same((await server.seen(path))[-1], "OSError")


@row("disconnect", "that OSError is not logged when it leaves the application")
async def row_quiet(server: TableServer) -> None:
    await require(server, "2.4")
    path = path_of("sends_until_gone")
    before = len(server.log())
    async with server.connected() as client:
        await client.send(request(path))
        await client.reader.readexactly(1000)
        client.reset()
        try:
            await server.seen(path)
        except TimeoutError:
            raise AssertionError("the application is never told") from None
    await asyncio.sleep(_QUIET)
    assert "Traceback" not in server.log()[before:], "a traceback is logged"


# Answers.


@row("beyond", "nothing leaves before the first http.response.body, so that an error can take its place")
async def row_only_start(server: TableServer) -> None:
    async with server.connected() as client:
        await client.send(request(path_of("only_start")))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.2):
                raise AssertionError(f"{await client.reader.read(1)!r} leaves")
        same([(answer := await client.answer()).status, answer.body], [202, b"late"])


@row("answer", "fields: order and duplicates kept, bytes of values as they are")
async def row_order_of_fields(server: TableServer) -> None:
    answer = await server.ask("fields")
    same(
        [(name.lower(), value) for name, value in answer.fields if name.lower()[:3] in ("x-f", "x-s", "set")],
        [("x-first", "1"), ("set-cookie", "a=1"), ("x-second", "\xe9"), ("set-cookie", "b=2")],
    )


@row("answer", "headers may be any iterable of pairs")
async def row_iterable(server: TableServer) -> None:
    answer = await server.ask("generator_of_fields")
    same([answer["x-a"], answer["x-b"], answer.body], ["1", "1", b"ok"])


@row("answer", "body and more_body are optional")
async def row_nothing(server: TableServer) -> None:
    answer = await server.ask("nothing")
    same([answer.status, answer.body], [200, b""])


@row("answer", "each part leaves when it is sent")
async def row_streams(server: TableServer) -> None:
    async with server.connected() as client, asyncio.timeout(5):
        await client.send(request(path_of("streams_parts")))
        head = await client.reader.readuntil(b"\r\n\r\n")
        assert b"chunked" in head.lower()
        async with asyncio.timeout(0.14):
            await client.reader.readuntil(b"one\r\n")
        same((await client.reader.readuntil(b"0\r\n\r\n")).count(b"\r\n"), 6)


@row("answer", "parts up to a Content-Length")
async def row_in_pieces(server: TableServer) -> None:
    same((await server.ask("in_pieces")).body, b"onetwo")


@row("answer", "HEAD: no content, the fields of GET")
async def row_to_head(server: TableServer) -> None:
    async with server.connected() as client, asyncio.timeout(5):
        await client.send(request(path_of("fields"), method="HEAD"))
        answer = await client.answer("HEAD")
        same([answer.status, answer["Content-Length"]], [200, "2"])
        await client.send(request(path_of("fields")))
        same((await client.answer()).body, b"ok")


@row("answer", "HEAD: an application that streams is not disturbed")
async def row_to_head_streamed(server: TableServer) -> None:
    same(await server.noted("in_pieces", method="HEAD"), ["nothing", "nothing", ["nothing", "nothing"]])


@row("answer", "204 has no content and no length")
async def row_no_content(server: TableServer) -> None:
    async with server.connected() as client, asyncio.timeout(5):
        await client.send(request(path_of("no_content")), request(path_of("fields")))
        answer = await client.answer()
        same([answer.status, answer["Content-Length"], answer["Transfer-Encoding"]], [204, None, None])
        same((await client.answer()).status, 200)


@row("answer", "304 has no content")
async def row_not_modified(server: TableServer) -> None:
    async with server.connected() as client, asyncio.timeout(5):
        await client.send(request(path_of("not_modified")), request(path_of("fields")))
        same([(await client.answer()).status, (await client.answer()).status], [304, 200])


@row("answer", "any status")
async def row_teapot(server: TableServer) -> None:
    same((await server.ask("teapot")).status, 599)


@row("answer", "Transfer-Encoding of the application is ignored")
async def row_chunks_itself(server: TableServer) -> None:
    same((await server.ask("chunks_itself")).body, b"not a chunk")


@row("answer", "HTTP/1.0: streamed without chunks, ended by closing")
async def row_old_client(server: TableServer) -> None:
    async with server.connected() as client, asyncio.timeout(5):
        await client.send(request(path_of("streams_parts"), version="1.0"))
        got = await client.rest()
        assert b"transfer-encoding" not in got.lower(), "chunked"
        same(got.partition(b"\r\n\r\n")[2], b"onetwothree")


@row("answer", "back-pressure: send() waits for a client that does not read (MiB taken of 64)")
async def row_pressure_of_answers(server: TableServer) -> None:
    path = path_of("floods")
    async with server.connected(window=16384) as client:
        await client.send(request(path))
        await asyncio.sleep(0.8)
        [taken] = await server.seen(path, end=False)
        client.reset()
    assert taken < 24, f"{taken} MiB were taken"


@row("answer", "a connection goes on; pipelined requests in their order")
async def row_pipelined(server: TableServer) -> None:
    async with server.connected() as client, asyncio.timeout(5):
        await client.send(*[request(path_of("reads"), "Content-Length: 1", method="POST") + b"x" for _ in range(3)])
        same([(await client.answer()).body for _ in range(3)], [b"1"] * 3)


@row("answer", "work after the last message: the client has its answer at once, and the next one")
async def row_goes_on(server: TableServer) -> None:
    path = path_of("goes_on")
    async with server.connected() as client, asyncio.timeout(5):
        async with asyncio.timeout(0.7):
            await client.send(request(path))
            same((await client.answer()).body, b"all of it")
            await client.send(request(path_of("fields")))
            same((await client.answer()).body, b"ok")
        same(await server.seen(path), ["background done"])


@row("answer", "work after the last message: a connection that is to be closed is")
async def row_goes_on_closed(server: TableServer) -> None:
    async with server.connected() as client, asyncio.timeout(0.7):
        await client.send(request(path_of("goes_on") + "?close"))
        assert (await client.rest()).endswith(b"all of it")


@row("answer", "a failure after the last message changes nothing for the client")
async def row_fails_afterwards(server: TableServer) -> None:
    same((await server.ask("fails_afterwards")).body, b"all of it")


# Wrong order, wrong types, failures.


async def tells(server: TableServer, name: str) -> None:
    """The application gets an exception with a text out of its call."""
    same((await server.noted(name))[:1], ["raises"])


@row("order", "a body before the head raises")
async def row_body_first(server: TableServer) -> None:
    await tells(server, "body_first")


@row("order", "a second head raises")
async def row_start_twice(server: TableServer) -> None:
    await tells(server, "start_twice")


@row("order", "a message of an unknown type raises")
async def row_unknown(server: TableServer) -> None:
    await tells(server, "unknown")


@row("order", "what follows the last message is ignored, as the specification says")
async def row_after_the_end(server: TableServer) -> None:
    same(await server.noted("after_the_end"), ["nothing"])
