"""Intake: the messages that ``receive`` gives for one request: its body, and that the client is gone.

Owns when ``receive`` is called: while the handler reads the body or waits, but not while too much of the body waits for
the handler (back-pressure).
"""

import asyncio
import contextlib
import itertools
from collections.abc import Callable

from ...config import Config
from ...engine.body import StreamReader
from ...engine.error_log import error_logger
from ...errors import ClientDisconnected
from ...wire.body import LengthDecoder, Unframed
from ...wire.parser import RequestParser
from ...wire.request import Request
from .sender import Message, Receive
from .websocket import Frames

__all__ = ["Intake"]

_TURNS = 64  # messages after which others have their turn: `receive` does not wait if there are some


class Intake:
    """Receives the messages of one request; it is the `Source` of its body.

    Args:
        receive: what the ASGI server has given.
        loop: the running loop.
        config: the options.
        lost: called once when the client is gone.

    Attributes:
        owes_100: the client waits for 100 (Continue) before it sends the body.
        waiting: a handler waits for content.
        frames: takes the messages of a WebSocket, once it has been accepted.
    """

    def __init__(
        self, receive: Receive, loop: asyncio.AbstractEventLoop, config: Config, lost: Callable[[], None]
    ) -> None:
        self._receive = receive
        self._loop = loop
        self._config = config
        self._tell_lost = lost
        self._first: Message | None = None
        self._body: StreamReader | None = None  # while it is not complete
        self._bytes: RequestParser  # the bytes that have arrived, for its decoder
        self._ended = False  # the last message of the body has come
        self._task: asyncio.Task[None] | None = None
        self._room: asyncio.Future[None] | None = None  # done when the handler has read enough
        self.owes_100 = False
        self.waiting = False
        self.frames: Frames | None = None

    async def connect(self) -> None:
        """Receive the first message of a WebSocket; what comes then is received once it is accepted."""
        await self._receive()

    async def has_body(self) -> bool:
        """Receive the first message, and return whether it has a body: the fields do not tell it."""
        first = self._first = await self._receive()
        if first["type"] == "http.disconnect":
            self._lose()
        return bool(first.get("body") or first.get("more_body"))

    def begin_body(self, request: Request) -> None:
        """Make the body of a request that has one."""
        self._bytes = RequestParser(self._config)
        length = request.framing.content_length
        decoder = Unframed() if length is None else LengthDecoder(length)
        body = self._body = StreamReader(self, decoder, self._config.limit_body, self._loop)
        request.body = body
        self.owes_100 = request.framing.expects_continue
        if self._first is not None:
            self._take(self._first)

    def listen(self) -> None:
        """Receive what comes, unless the client waits for the handler to want its body (RFC 9110 section 10.1.1)."""
        if self._task is None and not self.owes_100:
            self._task = self._loop.create_task(self._run())

    async def discard(self) -> None:
        """Receive the rest of a body that nobody has read, if it is short (``limit_discard``, ``timeout_linger``).

        Of HTTP/2, hypercorn ends the connection, with all its other requests, if the end of a body comes after the
        answer, even of an empty one.
        """
        if self._ended or self.owes_100:
            return
        await self.close()
        left = self._config.limit_discard
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._config.timeout_linger):
                while left >= 0:
                    message = await self._receive()
                    left -= len(message.get("body") or b"")
                    if message["type"] == "http.disconnect":
                        self._lose()
                    if not message.get("more_body", False):
                        return

    async def close(self) -> None:
        """Receive nothing more."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])

    def cancel(self) -> None:
        """`close` without waiting for it."""
        self._body = None  # which refers to this, as its source
        if self._task is not None:
            self._task.cancel()

    def fail(self, error: Exception) -> None:
        """The rest of the body is not wanted."""
        if self._body is not None:
            self._body.fail(error)

    # The `Source` of the body.

    def resume_body(self) -> None:
        """The handler has read."""
        room = self._room
        if room is not None and not room.done() and not self._is_crowded():
            room.set_result(None)

    def body_wanted(self) -> None:
        """The handler waits for content. With the first `receive` the ASGI server sends 100 (Continue)."""
        self.waiting = True
        self.owes_100 = False
        self.listen()
        self.resume_body()

    def body_arrived(self) -> None:
        """The handler waits no longer."""
        self.waiting = False

    # Internals.

    async def _run(self) -> None:
        try:
            for received in itertools.count(1):
                if received % _TURNS == 0:
                    await asyncio.sleep(0)
                while self._is_crowded():
                    self._room = self._loop.create_future()
                    await self._room
                if not self._take(await self._receive()):
                    return
        except Exception as error:
            error_logger.error("the ASGI server has failed in receive()", exc_info=error)
            self._lose()

    def _is_crowded(self) -> bool:
        if self.frames is not None:
            return self.frames.stalled
        return self._body is not None and self._body.crowded

    def _take(self, message: Message) -> bool:
        """Take a message; False after the last one."""
        kind = message["type"]
        if kind == "http.disconnect":
            self._lose()
            return False
        body = self._body
        if kind == "websocket.disconnect" or (kind == "websocket.receive" and self.frames is not None):
            goes_on = self.frames is not None and self.frames.take(message)
            if not goes_on:
                self._lose()
            return goes_on
        if kind != "http.request":
            return True
        self._ended = not message.get("more_body", False)
        if body is None:
            return True
        if data := message.get("body"):
            self._bytes.feed(data if type(data) is bytes else bytes(data))
            body.feed(self._bytes)
            body.wake()
        if self._ended:
            self._body = None
            body.feed_eof()
        return True

    def _lose(self) -> None:
        self.fail(ClientDisconnected("the client is gone"))
        if self.frames is not None:
            self.frames.lose()
        self._tell_lost()
