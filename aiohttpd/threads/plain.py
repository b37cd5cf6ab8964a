"""Runs a plain ``def do_GET`` of an aiohttpd handler in a worker thread, with blocking ``rfile`` and ``wfile``.

Owns the blocking files. `call` has the threads and the way of their output to the loop. `response` keeps the contract
of the response, as for handlers in the loop.
"""

import asyncio
import inspect
import io
import threading
from collections.abc import Callable, Iterable
from typing import Any

from ..engine.answer import Buffer
from ..engine.response import StreamWriter
from ..errors import ClientDisconnected, ContractError
from ..wire.request import Request
from .body import gather
from .call import threads_of
from .outbox import Outbox

__all__ = ["BlockingWriter", "call_in_thread", "call_method"]


_NUDGE_LIMIT = 512 * 1024  # bytes; `nudge` flushes at most so many, since it must not block in the loop


async def call_method(handler: Any, method: Callable[[Any], object]) -> object:
    """Run a plain ``do_GET`` of a handler in a worker thread. There its ``rfile`` and ``wfile`` are blocking files.

    Raises the exceptions of the method; `ContractError` if the method returns an awaitable.
    """

    def call(rfile: io.BufferedIOBase, wfile: BlockingWriter) -> object:
        handler.rfile, handler.wfile = rfile, wfile
        result = method(handler)
        if inspect.isawaitable(result):
            if inspect.iscoroutine(result):
                result.close()
            raise ContractError(
                f"do_{handler.command} is a plain function that returns an awaitable: write 'async def', or wrap it in "
                "a function that is 'async def' if a decorator hides that it is one"
            )
        return result

    response = handler.wfile
    still_runs = False
    try:
        return await call_in_thread(handler.request, response, call)
    except asyncio.CancelledError:
        task = asyncio.current_task()
        still_runs = task is None or task.cancelling() > 0  # else the method itself has raised CancelledError
        raise
    finally:
        if not still_runs:  # else the thread would get the files of the loop
            handler.wfile = response
            handler.__dict__.pop("rfile", None)  # the class makes it again when it is needed


async def call_in_thread(
    request: Request, response: StreamWriter, call: Callable[[io.BufferedIOBase, "BlockingWriter"], Any]
) -> Any:
    """Receive the body, then run ``call(rfile, wfile)`` in a worker thread, and return its result.

    Raises the exceptions of the call, and those of reading the body.
    """
    loop = asyncio.get_running_loop()
    incoming = await gather(request)
    encoder = response.encoder
    wfile = BlockingWriter(response)

    def run(outbox: Outbox) -> Any:
        wfile.begin(outbox)
        with incoming.open(loop) as rfile:
            return call(rfile, wfile)

    try:
        return await threads_of(request.peer).run(run, encoder.deliver, encoder.drain, name=request.requestline)
    finally:
        wfile.detach_response()  # for a thread that still runs after a cancellation, or that the handler has started
        incoming.close()


class BlockingWriter(io.BufferedIOBase):
    """A `StreamWriter` for a thread. It has the same methods, but `write` and `flush` block while the client is slow.

    It is an ``io`` file, so it can be used with ``shutil.copyfileobj`` and ``io.TextIOWrapper``. Content is sent by
    `flush`, when the method returns, when 64 KiB are buffered, or after a short time. `write` raises
    `ClientDisconnected` after the client has disconnected.
    """

    def __init__(self, response: StreamWriter) -> None:
        self._response: StreamWriter | None = response
        self._lock = threading.Lock()
        self._outbox: Outbox
        self._stale = 0  # 0: nothing is buffered; 1: content is buffered; 2: it was already there at the last `nudge`
        self._unflushed = 0  # bytes that may be buffered, at most

    def __getattr__(self, name: str) -> Any:
        # Attributes and methods that only return something: status, replaceable(), get_extra_info(), and so on.
        return getattr(self._live_response(), name)

    def begin(self, outbox: Outbox) -> None:
        """Send encoded bytes to an outbox from now on.

        Raises:
            ClientDisconnected: the request is over.
        """
        with self._lock:
            self._live_response().encoder.redirect(_OutboxOut(outbox))
            self._outbox = outbox
            outbox.nudge = self.nudge

    def writable(self) -> bool:
        return True

    def write(self, data: Buffer) -> int:  # type: ignore[override]  # io's takes any buffer, too
        """Append content; see `StreamWriter.write`."""
        with self._lock:
            response = self._live_response()
            if response.is_closing():
                raise ClientDisconnected("the client is gone")
            response.write(data)
            size = len(data) if type(data) is bytes else memoryview(data).nbytes
            self._unflushed += size
            self._stale = self._stale or 1
        return size

    def flush(self) -> None:
        """Send everything that has been written, the head included."""
        with self._lock:
            if self._response is not None and self._response.status:
                self._flush(self._response)
                self._outbox.wake()

    def send_head(self, status: int, fields: Iterable[tuple[str, str | int]] = (), reason: str | None = None) -> None:
        """Set status and fields; see `StreamWriter.send_head`."""
        with self._lock:
            self._live_response().send_head(status, fields, reason)

    def restart(self) -> None:
        """Drop head and content that have not been sent; see `StreamWriter.restart`."""
        with self._lock:
            self._live_response().restart()
            self._stale = self._unflushed = 0

    @property
    def close_connection(self) -> bool:
        """Whether the connection is closed after this response."""
        return self._live_response().close_connection

    @close_connection.setter
    def close_connection(self, closes: bool) -> None:
        self._live_response().close_connection = closes

    def is_ours(self, error: BaseException) -> bool:
        """See `StreamWriter.is_ours`; True for each exception once the request is over."""
        response = self._response
        return response is None or response.is_ours(error)

    def nudge(self) -> None:
        """Flush content that has been buffered since the last call. The loop calls it at intervals."""
        if not self._stale or not self._lock.acquire(blocking=False):
            return
        try:
            if self._stale == 1:
                self._stale = 2
            elif self._response is not None and self._response.status and self._unflushed <= _NUDGE_LIMIT:
                self._flush(self._response)
        except ClientDisconnected:  # the thread learns of it when it writes
            self._stale = self._unflushed = 0
        finally:
            self._lock.release()

    def _flush(self, response: StreamWriter) -> None:
        response.flush()
        self._stale = self._unflushed = 0

    def detach_response(self) -> None:
        """The request is over: from now on every write raises `ClientDisconnected`."""
        with self._lock:
            if self._response is not None:
                self._response.encoder.redirect(None)
            self._response = None

    def _live_response(self) -> StreamWriter:
        if self._response is None:
            raise ClientDisconnected("the request is over")
        return self._response


class _OutboxOut:
    """The `Out` of an encoder in a thread: it puts bytes into the outbox, from which the loop sends them."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    def send(self, parts: list[bytes]) -> None:
        self._outbox.put(b"".join(parts))
