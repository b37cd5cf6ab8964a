"""The messages between the supervisor and a worker: one JSON object a line, on a pair of sockets.

Owns the connection and the encoding. `worker` and `worker_handle` act on the messages:

==========  ===========  ===================================================================================
``tell``    from         meaning, and members
==========  ===========  ===================================================================================
begun       worker       Python runs, and the target is about to be loaded
ready       worker       it accepts connections
failed      worker       it cannot start: ``text`` for stderr, and the exit ``status`` of the program
beat        worker       heartbeat: ``requests`` so far, ``rss`` in bytes, ``metrics``
metrics     worker       a question for the metrics of all workers, with its ``number``
metrics     supervisor   the answer, with the ``number`` of the question and the ``snapshots``
stop        supervisor   stop: seconds of ``grace`` for requests, of ``idle`` for idle connections, of ``delay``
                         before; whether it is ``replaced``, and the ``last`` to accept from its sockets
==========  ===========  ===================================================================================
"""

import asyncio
import contextlib
import json
from collections.abc import Callable
from typing import Any, cast

__all__ = ["Channel", "Message", "encode"]

Message = dict[str, Any]

_CLOSING = 1.0  # seconds for the other end to take what has been sent


def encode(tell: str, **more: Any) -> bytes:
    """Encode a message.

    Args:
        tell: its kind.
        more: its members.
    """
    return json.dumps({"tell": tell, **more}, separators=(",", ":")).encode() + b"\n"


class Channel(asyncio.Protocol):
    """One end of the connection, as an asyncio protocol.

    Args:
        received: called with each message.
        lost: called when the connection is lost, after the last message.
    """

    def __init__(self, received: Callable[[Message], None], lost: Callable[[], None]) -> None:
        self._received = received
        self._lost = lost
        self._rest = b""
        self._transport: asyncio.Transport | None = None
        self._closed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Decode complete lines, and keep the rest."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._received(json.loads(line))

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is closed."""
        self._transport = None
        self._closed.set()
        self._lost()

    def send(self, tell: str, **more: Any) -> None:
        """Send a message; it is dropped if the connection is closed. Arguments are those of `encode`."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(encode(tell, **more))

    def close(self) -> None:
        """Close this end."""
        if self._transport is not None:
            self._transport.close()

    async def end(self) -> None:
        """Send everything, then close this end; wait for that `_CLOSING` seconds at most."""
        self._lost = _nothing
        self.close()
        if self._transport is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closed.wait(), _CLOSING)


def _nothing() -> None:
    """In place of ``lost``, when this end closes the connection."""
