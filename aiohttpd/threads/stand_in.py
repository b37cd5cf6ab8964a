"""Connection: what a handler of ``http.server`` finds where it expects a socket.

Owns the part of a socket's surface that such handlers use. Everything else is a real socket's.
"""

import io
import socket
from collections.abc import Callable
from typing import Any

from .exchange import Exchange

__all__ = ["Connection"]


class Connection:
    """What a handler finds as ``self.request`` and ``self.connection``.

    It has what ``StreamRequestHandler`` needs of a socket. Whoever wants more (``fileno``, ``detach``, …) gets a real
    socket, whose other end is pumped by the loop, and talks to that from then on.

    Attributes:
        exchange: the request, and the way of its answer.
        head_is_known: the handler does not want to read the head.
        open: makes the file to read from.
        on_close: called when the handler, or ``socketserver``, closes it.
    """

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.head_is_known = False
        self.open: Callable[[], io.BufferedIOBase] = self._open
        self.on_close: Callable[[], None] | None = None
        self._rfile: io.BufferedIOBase | None = None
        self._timeout: float | None = None

    def __getattr__(self, name: str) -> Any:
        if not hasattr(socket.socket, name):  # somebody only looks whether it is there
            raise AttributeError(f"a socket has no {name!r}")
        sock = self.exchange.take_over()
        sock.settimeout(self._timeout)
        return getattr(sock, name)

    def makefile(self, mode: str = "r", buffering: int | None = None, **options: Any) -> Any:
        """The request as it was sent, or the way of the answer, as a file."""
        if "w" in mode:
            file: Any = _AnswerFile(self)
            if buffering is None or buffering > 1:
                file = io.BufferedWriter(file, buffering or io.DEFAULT_BUFFER_SIZE)
        else:
            file = self._rfile = self.open()
        return file if "b" in mode else io.TextIOWrapper(file, **options)

    def _open(self) -> io.BufferedIOBase:
        return self.exchange.open(with_head=not self.head_is_known)

    def sendall(self, data: Any, *flags: int) -> None:
        """Send all of it; this waits only if the client is very far behind."""
        self.exchange.send(data)

    def send(self, data: Any, *flags: int) -> int:
        """Send, as `sendall` does."""
        self.exchange.send(data)
        return memoryview(data).nbytes

    def recv(self, size: int, *flags: int) -> bytes:
        """Receive what has not been read yet."""
        sock = self.exchange.taken_over
        if sock is not None:
            return sock.recv(size, *flags)
        if self._rfile is None:
            self._rfile = self.open()
        return self._rfile.read1(size)

    def getpeername(self) -> Any:
        """The address of the client."""
        return self.exchange.request.client_address

    def getsockname(self) -> Any:
        """Our address."""
        return self.exchange.request.server_address

    @property
    def family(self) -> Any:
        """The address family of the client's socket."""
        return self.exchange.writer.get_extra_info("socket").family

    def settimeout(self, seconds: float | None) -> None:
        """Say how long the client may be silent, from now on and on this connection."""
        self._timeout = seconds
        if seconds != 0:  # who does not want to block wants a real socket
            self.exchange.set_silence(seconds)
        if self.exchange.taken_over is not None:
            self.exchange.taken_over.settimeout(seconds)

    def gettimeout(self) -> float | None:
        """What has been set, for the connection if not here."""
        return self.exchange.request.peer.silence if self._timeout is None else self._timeout

    def setblocking(self, flag: bool) -> None:
        """As of a socket; who does not want to block wants a real one."""
        if not flag or self.exchange.taken_over is not None:
            self.exchange.take_over().setblocking(flag)

    def setsockopt(self, *arguments: Any) -> None:
        """Nothing is set: the options of the real socket are the server's."""

    def shutdown(self, how: int) -> None:
        """Of the real socket, if there is one; else the end of the answer says the same."""
        if self.exchange.taken_over is not None:
            self.exchange.taken_over.shutdown(how)

    def close(self) -> None:
        """The handler is done with it."""
        if self.on_close is not None:
            self.on_close()

    # TLS.

    def getpeercert(self, binary_form: bool = False) -> Any:
        """The certificate of the client; as of an ``ssl.SSLSocket``."""
        return self._of_tls("getpeercert", binary_form)

    def cipher(self) -> Any:
        """The cipher; as of an ``ssl.SSLSocket``."""
        return self._of_tls("cipher")

    def version(self) -> Any:
        """The version of TLS; as of an ``ssl.SSLSocket``."""
        return self._of_tls("version")

    def selected_alpn_protocol(self) -> Any:
        """The protocol agreed on; as of an ``ssl.SSLSocket``."""
        return self._of_tls("selected_alpn_protocol")

    def _of_tls(self, name: str, *arguments: Any) -> Any:
        ssl_object = self.exchange.writer.get_extra_info("ssl_object")
        if ssl_object is None:
            raise AttributeError(f"{name}: this connection has no TLS")
        return getattr(ssl_object, name)(*arguments)


class _AnswerFile(io.RawIOBase):
    """``wfile`` for a handler that wants it buffered, or that has replaced ``setup``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return self._connection.send(bytes(data))
