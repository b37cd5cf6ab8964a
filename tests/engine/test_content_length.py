"""Responses whose handler sets Content-Length, as those of http.server do: the bytes, and what is refused."""

import itertools

import pytest

from aiohttpd import ContractError, Request, StreamWriter
from aiohttpd.testing import running

from ..support.clients import connected, expect_logged, head
from ..support.wire import drive, split, undated

BUFFER = 64 * 1024
SIZES = (0, 1, 5, BUFFER - 1, BUFFER, BUFFER + 1, 3 * BUFFER)


@pytest.mark.parametrize(
    ("method", "status", "at_once", "drains"),
    list(itertools.product(["GET", "POST", "DELETE"], [200, 201, 404], [True, False], [True, False])),
)
async def test_the_whole_content_arrives(method: str, status: int, *, at_once: bool, drains: bool) -> None:
    async def app(request: Request, response: StreamWriter) -> None:
        size = int(request.path[1:])
        content = b"0123456789"[:size] if size < 10 else bytes(size)
        response.send_head(status, [("Content-Type", "text/plain"), ("Content-Length", str(size))])
        for piece in (content,) if at_once else (content[:1], b"", content[1:]):
            response.write(piece)
            if drains:
                await response.drain()

    async with running(app) as server, connected(server) as client:
        for size in SIZES:
            await client.send(head(method, f"/{size}"))
            answer = await client.answer()
            assert (answer.status, len(answer.body)) == (status, size)
            assert answer["Content-Length"] == str(size)
            assert answer["Transfer-Encoding"] is None


@pytest.mark.parametrize("piece", [1000, BUFFER, BUFFER + 1, 4 * BUFFER])
async def test_the_head_to_head_is_that_to_get(piece: int) -> None:
    """RFC 9110 section 9.3.2. It is sent as early, too: content of a HEAD is not counted without end."""
    heads: dict[str, list[object]] = {"GET": [], "HEAD": []}
    begun: dict[str, list[bool]] = {"GET": [], "HEAD": []}

    async def app(request: Request, response: StreamWriter) -> None:
        left = int(request.path[1:])
        response.send_head(200, [("Content-Type", "text/plain")])
        while left:
            response.write(bytes(min(piece, left)))
            left -= min(piece, left)
        begun[request.method].append(not response.replaceable())

    for size in (*SIZES[1:], 2 * BUFFER, 2 * BUFFER + 1):  # a handler of HEAD may write nothing, and that says nothing
        for method in heads:
            output, _ = await drive(app, [f"{method} /{size} HTTP/1.1\r\nHost: a\r\n\r\n".encode()])
            [answer] = split(output, [method])
            assert len(answer.body) == (size if method == "GET" else 0)
            heads[method].append((answer.status, undated(answer)))
    assert heads["GET"] == heads["HEAD"]
    assert begun["GET"] == begun["HEAD"]
    assert any(begun["GET"]) is (piece <= BUFFER + 1)


@pytest.mark.parametrize("size", [1, 10, BUFFER, 2 * BUFFER])
@pytest.mark.parametrize("pieces", [1, 3])
async def test_content_that_is_too_long_is_refused_where_it_is_written(size: int, pieces: int) -> None:
    refused = 0

    async def app(request: Request, response: StreamWriter) -> None:
        nonlocal refused
        response.send_head(200, [("Content-Length", str(size))])
        for _ in range(pieces):
            response.write(bytes(size // pieces))
        response.write(bytes(size - size // pieces * pieces))
        with pytest.raises(ContractError):
            response.write(b"x")
        refused += 1

    async with running(app) as server, connected(server) as client:
        for _ in range(2):
            assert (await client.ask("/")).body == bytes(size)
    assert refused == 2


@pytest.mark.parametrize(("written", "length"), [(0, 10), (1, 10), (9, 10), (BUFFER, 2 * BUFFER)])
async def test_content_that_is_too_short_is_an_error_page(
    written: int, length: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(request: Request, response: StreamWriter) -> None:
        response.send_head(200, [("Content-Length", str(length))])
        response.write(bytes(written))

    async with running(app) as server, connected(server) as client:
        assert (await client.ask()).status == 500
    expect_logged(caplog, f"{written} bytes of content, but Content-Length says {length}")


async def test_another_response_replaces_it(caplog: pytest.LogCaptureFixture) -> None:
    async def app(request: Request, response: StreamWriter) -> None:
        response.send_head(200, [("Content-Length", "10")])
        response.write(b"12345")
        if request.path == "/fails":
            raise ValueError("no more")
        response.restart()
        response.send_head(404)
        response.write(b"another one")

    async with running(app) as server, connected(server) as client:
        answer = await client.ask("/")
        assert (answer.status, answer.body) == (404, b"another one")
        assert (await client.ask("/fails")).status == 500
    expect_logged(caplog, "no more")
