"""Streams of server-sent events under test: handlers, and what their client sees."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from aiohttpd import BaseHTTPRequestHandler

from .clients import SOON, Client, get

Block = Callable[[Any, Any], Awaitable[None]]


class Streaming(BaseHTTPRequestHandler):
    """Streams what `block` sends; tells when the block has begun, and how it has been left."""

    ping = 15.0
    begun: asyncio.Event
    block_left: asyncio.Event
    tasks: list[Any]  # of the stream, that it has left behind

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.begun, cls.left = asyncio.Event(), asyncio.Event()
        cls.tasks = []

    async def block(self, events: Any) -> None:
        """What the stream does."""

    async def do_GET(self) -> None:
        cls: Any = type(self)
        async with self.event_stream(ping=self.ping) as events:
            cls.begun.set()
            await self.block(events)
        cls.tasks = [task for task in events._ends if not task.done()]
        cls.left.set()


def streaming(block: Block, **attributes: Any) -> Any:
    return type("Handler", (Streaming,), {"block": block, **attributes})


async def wait_forever(self: Any, events: Any) -> None:
    """For what never comes."""
    await asyncio.Event().wait()


async def tick(self: Any, events: Any) -> None:
    await events.send("tick")
    await asyncio.Event().wait()


async def begin(client: Client, request: bytes = get()) -> dict[str, str]:
    """Ask for a stream; give the fields of its head."""
    await client.send(request)
    return await head_fields(client)


async def head_fields(client: Client) -> dict[str, str]:
    text = (await client.reader.readuntil(b"\r\n\r\n")).decode()
    assert text.startswith("HTTP/1.1 200 OK\r\n")
    return {name.lower(): value for name, value in re.findall("(.*): (.*)\r\n", text)}


async def next_chunk(client: Client) -> str:
    """The next chunk; ``""`` for the last."""
    size = int(await client.reader.readuntil(b"\r\n"), 16)
    return (await client.reader.readexactly(size + 2))[:-2].decode()


async def block_left(handler: Any) -> None:
    """Wait until the block has been left in peace: the handler goes on, and nothing of the stream does."""
    async with asyncio.timeout(SOON):
        await handler.left.wait()
    assert not handler.tasks


# The end by the client.

GOING = pytest.mark.parametrize("go", [Client.close, Client.reset, Client.send_eof], ids=["close", "reset", "half"])
