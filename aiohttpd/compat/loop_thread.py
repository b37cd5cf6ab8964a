"""LoopThread: the thread in which the loop of a server of ``socketserver`` runs.

Owns its beginning and its end, and what is still on its way when the program ends.
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
from typing import Any

from ..engine.connection import ConnectionState
from ..runner.process import loop_factory
from ..server.server import HTTPServer as Server

__all__ = ["LoopThread"]

_SWEPT = 0.03  # seconds after which what a thread has written has left
_LAST_MOMENT = 0.5  # seconds for answers that are on their way when the program ends

_running: "weakref.WeakSet[LoopThread]" = weakref.WeakSet()


class LoopThread(threading.Thread):
    """A thread with a loop and a server in it.

    Args:
        server: of ours.
        patient: the program does not end before its handlers.
    """

    def __init__(self, server: Server, *, patient: bool) -> None:
        super().__init__(name="aiohttpd-loop", daemon=True)
        self._server = server
        self._patient = patient
        self._kept: dict[Any, Any] = {}  # the server of socketserver, while something is under way
        self._begun = threading.Event()
        self._error: list[BaseException] = []
        self._deaf = threading.Event()  # it accepts no more
        self._stops: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop
        self.start()
        self._begun.wait()
        if self._error:
            self.join()
            raise self._error.pop()
        _running.add(self)

    def keep(self, server: Any, until: Future[None] | None = None) -> None:
        """Keep a server alive until something is over; the end of the thread, if nothing is named."""
        self._kept[until] = server
        if until is not None:
            until.add_done_callback(lambda _: self._kept.pop(until, None))

    def run(self) -> None:
        # If the interpreter is ending, no thread can be started that would wait for others; the loop is closed then.
        with contextlib.suppress(RuntimeError), asyncio.Runner(loop_factory=loop_factory()) as runner:
            self._loop = runner.get_loop()
            try:
                runner.run(self._serve())
            except BaseException as error:
                self._error.append(error)
                self._begun.set()
        self._deaf.set()
        self._kept.clear()

    async def _serve(self) -> None:
        await self._server.start()
        self._begun.set()
        await self._server.serve_forever()
        await asyncio.sleep(0)  # uvloop closes what it has been given a turn later

    def stop(self, grace: float | None = None) -> None:
        """Begin to stop, and wait until it accepts no more: whoever comes then is for the next one."""
        if self.begin_to_stop(grace) and self is not threading.current_thread():
            self._deaf.wait()

    def begin_to_stop(self, grace: float | None) -> bool:
        """Begin to stop; say whether there is something to be stopped."""
        with contextlib.suppress(RuntimeError):  # it has stopped
            self._loop.call_soon_threadsafe(self._end, grace)
            return True
        return False

    def _end(self, grace: float | None) -> None:
        self._stops.add(
            self._loop.create_task(self._server.shutdown(grace, last=False))
        )  # who waits is for the next loop
        self._stops.add(self._loop.create_task(self._tell()))

    async def _tell(self) -> None:
        for _ in range(3):  # a connection that uvloop has accepted already is made in a later turn
            await asyncio.sleep(0)
        self._deaf.set()

    def asked(self) -> set[Any]:
        """The connections that have a request under way: a part of a head, or what waits for its thread."""
        states = ConnectionState.HEAD, ConnectionState.SERVING
        return {connection for connection in self._server.connections if connection.state in states}

    def serve(
        self,
        sock: socket.socket,
        context: ssl.SSLContext | None,
        secured: ssl.SSLSocket | None,
        client_address: Any,
        timeout: float | None,
    ) -> Future[None]:
        """Serve a connection; return what is done once that is over.

        Args:
            sock: the connection.
            context: makes it HTTPS.
            secured: somebody else's TLS, with ``sock`` behind it.
            client_address: who is at the other end.
            timeout: seconds that the client may be silent.
        """
        return self._ask(self._serve_connection(sock, context, secured, client_address, timeout))

    async def _serve_connection(
        self,
        sock: socket.socket,
        context: ssl.SSLContext | None,
        secured: ssl.SSLSocket | None,
        client_address: Any,
        timeout: float | None,
    ) -> None:
        with contextlib.suppress(OSError):  # the handshake has failed
            connection = await self._server.serve_connection(sock, context, client_address, secured=secured)
            if timeout is not None:
                connection.set_silence(timeout)
            await self._server.closed(connection)

    def when_gone(self, connection: Any) -> Future[None]:
        """Return a future that is done when a connection has been closed."""
        return self._ask(self._server.closed(connection))

    def _ask(self, coroutine: Coroutine[Any, Any, None]) -> Future[None]:
        try:
            return asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        except RuntimeError:  # it has stopped
            coroutine.close()
            raise

    def deliver(self) -> None:
        """The program ends: see to what has been written, which there is in the kernel by now."""
        if self.is_alive():
            with contextlib.suppress(RuntimeError, TimeoutError, CancelledError):
                self._ask(self._deliver()).result(None if self._patient else 2 * _LAST_MOMENT)

    async def _deliver(self) -> None:
        server = self._server
        begun = self._loop.time()
        while server.in_flight or any(connection.out.unsent for connection in server.connections):
            waited = self._loop.time() - begun
            late = waited > _LAST_MOMENT or (waited > _SWEPT and not any(c.out.unsent for c in server.connections))
            if late and not (self._patient and server.in_flight):
                return
            await asyncio.sleep(_SWEPT / 10)


@atexit.register
def _deliver_at_exit() -> None:
    for thread in tuple(_running):
        thread.deliver()
