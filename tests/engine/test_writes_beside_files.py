"""Content that a handler writes while a file is sent, or after it could not be sent to its end."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiohttpd import ContractError, Request, StreamWriter
from aiohttpd.testing import running

from ..support.clients import MIB, expect_logged, get
from ..support.loops import joined, on_both_loops
from ..support.waiting import until
from ..support.wire import split

SIZE = 8 * MIB  # more than the buffers of both kernels


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    path = tmp_path / "file"
    path.touch()
    os.truncate(path, SIZE)
    descriptor = os.open(path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


@on_both_loops
@pytest.mark.parametrize("length", [None, 100])
async def test_nothing_follows_a_file_that_is_incomplete(
    file: int, caplog: pytest.LogCaptureFixture, length: int | None
) -> None:
    """Neither at once nor after flush() or drain(): the client would take it for bytes of the file."""
    refused = 0

    async def app(request: Request, response: StreamWriter) -> None:
        nonlocal refused
        response.send_head(200, () if length is None else [("Content-Length", length)])
        response.flush()
        with pytest.raises(EOFError):
            await response.sendfile(file, 0, 60, check=lambda: False)
        for flush in (None, response.flush, response.drain):
            waits = flush and flush()
            if waits:
                await waits
            with pytest.raises(ContractError):
                response.write(b"x" * 60)
            refused += 1

    async with running(app) as server, joined(server) as peer:
        await peer.send(get())
        _, content = (await peer.rest()).split(b"\r\n\r\n")
    assert refused == 3
    assert content == (b"3c\r\n" if length is None else b"")
    expect_logged(caplog, "a file is being sent")


@on_both_loops
async def test_nothing_is_written_into_a_file_that_another_task_sends(file: int) -> None:
    went = asyncio.Event()

    async def app(request: Request, response: StreamWriter) -> None:
        response.send_head(200)
        sending = asyncio.create_task(response.sendfile(file, 0, SIZE))
        await until(lambda: response.size)
        response.flush()
        with pytest.raises(ContractError):
            response.write(b"x")
        with pytest.raises(ContractError):
            await response.sendfile(file, 0, 1)
        went.set()
        await sending
        response.write(b"end")

    async with running(app) as server, joined(server, window=8192) as peer:
        await peer.send(get("/", "Connection: close"))
        await went.wait()
        [answer] = split(await peer.rest())
    assert answer.complete
    assert answer.body == bytes(SIZE) + b"end"


@on_both_loops
async def test_what_is_written_before_a_file_can_begin_comes_before_it(file: int) -> None:
    """sendfile() waits until the client has read what was written before; another task writes meanwhile."""
    went = asyncio.Event()

    async def app(request: Request, response: StreamWriter) -> None:
        response.send_head(200)
        response.write(bytes(SIZE))
        response.flush()
        sending = asyncio.create_task(response.sendfile(file, 0, 1000))
        await asyncio.sleep(0)
        response.write(b"before")
        went.set()
        await sending
        response.write(b"after")

    async with running(app) as server, joined(server, window=8192) as peer:
        await peer.send(get("/", "Connection: close"))
        await went.wait()
        [answer] = split(await peer.rest())
    assert answer.complete
    assert answer.body == bytes(SIZE) + b"before" + bytes(1000) + b"after"
