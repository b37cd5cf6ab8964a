"""Server-sent events (HTML, section 9.2): a text stream that a page reads with EventSource.

Owns the format, and the end of a stream: the block of an `EventStream` is cancelled when the client disconnects or the
server stops.
"""

import asyncio
import re
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ..errors import ClientDisconnected, ContractError
from .after import ends_of
from .answers import send_fields

if TYPE_CHECKING:
    from ..engine.interfaces import Responder

__all__ = ["EventStream"]

_FIELDS = (
    ("Content-Type", "text/event-stream; charset=utf-8"),
    ("Cache-Control", "no-store"),
    ("X-Accel-Buffering", "no"),  # otherwise nginx buffers the response
)
_line_ends = re.compile(r"\r\n|\r|\n")


class EventStream:
    """A response of server-sent events: the async context manager that ``self.event_stream()`` returns.

    When the client disconnects or closes its side, or the server stops, the block is cancelled. The cancellation does
    not leave the block, so the code after it runs. It happens once: ``finally`` clauses in the block can await.

    Attributes:
        last_event_id: the id of the last event that the client received before it reconnected; ``""`` if it has not.
    """

    def __init__(self, handler: "Responder", ping: float) -> None:
        if not ping >= 0:
            raise ValueError(f"ping is a number of seconds, or 0 for never, not {ping!r}")
        self._handler = handler
        self._wfile = handler.wfile
        self._ping = ping
        self._task: asyncio.Task[Any] | None = None  # of the block
        self._cancelling = 0  # cancellation requests of the task before the block
        self._ends: list[asyncio.Task[Any]] = []  # each waits for an event that ends the block
        self._timer: asyncio.Handle | None = None
        self._is_cancelled = False  # the block has been cancelled by `_cancel`
        self._has_ended = False  # the block has been left
        self._has_stopped = False  # the block has been told, or left
        self._draining = 0  # calls of `send` that wait for the client
        self._sent_at = 0.0
        # Browsers send UTF-8; header fields are decoded as ISO 8859-1.
        last = handler.request.headers.get("Last-Event-ID") or ""
        self.last_event_id: str = last.encode("latin-1").decode("utf-8", "replace")

    async def __aenter__(self) -> "EventStream":
        handler, wfile = self._handler, self._wfile
        send_fields(handler, 200, _FIELDS)
        wfile.flush()
        self._task = asyncio.current_task()
        assert self._task is not None
        self._cancelling = self._task.cancelling()
        self._cancels, wfile.cancel_on_disconnect = wfile.cancel_on_disconnect, False  # `_cancel` does it
        loop = asyncio.get_running_loop()
        if handler.request.method == "HEAD":
            self._timer = loop.call_soon(self._cancel)
        elif self._ping:
            self._sent_at = loop.time()
            self._timer = loop.call_later(self._ping, self._ping_if_idle)
        self._ends = ends_of(handler)
        for end in self._ends:
            end.add_done_callback(self._cancel)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        task = self._task
        assert task is not None
        self._has_ended = True
        self._stop_waiting()
        if self._is_cancelled:
            task.uncancel()
        # A cancellation by other code, at the same time, must leave the block.
        ours = self._is_cancelled and task.cancelling() <= self._cancelling
        self._wfile.cancel_on_disconnect = self._cancels
        await asyncio.wait(self._ends)
        if isinstance(error, asyncio.CancelledError):
            return ours
        return self._has_no_client() and _is_disconnection(error)

    async def send(
        self, data: str, *, event: str | None = None, id: str | None = None, retry: float | None = None
    ) -> None:
        """Send an event, and wait while the client is slow (back-pressure).

        Args:
            data: the text of the event; it may have several lines.
            event: the type of the event, by default ``message``.
            id: the id of the event, which a client that reconnects sends as `last_event_id`.
            retry: seconds that the client waits before it reconnects.

        Raises:
            TypeError: data, type or id is no text.
            ValueError: the type or the id has more than one line, or the time is negative.
            ContractError: the block has not been entered.
            ClientDisconnected: the client has disconnected. The block need not catch it: it ends without an error.
        """
        if not isinstance(data, str):
            raise TypeError(f"the data of an event is text, not {type(data).__name__}: write json.dumps(...), say")
        lines = []
        for name, value in (("event", event), ("id", id)):
            if value is not None:
                if not isinstance(value, str):
                    raise TypeError(f"the {name} of an event is text, not {value!r}")
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
        """Send a comment, which clients ignore."""
        await self._write("".join(f": {line}\n" for line in _line_ends.split(text)) + "\n")

    async def _write(self, text: str) -> None:
        if self._task is None:
            raise ContractError("events are sent in a block: async with self.event_stream() as events")
        if self._has_ended:
            raise ClientDisconnected("the stream of events has ended")
        self._wfile.write(text.encode("utf-8", "replace"))
        self._sent_at = asyncio.get_running_loop().time()
        self._draining += 1
        try:
            await self._wfile.drain()
        except ClientDisconnected:
            if asyncio.current_task() is self._task:
                self._stop_waiting()  # the exception ends the block: it need not be cancelled
            raise
        finally:
            self._draining -= 1

    def _has_no_client(self) -> bool:
        return self._is_cancelled or self._wfile.is_closing() or self._handler.request.method == "HEAD"

    def _ping_if_idle(self) -> None:
        """Send an empty comment if nothing has been sent for ``ping`` seconds."""
        loop = asyncio.get_running_loop()
        if loop.time() >= self._sent_at + self._ping:
            self._sent_at = loop.time()
            if not self._draining:  # otherwise there is unsent data
                self._wfile.write(b":\n\n")
                self._wfile.flush()
        self._timer = loop.call_at(self._sent_at + self._ping, self._ping_if_idle)

    def _cancel(self, _end: "asyncio.Task[Any] | None" = None) -> None:
        """Cancel the block: the client has disconnected, or the server stops."""
        if not self._has_stopped and self._task is not None:
            self._is_cancelled = True
            self._task.cancel()
        self._stop_waiting()

    def _stop_waiting(self) -> None:
        """Stop the timer and the tasks that wait for the end."""
        self._has_stopped = True  # a call of `_cancel` may be scheduled already
        if self._timer is not None:
            self._timer.cancel()
        for end in self._ends:
            end.remove_done_callback(self._cancel)
            end.cancel()


def _is_disconnection(error: BaseException | None) -> bool:
    """Whether an exception is a `ClientDisconnected`, or a group of nothing else."""
    if isinstance(error, BaseExceptionGroup):
        return error.split(ClientDisconnected)[1] is None
    return isinstance(error, ClientDisconnected)
