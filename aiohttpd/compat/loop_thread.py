"""LoopThread: the thread with the event loop of a server of ``socketserver``.

Owns its start and its end. When the program ends, it waits for answers that have not been sent yet.
"""

import asyncio
import atexit
import contextlib
import socket
import ssl
import threading
import weakref
from collections.abc import Coroutine
from concurrent.futures import CancelledError, Future
from typing import Any, TypeVar

from ..engine.connection import ConnectionState
from ..runner.process import loop_factory
from ..server.server import HTTPServer as Server

__all__ = ["LoopThread"]

T = TypeVar("T")

_WRITTEN = 0.03  # seconds in which the loop takes what a thread has written
_LAST_ANSWERS = 0.5  # seconds for answers that have not been sent when the program ends

_running: "weakref.WeakSet[LoopThread]" = weakref.WeakSet()


class LoopThread(threading.Thread):
    """A thread with an event loop and a server. The constructor returns when the server has been started.

    Args:
        server: a server of this package, not started yet.
        patient: whether the program waits for running handlers before it ends.

    Raises:
        Exception: the server could not be started.
    """

    def __init__(self, server: Server, *, patient: bool) -> None:
        super().__init__(name="aiohttpd-loop", daemon=True)
        self._server = server
        self._patient = patient
        self._kept: dict[Any, Any] = {}  # keeps the server of socketserver alive until these futures are done
        self._begun = threading.Event()
        self._error: list[BaseException] = []
        self._accepts_no_more = threading.Event()
        self._stops: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop
        self.start()
        self._begun.wait()
        if self._error:
            self.join()
            raise self._error.pop()

    def keep(self, server: Any, until: Future[Any] | None = None) -> None:
        """Keep a server alive until a future is done, or until the end of the thread."""
        self._kept[until] = server
        if until is not None:
            until.add_done_callback(lambda _: self._kept.pop(until, None))

    def run(self) -> None:
        # RuntimeError: while the interpreter ends, Runner cannot start the thread that waits for the executor.
        with contextlib.suppress(RuntimeError), asyncio.Runner(loop_factory=loop_factory()) as runner:
            self._loop = runner.get_loop()
            try:
                runner.run(self._serve())
            except BaseException as error:
                self._error.append(error)
                self._begun.set()
        self._accepts_no_more.set()
        self._kept.clear()

    async def _serve(self) -> None:
        _running.add(self)  # before a request can be answered, after which the program may end at once
        await self._server.start()
        self._begun.set()
        await self._server.serve_forever()
        await asyncio.sleep(0)  # uvloop closes sockets one turn later

    def stop(self, grace: float | None = None) -> None:
        """Begin to stop, and wait until it accepts no connection any more.

        Args:
            grace: seconds for requests in flight, by default ``timeout_grace``.
        """
        if self.begin_to_stop(grace) and self is not threading.current_thread():
            self._accepts_no_more.wait()

    def begin_to_stop(self, grace: float | None) -> bool:
        """Begin to stop; return False if the loop has been closed already."""
        with contextlib.suppress(RuntimeError):  # the loop has been closed
            self._loop.call_soon_threadsafe(self._end, grace)
            return True
        return False

    def _end(self, grace: float | None) -> None:
        # Not ``last``: connections that wait in the backlog are for the next loop.
        self._stops.add(self._loop.create_task(self._server.shutdown(grace, last=False)))
        self._stops.add(self._loop.create_task(self._set_accepts_no_more()))

    async def _set_accepts_no_more(self) -> None:
        for _ in range(3):  # uvloop makes a connection some turns after it has accepted it
            await asyncio.sleep(0)
        self._accepts_no_more.set()

    def with_requests(self) -> set[Any]:
        """The connections that have begun a request: a part of a head has arrived, or the handler is not done."""
        states = ConnectionState.READY, ConnectionState.HEAD, ConnectionState.SERVING
        return {connection for connection in self._server.connections if connection.state in states}

    def serve(
        self,
        sock: socket.socket,
        context: ssl.SSLContext | None,
        secured: ssl.SSLSocket | None,
        client_address: Any,
        timeout: float | None,
    ) -> Future[Any]:
        """Serve a connection; return a future that is done when it has been closed, and has it as its result.

        Args:
            sock: the socket of the connection.
            context: the TLS context, if TLS has to be set up.
            secured: the TLS socket in front of ``sock``, if TLS has been set up already.
            client_address: the address of the client.
            timeout: seconds for which the client may send nothing; None for the deadlines of the options.
        """

        async def serve() -> Any:
            with contextlib.suppress(OSError):  # the TLS handshake has failed
                connection = await self._server.serve_connection(sock, context, client_address, secured=secured)
                if timeout is not None:
                    connection.set_silence(timeout)
                await self._server.closed(connection)
                return connection
            return None

        return self._submit(serve())

    def _submit(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        try:
            return asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        except RuntimeError:  # the loop has been closed
            coroutine.close()
            raise

    def deliver(self) -> None:
        """When the program ends, wait until the kernel has what handlers have written, as with blocking sockets."""
        if self.is_alive():
            with contextlib.suppress(RuntimeError, TimeoutError, CancelledError):
                self._submit(self._deliver()).result(None if self._patient else 2 * _LAST_ANSWERS)

    async def _deliver(self) -> None:
        server = self._server
        begun = self._loop.time()
        while server.in_flight or any(connection.out.unsent for connection in server.connections):
            waited = self._loop.time() - begun
            late = waited > _LAST_ANSWERS or (waited > _WRITTEN and not any(c.out.unsent for c in server.connections))
            if late and not (self._patient and server.in_flight):
                return
            await asyncio.sleep(_WRITTEN / 10)


@atexit.register
def _deliver_at_exit() -> None:
    for thread in tuple(_running):
        thread.deliver()
