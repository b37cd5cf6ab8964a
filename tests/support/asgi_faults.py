"""More rows: what an application does wrong, and extensions."""

import asyncio
import contextlib

from .asgi_rows import ROWS as ROWS
from .asgi_rows import NotClaimed, TableServer, path_of, request, row, same, tells
from .clients import MIB


@row("types", "text for bytes raises: body")
async def row_text_for_body(server: TableServer) -> None:
    await tells(server, "text_for_body")


@row("types", "text for bytes raises: fields")
async def row_text_for_fields(server: TableServer) -> None:
    await tells(server, "text_for_fields")


@row("types", "a head without status raises")
async def row_no_status(server: TableServer) -> None:
    await tells(server, "no_status")


@row("types", "a value with CRLF raises, and leaves nowhere")
async def row_splits(server: TableServer) -> None:
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        assert (await server.ask("splits"))["x-smuggled"] is None, "a field of its own"
    assert "raises" in await server.noted("splits"), "it does not raise"


@row("length", "more than Content-Length raises, and the client gets no more")
async def row_too_long(server: TableServer) -> None:
    await tells(server, "too_long")
    async with server.connected() as client, asyncio.timeout(5):
        await client.send(request(path_of("too_long")))
        got = b""
        with contextlib.suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(0.3):
                while part := await client.reader.read(65536):
                    got += part
        assert b"too long" not in got, f"{got!r} leaves"


@row("length", "more than Content-Length in parts raises")
async def row_too_long_in_pieces(server: TableServer) -> None:
    await tells(server, "too_long_in_pieces")


@row("length", "less than Content-Length raises, and the client can tell")
async def row_too_short(server: TableServer) -> None:
    await tells(server, "too_short")
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        raise AssertionError(f"{(await server.ask('too_short')).body!r} looks whole")


@row("failure", "an exception before the head: 500, and a traceback in the log")
async def row_raises(server: TableServer) -> None:
    before = len(server.log())
    same((await server.ask("raises")).status, 500)
    await asyncio.sleep(0.1)
    assert "failed on purpose" in server.log()[before:], "nothing is logged"


@row("beyond", "an exception after http.response.start, before content: 500")
async def row_raises_after_start(server: TableServer) -> None:
    same((await server.ask("raises_after_start")).status, 500)


@row("failure", "an exception in the middle of content: the client can tell")
async def row_raises_in_stream(server: TableServer) -> None:
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        raise AssertionError(f"{(await server.ask('raises_in_stream')).body!r} looks whole")


@row("failure", "an application that returns without an answer: 500")
async def row_returns(server: TableServer) -> None:
    same((await server.ask("returns")).status, 500)


@row("failure", "an application that returns before the last part: the client can tell")
async def row_returns_in_stream(server: TableServer) -> None:
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        raise AssertionError(f"{(await server.ask('returns_in_stream')).body!r} looks whole")


# Extensions.


async def _claimed(server: TableServer, name: str) -> None:
    if "claimed" not in await server.noted(name):
        raise NotClaimed


@row("extension", "trailers, for who says TE: trailers")
async def row_trailers(server: TableServer) -> None:
    await _claimed(server, "trailers")
    async with server.connected() as client, asyncio.timeout(5):
        await client.send(request(path_of("trailers"), "TE: trailers", "Connection: TE"))
        await client.reader.readuntil(b"\r\n\r\n")
        same(await client.reader.readuntil(b"\r\n\r\n"), b"7\r\ncontent\r\n0\r\nx-sum: 7\r\n\r\n")


@row("extension", "no trailers for others")
async def row_no_trailers(server: TableServer) -> None:
    await _claimed(server, "trailers")
    async with server.connected() as client, asyncio.timeout(5):
        await client.send(request(path_of("trailers")), request(path_of("fields")))
        same((await client.answer()).body, b"content")
        same((await client.answer()).body, b"ok")


@row("extension", "early hints: 103 before the answer")
async def row_hints(server: TableServer) -> None:
    await _claimed(server, "hints")
    async with server.connected() as client, asyncio.timeout(5):
        await client.send(request(path_of("hints")))
        hint = await client.answer()
        same([hint.status, [value for name, value in hint.fields if name.lower() == "link"]],
             [103, ["</a.css>; rel=preload", "</b.js>; rel=preload"]])  # fmt: skip
        same((await client.answer()).body, b"ok")


@row("extension", "pathsend: all of a file")
async def row_sends_path(server: TableServer) -> None:
    await _claimed(server, "sends_path")
    same((await server.ask("sends_path")).body, b"x" * MIB)


@row("extension", "zerocopysend: a part of a file among other content")
async def row_sends_descriptor(server: TableServer) -> None:
    await _claimed(server, "sends_descriptor")
    same((await server.ask("sends_descriptor")).body, b"5678901234!!")


@row("extension", "zerocopysend: without an offset, on from the position of the file; without a count, to its end")
async def row_sends_rest(server: TableServer) -> None:
    await _claimed(server, "sends_rest")
    same((await server.ask("sends_rest")).body, b"23456789")
