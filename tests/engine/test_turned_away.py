"""Connections over ``max_connections``, in memory: their answer, and their end."""

import asyncio
from collections.abc import Callable

import pytest

from aiohttpd import Request, StreamWriter
from aiohttpd.engine.context import ServerContext
from aiohttpd.engine.interfaces import ServedApp
from aiohttpd.engine.overload import TurnedAway
from aiohttpd.testing import MemoryTransport

from ..support.asking import QUIET
from ..support.wire import finals


class Transport(MemoryTransport):
    """A transport that keeps what it was told."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, half_closes: bool = True) -> None:
        super().__init__(loop)
        self.half_closes = half_closes
        self.told: list[str] = []

    def can_write_eof(self) -> bool:
        return self.half_closes

    def write_eof(self) -> None:
        self.told.append("write_eof")

    def close(self) -> None:
        self.told.append("close")
        super().close()

    def abort(self) -> None:
        self.told.append("abort")
        super().close()


async def app(request: Request, response: StreamWriter) -> None:
    raise AssertionError


def turned_away(*, silent: bool = False, half_closes: bool = True) -> tuple[Transport, ServerContext, TurnedAway]:
    loop = asyncio.get_running_loop()
    context = ServerContext(ServedApp(app), QUIET, loop)
    transport, protocol = Transport(loop, half_closes=half_closes), TurnedAway(context, silent=silent)
    transport.connect(protocol)
    return transport, context, protocol


def expire(transport: Transport, context: ServerContext) -> None:
    now = asyncio.get_running_loop().time()
    context.deadlines.sweep(now)
    context.deadlines.sweep(now + context.config.timeout_linger + 1)


@pytest.mark.parametrize(
    ("end", "told"),
    [
        (lambda transport, context, protocol: transport.feed_eof(), "close"),
        (lambda transport, context, protocol: expire(transport, context), "abort"),
        (lambda transport, context, protocol: protocol.close(), "abort"),
    ],
    ids=["client", "deadline", "server"],
)
async def test_a_lingering_close(end: Callable[[Transport, ServerContext, TurnedAway], None], told: str) -> None:
    transport, context, protocol = turned_away()
    [answer] = finals(bytes(transport.output))
    assert (answer.status, answer["Connection"]) == (503, "close")
    transport.feed(b"GET / HTTP/1.1\r\n\r\n")  # nobody reads it
    assert transport.told == ["write_eof"]
    assert context.registry.turned_away == {protocol}
    end(transport, context, protocol)
    assert transport.told[:2] == ["write_eof", told]
    await transport.closed.wait()
    assert not context.registry.turned_away
    expire(transport, context)  # no deadline is left
    assert transport.told.count("abort") == (told == "abort")
    context.close()


async def test_the_answer_on_tls() -> None:
    """There is no half-close, and the close of TLS waits for the client."""
    transport, context, _ = turned_away(half_closes=False)
    assert finals(bytes(transport.output))[0].status == 503
    assert transport.told == ["close"]
    await transport.closed.wait()
    context.close()


async def test_too_many_are_closed_silently() -> None:
    transport, context, _ = turned_away(silent=True)
    assert (bytes(transport.output), transport.told) == (b"", ["abort"])
    await transport.closed.wait()
    assert not context.registry.turned_away
    context.close()
