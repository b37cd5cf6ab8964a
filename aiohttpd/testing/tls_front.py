"""TLS handshakes that are slow, or that end by a reset.

Owns a listening socket in front of a server, which gets a connection when its time has come.
"""

import asyncio
import contextlib
import socket
import ssl
import struct

from ..server.server import HTTPServer

__all__ = ["TLSFront"]

_RESET = struct.pack("ii", 1, 0)  # struct linger: on, 0 seconds; close() sends RST


class TLSFront:
    """Accepts connections for a server.

    Args:
        server: serves those that are not reset.
        context: of TLS.
        delay: seconds before the handshake; None: reset the connection in place of it.
        port: of 127.0.0.1; 0 is a free one.
    """

    def __init__(self, server: HTTPServer, context: ssl.SSLContext, delay: float | None, port: int = 0) -> None:
        self._server = server
        self._context = context
        self._delay = delay
        self._listener = socket.create_server(("127.0.0.1", port))
        self._listener.setblocking(False)
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting: set[socket.socket] = set()  # accepted, and not the server's yet
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._listener, self._accept)  # a task that awaits may lose what it has accepted

    @property
    def url(self) -> str:
        """Of the listening socket."""
        return f"https://127.0.0.1:{self._listener.getsockname()[1]}"

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # it has gone already
            sock, _ = self._listener.accept()
            sock.setblocking(False)
            self._waiting.add(sock)
            task = self._loop.create_task(self._serve(sock))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError, RuntimeError):  # the client has given up, or the server stops
            if self._delay is None:
                await self._loop.sock_recv(sock, 1)  # the handshake has begun
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                sock.close()
                return
            await asyncio.sleep(self._delay)
            self._waiting.discard(sock)
            await self._server.serve_connection(sock, self._context)

    async def close(self) -> None:
        """Stop."""
        self._loop.remove_reader(self._listener)
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for sock in (self._listener, *self._waiting):
            sock.close()
