"""Server-sent events, as HTML has them: a stream of text that a page follows with EventSource.

Owns the format, and the end: the block of an `EventStream` is left when the client goes or the server stops.
"""

import asyncio
import re
from collections.abc import Coroutine
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ..errors import ClientDisconnected

if TYPE_CHECKING:
    from ..engine.interfaces import Responder

__all__ = ["EventStream"]

_HEAD = (
    ("Content-Type", "text/event-stream; charset=utf-8"),
    ("Cache-Control", "no-store"),
    ("X-Accel-Buffering", "no"),  # nginx would wait for more
)
_line_ends = re.compile(r"\r\n|\r|\n")


class EventStream:
    """An answer of server-sent events; made by ``self.event_stream()``.

    When the client goes, or closes its side, or the server stops, the block is cancelled once, and the
    cancellation ends with it. What its ``finally`` waits for is not disturbed.

    Attributes:
        last_event_id: the id of the last event that a client has seen which comes again; ``""`` at first.
    """

    def __init__(self, handler: "Responder", ping: float) -> None:
        if not ping >= 0:
            raise ValueError(f"ping is a number of seconds, or 0 for never, not {ping!r}")
        self._handler = handler
        self._wfile = handler.wfile
        self._ping = ping
        self._task: asyncio.Task[Any] | None = None  # of the block
        self._cancelling = 0  # how often somebody had asked it to end before
        self._ends: list[asyncio.Task[Any]] = []  # each waits for what ends the block
        self._timer: asyncio.Handle | None = None
        self._told = False  # the block has been cancelled by us
        self._over = False  # the block has been left
        self._sending = 0
        self._sent_at = 0.0
        # Browsers send it in UTF-8.
        last = handler.request.headers.get("Last-Event-ID") or ""
        self.last_event_id: str = last.encode("latin-1").decode("utf-8", "replace")

    async def __aenter__(self) -> "EventStream":
        handler, wfile = self._handler, self._wfile
        handler.send_response(200)
        for name, value in _HEAD:
            handler.send_header(name, value)
        handler.end_headers()
        wfile.flush()
        self._task = asyncio.current_task()
        assert self._task is not None
        self._cancelling = self._task.cancelling()
        self._cancels, wfile.cancel_on_disconnect = wfile.cancel_on_disconnect, False  # that is ours to do now
        loop = asyncio.get_running_loop()
        if handler.request.method == "HEAD":
            self._timer = loop.call_soon(self._tell)
        elif self._ping:
            self._sent_at = loop.time()
            self._timer = loop.call_later(self._ping, self._beat)
        waits: list[Coroutine[Any, Any, Any]] = [wfile.wait_closed()]
        if handler.server is not None:
            waits.append(handler.server.shutting_down.wait())
        self._ends = [asyncio.create_task(wait) for wait in waits]
        for end in self._ends:
            end.add_done_callback(self._tell)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        task = self._task
        assert task is not None
        self._over = True
        self._unwatch()
        if self._told:
            task.uncancel()
        # If somebody else has cancelled the task, too, that is not for us to swallow.
        ours = self._told and task.cancelling() <= self._cancelling
        self._wfile.cancel_on_disconnect = self._cancels
        await asyncio.wait(self._ends)
        if isinstance(error, asyncio.CancelledError):
            return ours
        return self._nobody_listens() and _is_disconnection(error)

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
            ValueError: a type or an id of more than one line, or a negative time.
            ClientDisconnected: nobody is there; the block is left by it, and that is all.
        """
        lines = []
        for name, value in (("event", event), ("id", id)):
            if value is not None:
                if _line_ends.search(value) or "\0" in value:
                    raise ValueError(f"the {name} of an event is one line, not {value!r}")
                lines.append(f"{name}: {value}\n")
        if retry is not None:
            if not retry >= 0:
                raise ValueError(f"retry is a number of seconds, not {retry!r}")
            lines.append(f"retry: {round(retry * 1000)}\n")
        lines += [f"data: {line}\n" for line in _line_ends.split(data)]
        await self._write("".join([*lines, "\n"]))

    async def comment(self, text: str = "") -> None:
        """Send a line that means nothing."""
        await self._write("".join(f": {line}\n" for line in _line_ends.split(text)) + "\n")

    async def _write(self, text: str) -> None:
        if self._over:
            raise ClientDisconnected("the stream of events has ended")
        self._wfile.write(text.encode("utf-8", "replace"))
        self._sent_at = asyncio.get_running_loop().time()
        self._sending += 1
        try:
            await self._wfile.drain()
        except ClientDisconnected:
            if asyncio.current_task() is self._task:
                self._unwatch()  # the block knows it by this
            raise
        finally:
            self._sending -= 1

    def _nobody_listens(self) -> bool:
        return self._told or self._wfile.is_closing() or self._handler.request.method == "HEAD"

    def _beat(self) -> None:
        """Ping if nothing has been sent for a while."""
        loop = asyncio.get_running_loop()
        if loop.time() >= self._sent_at + self._ping:
            self._sent_at = loop.time()
            if not self._sending:  # else there is enough on the way
                self._wfile.write(b":\n\n")
                self._wfile.flush()
        self._timer = loop.call_at(self._sent_at + self._ping, self._beat)

    def _tell(self, _end: "asyncio.Task[Any] | None" = None) -> None:
        """Cancel the block, since there is nobody to send to."""
        self._unwatch()
        if not self._over and not self._told and self._task is not None:
            self._told = True
            self._task.cancel()

    def _unwatch(self) -> None:
        """Wait for no end any more."""
        if self._timer is not None:
            self._timer.cancel()
        for end in self._ends:
            end.remove_done_callback(self._tell)
            end.cancel()


def _is_disconnection(error: BaseException | None) -> bool:
    """Whether nothing else has happened, in the block or in a group of tasks within it."""
    if isinstance(error, BaseExceptionGroup):
        return error.split(ClientDisconnected)[1] is None
    return isinstance(error, ClientDisconnected)
