"""Channel: what the supervisor and a worker tell each other, one JSON object a line.

Owns the line and its encoding. What the messages mean is for `worker` and `supervisor`:

==========  ===========  ===================================================================================
``tell``    from         what it says, and with what
==========  ===========  ===================================================================================
begun       the worker   Python runs, and the target is about to be loaded
ready       the worker   it accepts connections
failed      the worker   it cannot start: ``text``, and the ``status`` that the program ends with
beat        the worker   the loop turns: ``requests`` so far, ``rss`` in bytes, ``metrics``
metrics     the worker   a question, with its ``number``
metrics     the parent   its answer, with the ``number`` and the ``snapshots`` of all workers
stop        the parent   stop: within ``grace`` seconds, quiet connections within ``idle``, after a ``delay``;
                         whether it is ``replaced``, and the ``last`` to accept from its sockets
==========  ===========  ===================================================================================
"""

import asyncio
import contextlib
import json
from collections.abc import Callable
from typing import Any, cast

__all__ = ["Channel", "encode"]

Message = dict[str, Any]

_MOMENT = 1.0  # seconds


def encode(tell: str, **more: Any) -> bytes:
    """One message as it crosses."""
    return json.dumps({"tell": tell, **more}, separators=(",", ":")).encode() + b"\n"


class Channel(asyncio.Protocol):
    """One end, in a loop.

    Args:
        received: called with each message.
        lost: called once the other end is gone, after the last message.
    """

    def __init__(self, received: Callable[[Message], None], lost: Callable[[], None]) -> None:
        self._received = received
        self._lost = lost
        self._rest = b""
        self._transport: asyncio.Transport | None = None
        self._closed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Bytes have arrived."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._received(json.loads(line))

    def connection_lost(self, error: Exception | None) -> None:
        """The other end is gone."""
        self._transport = None
        self._closed.set()
        self._lost()

    def send(self, tell: str, **more: Any) -> None:
        """Send a message; to nobody, if the other end is gone."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(encode(tell, **more))

    def close(self) -> None:
        """Close this end."""
        if self._transport is not None:
            self._transport.close()

    async def end(self) -> None:
        """Close this end once all has been sent, and the other end takes it within a moment."""
        self._lost = _nothing
        self.close()
        if self._transport is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closed.wait(), _MOMENT)


def _nothing() -> None:
    """Who ends it knows."""
