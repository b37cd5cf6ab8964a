"""What a test server has been asked: requests, and the connections on which they came.

Owns the records, and the waiting for them. It is written in the thread of the server's loop, and read in any.
"""

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any
from urllib.parse import parse_qsl

from ..engine.interfaces import App, ResponseWriter
from ..errors import ContractError
from ..wire.headers import headers_of
from ..wire.request import Address, Body, Request

__all__ = ["Connection", "RecordedRequest", "Records", "TeeBody"]


class RecordedRequest:
    """A request as it came.

    Attributes:
        method: ``GET``, say.
        target: path and query as they were sent.
        version: ``HTTP/1.1``, say.
        path: the path, decoded once, without the query.
        query: the fields of the query in their order, decoded.
        headers: the header fields, in the order and the case in which they came; ``headers["accept"]`` is one of them.
        body: its bytes, as far as they have been read.
        connection: the number of the connection, from 1 on.
        client_address: host and port of the client.
        started: when its head had come, in seconds of ``time.monotonic``.
        ended: when it had been answered; None before.
        status: the status of the answer; 0 before, or without one.
        params: of the path of the expectation that it has met.
    """

    def __init__(self, request: Request, connection: int) -> None:
        self.method = request.method
        self.target = request.target
        self.version = request.version
        self.path = request.url_path
        self.query: list[tuple[str, str]] = parse_qsl(request.query_string, keep_blank_values=True)
        self.query_string = request.query_string
        self.headers = headers_of(request.headers.items())
        self.content = bytearray()
        self.connection = connection
        self.client_address: Address = request.peer.client_address
        self.started = time.monotonic()
        self.ended: float | None = None
        self.status = 0
        self.params: dict[str, Any] = {}

    @property
    def body(self) -> bytes:
        """The content."""
        return bytes(self.content)

    @property
    def text(self) -> str:
        """The content as text, by its charset; in UTF-8 if there is none, or Python does not know it."""
        try:
            return self.body.decode(self.headers.get_content_charset() or "utf-8", "replace")
        except LookupError:
            return self.body.decode("utf-8", "replace")

    def json(self) -> Any:
        """The content, read as JSON.

        Raises:
            ValueError: it is no JSON.
        """
        return json.loads(self.body)

    @property
    def duration(self) -> float | None:
        """Seconds from its head to the end of its answer; None before the end."""
        return None if self.ended is None else self.ended - self.started

    def __repr__(self) -> str:
        return f"<{self.method} {self.target} on connection {self.connection}>"


class Connection:
    """A connection on which a request has come.

    Attributes:
        number: from 1 on, in the order of their first requests.
        client_address: host and port of the client.
        requests: those that have come on it.
        closed: whether it has been closed.
    """

    def __init__(self, number: int, client_address: Address) -> None:
        self.number = number
        self.client_address = client_address
        self.requests: list[RecordedRequest] = []
        self.closed = False

    @property
    def reused(self) -> bool:
        """Whether more than one request has come on it."""
        return len(self.requests) > 1

    def __repr__(self) -> str:
        state = "closed" if self.closed else "open"
        return f"<connection {self.number}, {len(self.requests)} requests, {state}>"


