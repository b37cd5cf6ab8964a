"""A plain ``def do_GET`` of an aiohttpd handler: run in a worker thread, with files that block.

Owns what stands in for ``rfile`` and ``wfile`` while the method runs. How a thread is had, and how its
output reaches the client, is `call`'s; how an answer is framed is `response`'s, here as everywhere.
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


_NUDGED = 512 * 1024  # bytes for which the loop need not wait, whatever is in the outbox already


async def call_method(handler: Any, method: Callable[[Any], object]) -> object:
    """Run a plain ``do_GET`` of a handler in a thread, where its ``rfile`` and ``wfile`` are files that block.

    Raises what the method raises; `ContractError` if it is asynchronous after all.
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
    try:
        result = await call_in_thread(handler.request, response, call)
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise  # the thread may go on, and must not get hold of the real ones
        _give_back(handler, response)  # it is the thread that has raised it
        raise
    except BaseException:
        _give_back(handler, response)
        raise
    _give_back(handler, response)
    return result


def _give_back(handler: Any, response: StreamWriter) -> None:
    handler.wfile = response
    handler.__dict__.pop("rfile", None)  # looked up again if anybody asks


async def call_in_thread(
    request: Request, response: StreamWriter, call: Callable[[io.BufferedIOBase, "BlockingWriter"], Any]
) -> Any:
    """Gather the body, then run ``call(rfile, wfile)`` in a worker thread, and return what it returns.

    Raises what the call raises, and what reading the body raises.
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
        wfile.detach_response()  # a thread that is left behind, or another one that was given the file
        incoming.close()


class BlockingWriter(io.BufferedIOBase):
    """A `StreamWriter` for a thread: the same names, but `write` and `flush` wait while the client is far behind.

    A file of ``io``, so ``shutil.copyfileobj`` and ``io.TextIOWrapper`` take it. What has been written leaves with
    `flush`, at the end, past 64 KiB, or after a moment. A client that has gone raises `ClientDisconnected`.
    """

    def __init__(self, response: StreamWriter) -> None:
        self._response: StreamWriter | None = response
        self._lock = threading.Lock()
        self._outbox: Outbox
        self._stale = 0  # sweeps since something has been written that has not left, and one more
        self._unflushed = 0  # bytes of it, at most

    def __getattr__(self, name: str) -> Any:
        # What is only asked for: status, replaceable(), get_extra_info(), and so on.
        return getattr(self._of_request(), name)

    def begin(self, outbox: Outbox) -> None:
        """Have what leaves go to an outbox, from now on.

        Raises:
            ClientDisconnected: nobody waits for the thread any more.
        """
        with self._lock:
            self._of_request().encoder.redirect(_OutboxOut(outbox))
            self._outbox = outbox
            outbox.nudge = self.nudge

    def writable(self) -> bool:
        return True

    def write(self, data: Buffer) -> int:  # type: ignore[override]  # io's takes any buffer, too
        """Append content; see `StreamWriter.write`."""
        with self._lock:
            response = self._of_request()
            if response.is_closing():
                raise ClientDisconnected("the client is gone")
            response.write(data)
            size = len(data) if type(data) is bytes else memoryview(data).nbytes
            self._unflushed += size
            self._stale = self._stale or 1
        return size

    def flush(self) -> None:
        """Let everything leave that has been written, the head included."""
        with self._lock:
            if self._response is not None and self._response.status:
                self._flush(self._response)
                self._outbox.wake()

    def send_head(self, status: int, fields: Iterable[tuple[str, str | int]] = (), reason: str | None = None) -> None:
        """Give status and fields; see `StreamWriter.send_head`."""
        with self._lock:
            self._of_request().send_head(status, fields, reason)

    def restart(self) -> None:
        """Forget a head and content that have not left."""
        with self._lock:
            self._of_request().restart()
            self._stale = self._unflushed = 0

    @property
    def close_connection(self) -> bool:
        """Whether the connection is closed after this answer."""
        return self._of_request().close_connection

    @close_connection.setter
    def close_connection(self, closes: bool) -> None:
        self._of_request().close_connection = closes

    def is_ours(self, error: BaseException) -> bool:
        """Whether an exception is for the connection to deal with; once the thread is left behind, each is."""
        response = self._response
        return response is None or response.is_ours(error)

    def nudge(self) -> None:
        """Let content leave that has waited for a while; called by the loop."""
        if not self._stale or not self._lock.acquire(blocking=False):
            return
        try:
            if self._stale == 1:
                self._stale = 2
            elif self._response is not None and self._response.status and self._unflushed <= _NUDGED:
                self._flush(self._response)
        except ClientDisconnected:  # the thread learns of it when it writes
            self._stale = self._unflushed = 0
        finally:
            self._lock.release()

    def _flush(self, response: StreamWriter) -> None:
        response.flush()
        self._stale = self._unflushed = 0

    def detach_response(self) -> None:
        """The request is over, so nothing can be written any more."""
        with self._lock:
            if self._response is not None:
                self._response.encoder.redirect(None)
            self._response = None

    def _of_request(self) -> StreamWriter:
        if self._response is None:
            raise ClientDisconnected("the request is over")
        return self._response


class _OutboxOut:
    """Takes what a thread encodes, for the loop to deliver."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    def send(self, parts: list[bytes]) -> None:
        self._outbox.put(b"".join(parts))
