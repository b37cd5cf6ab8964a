"""Upgrade: checks a request that switches protocols, and gives the handler a reader and a writer for the new protocol.

Owns the checks of RFC 9110 section 7.8 (Upgrade) and 9.3.6 (CONNECT), and the streams for protocols that are written
as a coroutine. A protocol that is written with callbacks is an `UpgradedProtocol`, for `StreamWriter.upgrade`.
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

_TURNS = 64  # calls of drain() after which the task yields to the loop once

_READ_AHEAD = 32 * 1024  # bytes; asyncio's StreamReader pauses reading when it has more than twice as many


def upgrade_required(protocol: str, explain: str | None = None) -> HTTPError:
    """Return the error 426 for a request without the Upgrade field for a protocol, RFC 9110 section 15.5.22.

    Args:
        protocol: the protocol that is required.
        explain: the text of the error, by default a sentence with the name of the protocol.
    """
    return HTTPError(
        426, None, explain or f"{protocol} is required", headers=[("Connection", "Upgrade"), ("Upgrade", protocol)]
    )


def check_upgrade(request: Request, protocol: str) -> None:
    """Check that a request asks for an upgrade to a protocol, and may get it.

    Args:
        request: the request; its method is not CONNECT.
        protocol: the name of the protocol, with its version if it has one: ``websocket``, ``h2c``, ``IRC/6.9``.

    Raises:
        HTTPError: 426: the request does not ask for the protocol, is HTTP/1.0, or HEAD; 400: it has a body.
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
    """Send 101 (Switching Protocols), or 200 to CONNECT, and return streams for the bytes that follow.

    Args:
        request: the request.
        response: its response; no head has been set.
        protocol: the protocol that the request has to ask for; None for CONNECT.
        headers: more fields of the head.

    Raises:
        HTTPError: as for `check_upgrade`.
        ContractError: a head has been set; or ``protocol`` is given for CONNECT, or missing for another method.
        ValueError: a field is not valid, or not allowed in this head.
    """
    connect = request.method == "CONNECT"
    if connect != (protocol is None):
        raise ContractError(
            "CONNECT has no protocol: 'await self.upgrade()'"
            if connect
            else "which protocol? write its name: 'await self.upgrade(\"name\")'"
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
    return streams.reader, UpgradeWriter(streams.carrier, streams)


class _Streams:
    """An `UpgradedProtocol` that feeds an `asyncio.StreamReader`."""

    reader: asyncio.StreamReader
    carrier: Carrier
    size = 0

    def connection_made(self, carrier: Carrier) -> None:
        self.reader = asyncio.StreamReader(limit=_READ_AHEAD, loop=carrier.context.loop)
        self.reader.set_transport(carrier)  # type: ignore[arg-type]  # pause_reading and resume_reading are all it calls
        self.carrier = carrier

    def data_received(self, data: bytes) -> None:
        self.reader.feed_data(data)

    def eof_received(self) -> None:
        self.reader.feed_eof()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.reader.at_eof():
            self.reader.set_exception(ClientDisconnected("the client is gone"))

    def resume_writing(self) -> None:
        pass  # `UpgradeWriter.drain` waits for the output itself

    def drain(self) -> None:
        pass  # the handler may check ``server.shutting_down``, and has the grace period to end

    def describe(self) -> str:
        return f"upgraded, {self.size} bytes sent"


class UpgradeWriter:
    """The output of an upgraded connection. The methods are named as those of `asyncio.StreamWriter`."""

    def __init__(self, carrier: Carrier, streams: _Streams) -> None:
        self._carrier = carrier
        self._streams = streams
        self._drains = 0

    def write(self, data: Buffer) -> None:
        """Send bytes. Call ``await drain()`` between writes.

        Raises:
            WriteBufferFull: more than ``limit_unsent`` bytes wait for a slow peer.
            ContractError: `close` or `write_eof` has been called.
        """
        content = data if type(data) is bytes else to_bytes(data)
        if self._carrier.out.closing and not self._carrier.out.lost:
            raise ContractError("write() after close() or write_eof()")
        if content:
            self._streams.size += len(content)
            self._carrier.out.send([content])

    def writelines(self, parts: Iterable[Buffer]) -> None:
        """Send all parts by one `write`."""
        self.write(b"".join(parts))

    async def drain(self) -> None:
        """Wait until the peer has read enough (back-pressure).

        Raises:
            ClientDisconnected: the connection is lost.
        """
        self._drains += 1
        if self._drains % _TURNS == 0:
            await asyncio.sleep(0)  # a peer that reads fast enough never makes us wait: yield to other tasks
        await self._carrier.out.writable()

    def can_write_eof(self) -> bool:
        """Whether our side alone can be closed (half-close): not on TLS."""
        return self._carrier.get_extra_info("ssl_object") is None

    def write_eof(self) -> None:
        """Close our side after the written bytes (half-close). Reading continues, except on TLS."""
        self._carrier.out.write_eof()

    def close(self) -> None:
        """Close the connection after the written bytes. It is also closed when the handler returns."""
        self._carrier.hang_up()

    def is_closing(self) -> bool:
        """Whether the connection is closed or being closed."""
        return self._carrier.out.closing or self._carrier.out.lost

    async def wait_closed(self) -> None:
        """Wait until the connection is closed."""
        await self._carrier.wait_lost()

    def abort(self) -> None:
        """Close the connection at once; unsent bytes are lost."""
        self._carrier.abort()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Information of asyncio's transport: ``peername sockname socket ssl_object``."""
        return self._carrier.get_extra_info(name, default)
