"""RateLimit, ConcurrencyLimit, BodyLimit and Deadline: how much of a server one client, or one request, may use.

Owns what counts as one client, and what the first two count for each client, in bounded memory.
"""

import asyncio
import functools
import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any

from ..engine.answer import Cause
from ..engine.interfaces import App
from ..errors import ContentTooLarge, HTTPError
from ..wire.request import Request
from .layer import Layer

__all__ = ["BodyLimit", "ConcurrencyLimit", "Deadline", "RateLimit", "client_key"]

Key = Callable[[Request], str | None]


def client_key(request: Request) -> str:
    """What counts as one client: its IPv4 address, or the first 64 bits of its IPv6 address.

    A network of 64 bits is what one customer usually has (RFC 6177), so its addresses are no different clients. An
    IPv4 address that is mapped into IPv6 is that IPv4 address. All clients of a unix socket are one, unless a trusted
    proxy names them.
    """
    address = request.client_address
    if isinstance(address, str):
        return "unix"
    host = str(address[0])
    return _key_of(host) if ":" in host else host


@functools.lru_cache(1024)
def _key_of(host: str) -> str:
    """What counts for an address of IPv6."""
    import ipaddress  # needed only for IPv6

    try:
        found = ipaddress.IPv6Address(host.partition("%")[0])
    except ValueError:
        return host
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.IPv6Address(int(found) >> 64 << 64)) + "/64"


class RateLimit(Layer):
    """Answer 429 with Retry-After to clients that send more requests than so many in a time.

    ::

        RateLimit(100, per=60)           # 100 at once, then one each 0.6 s
        RateLimit(100, per=60, burst=10)

    A client is an address (`client_key`); behind proxies it is that of the client, if the option ``trusted_proxies``
    names the proxies. Without that, the proxy is the only client: fields such as X-Forwarded-For are not believed.
    Each worker counts for itself. To limit tries of passwords, put it outside of the authentication.

    Args:
        requests: how many.
        per: in how many seconds.
        burst: how many of them may come at once; by default all.
        key: a function of the request that returns what counts as one client, or None for no limit; the user, say.
        most_clients: how many are remembered. Of more, those that have been silent for the longest time are forgotten.

    Raises:
        ValueError: a number is not positive.
    """

    def __init__(
        self,
        requests: int,
        per: float,
        *,
        burst: int | None = None,
        key: Key | None = None,
        most_clients: int = 10_000,
    ) -> None:
        burst = requests if burst is None else burst
        if not (requests > 0 and per > 0 and burst > 0 and most_clients > 0):
            raise ValueError("RateLimit: all numbers are greater than 0")
        self._interval = per / requests  # seconds
        self._tolerance = self._interval * (burst - 1)
        self._key = key or client_key
        self._most = most_clients
        # When each would be back at no use at all: the "generic cell rate algorithm", one number for each client.
        self._clients: OrderedDict[str, float] = OrderedDict()

    @property
    def clients(self) -> int:
        """How many clients are remembered."""
        return len(self._clients)

    def serve(self, app: App, request: Request, response: Any) -> Awaitable[None]:
        key = self._key(request)
        if key is not None:
            wait = self._count(key, monotonic())
            if wait > 0:
                response.head_mirrors_get = True
                after = ("Retry-After", str(math.ceil(wait)))
                raise HTTPError(429, None, "too many requests: wait before the next one", headers=[after])
        return app(request, response)

    def _count(self, key: str, now: float) -> float:
        """Count a request; returns the seconds that the client has to wait, 0 if it may go on."""
        clients = self._clients
        free = clients.get(key, now)
        if free <= now:
            free = now
        elif free - now > self._tolerance + 1e-9:  # seconds: sums of floats are not exact
            return free - now - self._tolerance
        clients[key] = free + self._interval
        clients.move_to_end(key)
        oldest = next(iter(clients))
        if len(clients) > self._most or clients[oldest] <= now:
            del clients[oldest]
        return 0.0


