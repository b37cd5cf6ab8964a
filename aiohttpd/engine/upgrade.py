"""Upgrade: what a request must be to end HTTP on its connection, and the streams that follow.

Owns the checks of RFC 9110 section 7.8 (Upgrade) and 9.3.6 (CONNECT), and the pair of a reader and a writer for
protocols that are written as a coroutine. A protocol that wants callbacks is an `UpgradedProtocol` and is given to
`StreamWriter.upgrade` itself.
"""

import asyncio
from collections.abc import Iterable
from typing import Any

from ..errors import ClientDisconnected, ContractError, HTTPError
from ..wire.headers import list_elements
from ..wire.request import Request
from ..wire.response import ResponseFields
from .answer import Buffer, to_bytes
from .interfaces import ResponseWriter
from .upgraded import Carrier

__all__ = ["UpgradeWriter", "check_upgrade", "open_streams", "upgrade_required"]

_READ_AHEAD = 32 * 1024  # asyncio's reader pauses the peer once more than twice of it wait


def upgrade_required(protocol: str, explain: str | None = None) -> HTTPError:
    """The answer to a request that does not ask for a protocol (426), RFC 9110 section 15.5.22."""
    return HTTPError(
        426, None, explain or f"{protocol} is spoken here", headers=[("Connection", "Upgrade"), ("Upgrade", protocol)]
    )


def check_upgrade(request: Request, protocol: str) -> None:
    """See whether a request asks for a protocol, and may.

    Args:
        request: of any method but CONNECT and HEAD.
        protocol: its name, with a version if it has one: ``websocket``, ``h2c``, ``IRC/6.9``.

    Raises:
        HTTPError: 426: it does not ask for it, or is HTTP/1.0; 400: it has a body.
    """
    offered = list_elements((request.upgrade or "").lower())  # None for HTTP/1.0
    if protocol.lower() not in offered or request.method == "HEAD":
        raise upgrade_required(protocol)
    _refuse_body(request)


def _refuse_body(request: Request) -> None:
    if request.framing.has_body:
        raise HTTPError(400, None, "a request that changes the protocol has no body")


def open_streams(
    request: Request, response: ResponseWriter, protocol: str | None, headers: Iterable[tuple[str, str | int]] = ()
) -> tuple[asyncio.StreamReader, "UpgradeWriter"]:
    """Answer 101 (Switching Protocols), or 200 to CONNECT, and give the streams of what follows.

    Args:
        request: the request.
        response: its answer, of which nothing has been given.
        protocol: what it must ask for; None for CONNECT.
        headers: more fields of the head.

    Raises:
        HTTPError: what `check_upgrade` raises.
        ContractError: an answer has been begun; there is a protocol for CONNECT, or none for another method.
        ValueError: a field that may not stand in this head.
    """
    connect = request.method == "CONNECT"
    if connect != (protocol is None):
        raise ContractError(
            "CONNECT has no protocol: 'await self.upgrade()'"
            if connect
            else "which protocol? 'await self.upgrade(\"name\")'"
        )
    if protocol is None:
        _refuse_body(request)
        status, fields = 200, ResponseFields()
    else:
        check_upgrade(request, protocol)
        status, fields = 101, ResponseFields.of((("Connection", "Upgrade"), ("Upgrade", protocol)))
    for name, value in headers:
        fields.add(name, value)
    streams = _Streams()
    response.upgrade(status, fields, streams)
    return streams.reader, streams.writer


class _Streams:
    """An `UpgradedProtocol` that feeds a reader."""

    reader: asyncio.StreamReader
    writer: "UpgradeWriter"
    size = 0

    def connection_made(self, carrier: Carrier) -> None:
        self.reader = asyncio.StreamReader(limit=_READ_AHEAD, loop=carrier.context.loop)
        self.reader.set_transport(carrier)  # type: ignore[arg-type]  # pause_reading and resume_reading are all it calls
        self.writer = UpgradeWriter(carrier, self)

    def data_received(self, data: bytes) -> None:
        self.reader.feed_data(data)

    def eof_received(self) -> None:
        self.reader.feed_eof()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.reader.at_eof():
            self.reader.set_exception(ClientDisconnected("the client is gone"))

    def resume_writing(self) -> None:
        pass  # `drain` waits for it

    def drain(self) -> None:
        pass  # the handler may look at ``server.shutting_down``; it has the grace to end

    def describe(self) -> str:
        return f"upgraded, {self.size} bytes sent"


class UpgradeWriter:
    """The output of a connection that has been upgraded; the names are those of `asyncio.StreamWriter`."""

    def __init__(self, carrier: Carrier, streams: _Streams) -> None:
        self._carrier = carrier
        self._streams = streams
        self._drains = 0

    def write(self, data: Buffer) -> None:
        """Send bytes; ``await drain()`` between writes.

        Raises:
            WriteBufferFull: more than ``limit_unsent`` bytes wait for a slow peer.
            ContractError: after `close` or `write_eof`.
        """
        content = data if type(data) is bytes else to_bytes(data)
        if self._carrier.out.closing and not self._carrier.out.lost:
            raise ContractError("write() after close() or write_eof()")
        if content:
            self._streams.size += len(content)
            self._carrier.out.send([content])

    def writelines(self, parts: Iterable[Buffer]) -> None:
        """`write` each of the parts."""
        self.write(b"".join(parts))

    async def drain(self) -> None:
        """Wait while the peer is slow.

        Raises:
            ClientDisconnected: the peer is gone.
        """
        self._drains += 1
        if self._drains % _TURNS == 0:
            await asyncio.sleep(0)  # a peer that keeps up must not keep the loop from the others
        await self._carrier.out.writable()

    def can_write_eof(self) -> bool:
        """Whether our side can be closed alone: not on TLS."""
        return self._carrier.get_extra_info("ssl_object") is None

    def write_eof(self) -> None:
        """Close our side after what has been written; reading goes on, but on TLS."""
        self._carrier.out.write_eof()

    def close(self) -> None:
        """Close the connection after what has been written; it is closed when the handler returns, too."""
        self._carrier.hang_up()

    def is_closing(self) -> bool:
        """Whether it is closed, or about to be."""
        return self._carrier.out.closing or self._carrier.out.lost

    async def wait_closed(self) -> None:
        """Wait until the connection is closed."""
        await self._carrier.wait_lost()

    def abort(self) -> None:
        """Cut the connection at once."""
        self._carrier.abort()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What asyncio's transport knows: ``peername sockname socket ssl_object``."""
        return self._carrier.get_extra_info(name, default)


_TURNS = 64  # calls of drain() after which others have their turn