class Records:
    """What one server has been asked."""

    def __init__(self) -> None:
        self.requests: list[RecordedRequest] = []
        self.connections: list[Connection] = []
        self._open: dict[Any, Connection] = {}
        self._watchers: set[asyncio.Task[None]] = set()
        self._changed = threading.Condition()
        self._waiters: set[asyncio.Event] = set()

    def record(self, request: Request) -> RecordedRequest:
        """Make the record of a request whose head has come."""
        connection = self._connection(request)
        recorded = RecordedRequest(request, connection.number)
        connection.requests.append(recorded)
        self.requests.append(recorded)
        return recorded

    def end(self, recorded: RecordedRequest, status: int) -> None:
        """Note that a request has been answered, and tell those who wait."""
        recorded.status = status
        recorded.ended = time.monotonic()
        with self._changed:
            self._changed.notify_all()
        for waiter in self._waiters:
            waiter.set()

    @property
    def answered(self) -> int:
        """The number of requests that have been answered, well or not."""
        return sum(recorded.ended is not None for recorded in self.requests)

    def wait_for(self, count: int, timeout: float) -> bool:
        """Wait in another thread until so many requests have been answered; return whether they have."""
        with self._changed:
            return self._changed.wait_for(lambda: self.answered >= count, timeout)

    async def arrived(self, count: int) -> None:
        """Wait in the loop of the server until so many requests have been answered."""
        event = asyncio.Event()
        self._waiters.add(event)
        try:
            while self.answered < count:
                event.clear()
                await event.wait()
        finally:
            self._waiters.discard(event)

    def clear(self) -> None:
        """Forget the requests, and the connections that are closed."""
        self.requests.clear()
        for connection in self.connections:
            connection.requests.clear()
        self.connections[:] = [connection for connection in self.connections if not connection.closed]

    def recording(self, serve: Callable[[Request, ResponseWriter, RecordedRequest], Awaitable[None]]) -> App:
        """An App around a function that gets the record of each request, too; the body is recorded as it is read."""

        async def recorded_app(request: Request, response: ResponseWriter) -> None:
            recorded = self.record(request)
            if request.known_body is not None:
                request.body = TeeBody(request.body, recorded.content)
            try:
                await serve(request, response, recorded)
            finally:
                self.end(recorded, response.status)

        return recorded_app

    def _connection(self, request: Request) -> Connection:
        peer: Any = request.peer
        found = self._open.get(peer)
        if found is None:
            number = self.connections[-1].number + 1 if self.connections else 1  # `clear` keeps those that are open
            found = self._open[peer] = Connection(number, peer.client_address)
            self.connections.append(found)
            task = asyncio.get_running_loop().create_task(self._watch(peer, found))
            self._watchers.add(task)
            task.add_done_callback(self._watchers.discard)
        return found

    async def _watch(self, peer: Any, connection: Connection) -> None:
        try:
            await peer.wait_lost()
        finally:
            connection.closed = True
            self._open.pop(peer, None)

    async def close(self) -> None:
        """The server has stopped: no connection is watched any more."""
        for task in tuple(self._watchers):
            task.cancel()
        if self._watchers:
            await asyncio.wait(tuple(self._watchers))


class TeeBody:
    """A request body that keeps a copy of all that is read of it. See `aiohttpd.StreamReader`.

    Args:
        inner: the body.
        copy: gets the bytes.
    """

    def __init__(self, inner: Body, copy: bytearray) -> None:
        self._inner = inner
        self._copy = copy
        self._call: Coroutine[Any, Any, bytes] | None = None

    @property
    def limit(self) -> int | None:
        """Bytes that may be read."""
        return self._inner.limit

    @limit.setter
    def limit(self, limit: int | None) -> None:
        self._inner.limit = limit

    @property
    def received(self) -> int:
        """Bytes that have arrived."""
        return self._inner.received

    @received.setter
    def received(self, count: int) -> None:
        self._inner.received = count

    @property
    def taken(self) -> int:
        """Bytes that have been read."""
        return self._inner.taken

    def read(self, n: int = -1) -> Awaitable[bytes]:
        """Read some of it, or all."""
        return self._copied(self._inner.read(n))

    def read_at_once(self) -> bytes | None:
        """All of it, if it is there."""
        data = self._inner.read_at_once()
        self._copy += data or b""
        return data

    def readexactly(self, n: int) -> Awaitable[bytes]:
        """Read a number of bytes."""
        return self._copied(self._inner.readexactly(n))

    def readline(self, limit: int = -1) -> Awaitable[bytes]:
        """Read a line."""
        return self._copied(self._inner.readline(limit))

    def readuntil(self, separator: bytes = b"\n") -> Awaitable[bytes]:
        """Read up to a separator."""
        return self._copied(self._inner.readuntil(separator))

    def check_awaited(self) -> None:
        """Raise `ContractError` if the last read was called but not awaited."""
        try:
            self._inner.check_awaited()
        except ContractError:
            if self._call is not None:
                self._call.close()
            raise

    def at_eof(self) -> bool:
        """Whether all has been read."""
        return self._inner.at_eof()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._inner:
            self._copy += piece
            yield piece

    def _copied(self, read: Awaitable[bytes]) -> Coroutine[Any, Any, bytes]:
        self._call = call = self._await(read)
        return call

    async def _await(self, read: Awaitable[bytes]) -> bytes:
        data = await read
        self._copy += data
        return data
