"""HandlerSession: one handler of ``http.server`` for all requests of a connection.

It is used for classes that override ``setup``, ``handle`` or another method for connections. The handler has a thread
as long as the connection lasts. Its requests are parsed and checked before it reads them, and its answers before they
are sent, as with other handlers.
"""

import asyncio
import io
import queue
import socket
from collections.abc import Callable
from typing import Any

from ..errors import HTTPError
from ..wire.request import Request
from .call import threads_of
from .exchange import Exchange
from .fake_socket import FakeSocket
from .outbox import Outbox
from .pool import Workers

__all__ = ["HandlerSession"]

_REQUEST_LINE = 65537  # bytes of a request line that http.server reads, at most


class HandlerSession:
    """A connection and its handler.

    Args:
        request: the first request of the connection.
        finish: makes the handler, in the thread; it returns at the end of the connection.
        workers: other threads than those of the server.
        forget: called at the end of the session.
        by_lines: whether each line that the handler reads may be a request line; so it is if it overrides ``handle``.
    """

    def __init__(
        self,
        request: Request,
        finish: Callable[[FakeSocket, Any], None],
        workers: Workers | None,
        forget: Callable[[], object],
        *,
        by_lines: bool,
    ) -> None:
        self._by_lines = by_lines
        self._peer: Any = request.peer
        self._finish = finish
        self._workers = workers
        self._forget = forget
        self._exchanges: queue.SimpleQueue[Exchange | None] = queue.SimpleQueue()
        self._connection: FakeSocket | None = None
        self._run: Any = None
        self._serving = False
        self._request = request
        self._watcher: asyncio.Task[None] | None = None

    async def serve(self, exchange: Exchange) -> None:
        """Have the handler answer one request.

        Raises:
            BaseException: what the handler and `Threads.pump` raise.
        """
        request, writer = exchange.request, exchange.writer
        if self._run is not None:
            self._run.outbox.rests = False
        self._serving = True
        self._request = request
        self._exchanges.put(exchange)
        try:
            if self._run is None:
                self._run = threads_of(self._peer).begin(self._call, self._workers)
                self._watcher = asyncio.get_running_loop().create_task(self._watch())
            await threads_of(self._peer).pump(self._run, writer.deliver, writer.writable, name=request.requestline)
        except BaseException:
            self._end()
            raise
        finally:
            self._serving = False
        await exchange.ended()
        if self._run.outbox.ended:
            exchange.closes = True
            self._end()
            self._run.outcome()
        elif self._peer.lost:
            assert self._watcher is not None
            if self._watcher.done():  # it has left the end to this request
                await self._wait_for_end()
            else:
                await asyncio.wait([self._watcher])

    def _end(self) -> None:
        """No other request comes."""
        self._exchanges.put(None)
        self._forget()
        if self._watcher is not None:
            self._watcher.cancel()
        if self._run is not None:
            threads_of(self._peer).end(self._run)

    async def _watch(self) -> None:
        """End the handler's input when the client has closed the connection."""
        await self._peer.wait_lost()
        self._forget()
        if self._serving:
            self._exchanges.put(None)
        else:
            await self._wait_for_end()

    async def _wait_for_end(self) -> None:
        """Wait for the end of the handler, after the last request."""
        outbox = self._run.outbox
        outbox.close()
        outbox.rests = False
        self._exchanges.put(None)
        while not outbox.ended:
            await outbox.filled()
        threads_of(self._peer).end(self._run)
        # An HTTPError is for the client, which has gone; its cause has been reported.
        if self._run.error is not None and not isinstance(self._run.error, (ConnectionError, HTTPError)):
            self._peer.report(self._run.error, self._request)

    # In the thread.

    def _call(self, outbox: Outbox) -> None:
        first = self._exchanges.get()
        assert first is not None
        first.outbox = outbox
        self._connection = connection = FakeSocket(first)
        connection.opener = self._open
        connection.sees_requests = False
        self._finish(connection, first.request.client_address)

    def _open(self, buffered: bool) -> io.BufferedIOBase:
        assert self._connection is not None
        return _Requests(self._connection, self._next, buffered=buffered, by_lines=self._by_lines)

    def _next(self) -> Exchange | None:
        """End the answer, and wait for the next request; None if there is none."""
        assert self._connection is not None
        self._connection.exchange.outbox.rest()
        exchange = self._exchanges.get()
        if exchange is not None:
            exchange.outbox = self._connection.exchange.outbox
            self._connection.exchange = exchange
        return exchange


class _Requests(io.BufferedIOBase):
    """All requests of a connection, one after the other, as a handler reads them from a socket.

    A read never goes beyond the end of a request. If a body was not read before the answer began, no other request
    follows: the rest of the body must not be taken for a request. After an answer, a handler that reads a request line
    gets the next request. A handler that reads otherwise uses another protocol, and gets the bytes as they arrive.
    """

    mode = "rb"

    def __init__(
        self, connection: FakeSocket, following: Callable[[], Exchange | None], *, buffered: bool, by_lines: bool
    ) -> None:
        self._connection = connection
        self._following = following
        self._buffered = buffered
        self._by_lines = by_lines
        self._late = False  # a part of the request was read after the answer had begun
        self._file: Any = self._opened(connection.exchange)

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        """Switch to a real socket, and return its descriptor."""
        return self._connection.take_over().fileno()

    def read(self, size: int | None = -1) -> bytes:
        return self._take(lambda file: file.read(size)) if size != 0 else b""

    def read1(self, size: int = -1) -> bytes:
        return self._take(lambda file: (file.read1 if self._buffered else file.read)(size)) if size != 0 else b""

    def peek(self, size: int = 0) -> bytes:
        """The bytes of the request that can be read without waiting; none between requests."""
        return bytes(self._file.peek(size)) if self._buffered and self._file is not None else b""

    def readline(self, size: int | None = -1) -> bytes:
        may_be_request_line = size == _REQUEST_LINE or self._by_lines
        return self._take(lambda file: file.readline(size), request_line=may_be_request_line) if size != 0 else b""

    def _opened(self, exchange: Exchange) -> Any:
        file = exchange.open(with_head=True, ends=False)
        return file if self._buffered else socket.SocketIO(exchange.take_over(), "r")

    def _take(self, read: Callable[[Any], bytes], *, request_line: bool = False) -> bytes:
        """Read from the request, or from the next one if this one has been answered and there is nothing left.

        Args:
            read: reads from the file of a request.
            request_line: the handler may be reading a request line, so the next request may follow.
        """
        while self._file is not None:
            exchange = self._connection.exchange
            real, answered = exchange.taken_over is not None, exchange.answered
            done = answered and (real or (exchange.writer.tunnelled and not self._by_lines))
            if not (request_line and done):  # else the bytes that wait there are the next request
                data = read(self._file)
                if data:
                    self._late = self._late or answered
                    return data
                if real or exchange.writer.tunnelled:
                    return b""
            if answered and not request_line and not self._late:
                self._connection.take_over()
                continue
            following = None if self._late and not (request_line and real) else self._following()
            self._file = None if following is None else self._opened(following)
        return b""
