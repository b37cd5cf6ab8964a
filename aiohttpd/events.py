"""Server-sent events, as HTML has them: a stream of text that a page follows with EventSource.

Owns the format, and the end: the block of an `EventStream` is left when the client goes or the server stops.
"""

import asyncio
import contextlib
import re
from types import TracebackType
from typing import TYPE_CHECKING, Any

from .errors import ClientDisconnected

if TYPE_CHECKING:
    from .handler import BaseHTTPRequestHandler

__all__ = ["EventStream"]

_HEAD = (
    ("Content-Type", "text/event-stream; charset=utf-8"),
    ("Cache-Control", "no-store"),
    ("X-Accel-Buffering", "no"),  # nginx would wait for more
)
_line_ends = re.compile(r"\r\n|\r|\n")


class EventStream:
    """An answer of server-sent events; made by ``self.event_stream()``.

    Attributes:
        last_event_id: the id of the last event that a client has seen which comes again; ``""`` at first.
    """

    def __init__(self, handler: "BaseHTTPRequestHandler", ping: float) -> None:
        self._handler = handler
        self._wfile = handler.wfile
        self._ping = ping
        self._task: asyncio.Task[Any] | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._ended = False  # the watcher has cancelled the block
        self._quiet = True  # nothing has been sent since the last ping
        self.last_event_id: str = handler.request.headers.get("Last-Event-ID", "") or ""

    async def __aenter__(self) -> "EventStream":
        handler = self._handler
        handler.send_response(200)
        for name, value in _HEAD:
            handler.send_header(name, value)
        handler.end_headers()
        await self._wfile.drain()
        self._task = asyncio.current_task()
        self._watcher = asyncio.create_task(self._watch())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        assert self._task is not None
        assert self._watcher is not None
        self._watcher.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._watcher
        if isinstance(error, ClientDisconnected):
            return True
        # Swallow the cancellation that is ours, and no other.
        return self._ended and isinstance(error, asyncio.CancelledError) and self._task.uncancel() == 0

    async def send(
        self, data: str, *, event: str | None = None, id: str | None = None, retry: float | None = None
    ) -> None:
        """Send an event, and wait while the client is slow.

        Args:
            data: its text, of any number of lines.
            event: its type, ``message`` by default.
            id: what the client says as `last_event_id` when it comes again.
            retry: seconds after which it comes again.

        Raises:
            ValueError: a type or an id of more than one line.
            ClientDisconnected: nobody is there; the block is left by it, and that is all.
        """
        lines = []
        for name, value in (("event", event), ("id", id)):
            if value is not None:
                if _line_ends.search(value) or "\0" in value:
                    raise ValueError(f"the {name} of an event is one line, not {value!r}")
                lines.append(f"{name}: {value}\n")
        if retry is not None:
            lines.append(f"retry: {round(retry * 1000)}\n")
        lines += [f"data: {line}\n" for line in _line_ends.split(data)]
        await self._write("".join([*lines, "\n"]))

    async def comment(self, text: str = "") -> None:
        """Send a line that means nothing."""
        await self._write("".join(f": {line}\n" for line in _line_ends.split(text)) + "\n")

    async def _write(self, text: str) -> None:
        self._quiet = False
        self._wfile.write(text.encode())
        await self._wfile.drain()

    async def _watch(self) -> None:
        """Wait for the end of the client or of the server, ping meanwhile, and cancel the block."""
        server = self._handler.server
        ends = [asyncio.ensure_future(self._wfile.wait_closed())]
        if server is not None:
            ends.append(asyncio.ensure_future(server.shutting_down.wait()))
        try:
            while True:
                self._quiet = True
                done, _ = await asyncio.wait(ends, timeout=self._ping or None, return_when=asyncio.FIRST_COMPLETED)
                if done:
                    break
                if self._quiet:
                    self._wfile.write(b":\n\n")
                    self._wfile.flush()
        finally:
            for end in ends:
                end.cancel()
        assert self._task is not None
        self._ended = True
        self._task.cancel()