class ConcurrencyLimit(Layer):
    """Answer 429 to clients that have more than so many requests in flight.

    A request counts until its App has ended, also if its client has gone. The option ``max_in_flight`` limits the
    requests of all clients together. Each worker counts for itself.

    Args:
        each: how many for one client.
        key: as for `RateLimit`.

    Raises:
        ValueError: the number is not positive.
    """

    def __init__(self, each: int, *, key: Key | None = None) -> None:
        if each <= 0:
            raise ValueError("ConcurrencyLimit: the number is greater than 0")
        self._each = each
        self._key = key or client_key
        self._running: dict[str, int] = {}  # only those that have requests in flight

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_running": {}}

    @property
    def clients(self) -> int:
        """How many clients have requests in flight."""
        return len(self._running)

    async def serve(self, app: App, request: Request, response: Any) -> None:
        key = self._key(request)
        if key is None:
            await app(request, response)
            return
        count = self._running.get(key, 0)
        if count >= self._each:
            response.head_mirrors_get = True
            raise HTTPError(429, None, "too many requests at once", headers=[("Retry-After", "1")])
        self._running[key] = count + 1
        try:
            await app(request, response)
        finally:
            if self._running[key] == 1:
                del self._running[key]
            else:
                self._running[key] -= 1


class BodyLimit(Layer):
    """Answer 413 to requests with a larger body than so many bytes.

    A body whose length is known is refused before the App is called; one in chunks when more is read. It is in place
    of the option ``limit_body`` for the App in it, and can be lower or higher; handler classes that set
    ``max_body_size`` have their own limit for chunks, and so have uploads to a folder (``max_upload``).

    Args:
        size: in bytes.

    Raises:
        ValueError: the number is negative.
    """

    def __init__(self, size: int) -> None:
        if size < 0:
            raise ValueError("BodyLimit: the size is not negative")
        self._size = size

    def serve(self, app: App, request: Request, response: Any) -> Awaitable[None]:
        if request.framing.has_body:
            if (request.framing.content_length or 0) > self._size:
                raise ContentTooLarge(self._size)
            request.body.limit = self._size
        return app(request, response)


class Deadline(Layer):
    """Cancel a handler that has not begun its answer in time, and answer 503, or another status.

    The option ``timeout_handler`` does this for all requests of a server; this is for some routes, and the connection
    stays open. The time includes what the handler waits for the body. An answer that has begun may take what it needs.
    A plain ``def do_GET`` cannot be cancelled: it goes on in its thread, and its answer is dropped.

    Args:
        seconds: from the call of the App on.
        status: 503; 504 where the handler waits for another server.

    Raises:
        ValueError: the time is not positive, or the status is no error of a server.
    """

    def __init__(self, seconds: float, *, status: int = 503) -> None:
        if seconds <= 0:
            raise ValueError("Deadline: the time is greater than 0")
        if not 500 <= status <= 599:
            raise ValueError(f"Deadline: the status is 500 to 599, not {status}")
        self._seconds = seconds
        self._status = status

    async def serve(self, app: App, request: Request, response: Any) -> None:
        task = asyncio.current_task()
        assert task is not None
        overdue = False

        def expire() -> None:
            nonlocal overdue
            if response.cancelled is None and response.replaceable():
                overdue = True
                response.cancelled = Cause.DEADLINE  # so that a handler passes it on, instead of answering it
                task.cancel()

        timer = task.get_loop().call_later(self._seconds, expire)
        try:
            await app(request, response)
        except asyncio.CancelledError as error:
            if not overdue or task.uncancel() or not response.replaceable():
                raise
            response.cancelled = None
            late = TimeoutError(f"no answer was begun within {self._seconds:g} seconds")
            response.report(late.with_traceback(error.__traceback__))
        else:
            if overdue:  # the App has caught it, and answered
                task.uncancel()
                response.cancelled = None
            return
        finally:
            timer.cancel()
        raise HTTPError(self._status, None, "the request took too long")
