"""FakeSocket: what a handler of ``http.server`` finds where it expects a socket.

Owns the part of a socket's surface that such handlers use. Everything else is a real socket's.
"""

import io
import socket
import ssl
import struct
from collections.abc import Callable
from typing import Any

from .exchange import Exchange

__all__ = ["FakeSocket"]


class FakeSocket:
    """What a handler finds as ``self.request`` and ``self.connection``.

    It has what ``StreamRequestHandler`` needs of a socket. Whoever wants more (``fileno``, ``detach``, …) gets a real
    socket, whose other end is pumped by the loop, and talks to that from then on. What such code has read of the
    connection is its own; what it has not is the next request.

    Attributes:
        exchange: the request, and the way of its answer.
        head_is_known: the handler does not want to read the head.
        open: makes the file to read from; False asks for one without a buffer.
        sees_requests: it is for one request, and not for all of a connection.
        handled: the handler has ended; who closes it now is ``socketserver``.
        on_close: called when the handler, or ``socketserver``, closes it.
    """

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.head_is_known = False
        self.open: Callable[[bool], Any] = self._open
        self.sees_requests = True
        self.handled = False
        self.on_close: Callable[[], None] | None = None
        self._rfile: Any = None
        self._timeout: float | None = None
        self._resets = False

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        """For ``isinstance``, which programs ask whether there is TLS."""
        return socket.socket if self._tls() is None else ssl.SSLSocket

    def __getattr__(self, name: str) -> Any:
        if name in _OF_TLS:
            return self._of_tls(name)
        if not hasattr(socket.socket, name):  # somebody only looks whether it is there
            raise AttributeError(f"a socket has no {name!r}")
        return getattr(self.take_over(), name)

    def take_over(self) -> socket.socket:
        """Get a real socket, from which all is read that has not been read yet."""
        if self._rfile is None:
            self._rfile = self.open(True)
        sock = self.exchange.take_over()
        sock.settimeout(self._timeout)
        return sock

    def makefile(self, mode: str = "r", buffering: int | None = None, **options: Any) -> Any:
        """The request as it was sent, or the way of the answer, as a file."""
        if "w" in mode:
            file: Any = _AnswerFile(self)
            if buffering is None or buffering > 1:
                file = io.BufferedWriter(file, buffering or io.DEFAULT_BUFFER_SIZE)
        elif self._rfile is not None and not self._rfile.closed:
            file = self._rfile
        else:
            file = self._rfile = self.open(buffering != 0)
        return file if "b" in mode else io.TextIOWrapper(file, **options)

    def _open(self, buffered: bool) -> Any:
        file = self.exchange.open(with_head=not self.head_is_known)
        # Without a buffer, for code that forks and hands the descriptor on: it has to be there before.
        return file if buffered else socket.SocketIO(self.exchange.take_over(), "r")

    def sendall(self, data: Any, *flags: int) -> None:
        """Send all of it; this waits only if the client is very far behind."""
        self.exchange.send(data)

    def send(self, data: Any, *flags: int) -> int:
        """Send, as `sendall` does."""
        self.exchange.send(data)
        return memoryview(data).nbytes

    def recv(self, size: int, *flags: int) -> bytes:
        """Receive what has not been read of the request; after its answer, whatever comes."""
        if self.exchange.taken_over is None and not any(flags):
            if self._rfile is None:
                self._rfile = self.open(True)
            data: bytes = self._rfile.read1(size)
            if data or not self.sees_requests or not self.exchange.answered or self.exchange.writer.tunnelled:
                return data
        return self.take_over().recv(size, *flags)

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

    @property
    def type(self) -> Any:
        """The kind of the client's socket."""
        return self.exchange.writer.get_extra_info("socket").type

    @property
    def proto(self) -> Any:
        """The protocol of the client's socket."""
        return self.exchange.writer.get_extra_info("socket").proto

    def getsockopt(self, *arguments: Any) -> Any:
        """As the client's socket has it."""
        return self.exchange.writer.get_extra_info("socket").getsockopt(*arguments)

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
        """Nothing is set: the options of the real socket are the server's. To close with a reset is a wish apart."""
        if arguments[:2] == (socket.SOL_SOCKET, socket.SO_LINGER):
            self._resets = arguments[2:] == (_NO_LINGER,)

    def shutdown(self, how: int) -> None:
        """Of the real socket, if there is one; else the end of the answer says the same."""
        if self.exchange.taken_over is not None:
            self.exchange.taken_over.shutdown(how)
        elif how != socket.SHUT_RD:
            self._hang_up()

    def close(self) -> None:
        """The handler is done with it."""
        self._hang_up()
        if self.on_close is not None:
            self.on_close()

    def _hang_up(self) -> None:
        """A handler that closes without an answer does not want one to be given."""
        if not self.handled:
            self.exchange.hang_up(reset=self._resets)

    # TLS: it is the server's, and has been agreed upon.

    def _tls(self) -> Any:
        return self.exchange.writer.get_extra_info("ssl_object")

    def _of_tls(self, name: str) -> Any:
        """What an ``ssl.SSLSocket`` has; there is nothing of it without TLS."""
        tls = self._tls()
        if tls is None:
            raise AttributeError(f"{name}: this connection has no TLS")
        return getattr(self, "_tls_" + name) if name in _OWN_OF_TLS else getattr(tls, name)

    _tls_do_handshake_on_connect = False
    _tls_suppress_ragged_eofs = True

    def _tls_do_handshake(self, block: bool = False) -> None:
        """It has been done."""

    def _tls_pending(self) -> int:
        """Bytes of the request that can be read without waiting; a real socket is to be asked by ``select``."""
        return 0 if self._rfile is None or self.exchange.taken_over is not None else len(self._rfile.peek())

    def _tls_unwrap(self) -> "FakeSocket":
        """TLS ends with the connection, and that with the answer."""
        self.exchange.closes = True
        return self

    def _tls_read(self, size: int = 1024, buffer: Any = None) -> bytes | int:
        if buffer is None:
            return self.recv(size)
        data = self.recv(min(size, len(buffer)))
        buffer[: len(data)] = data
        return len(data)

    def _tls_write(self, data: Any) -> int:
        return self.send(data)

    def _tls_verify_client_post_handshake(self) -> None:
        raise NotImplementedError(
            "a certificate is asked for in the handshake: context.verify_mode = ssl.CERT_REQUIRED"
        )


_NO_LINGER = struct.pack("ii", 1, 0)
_OWN_OF_TLS = frozenset(name[5:] for name in vars(FakeSocket) if name.startswith("_tls_"))
_OF_TLS = _OWN_OF_TLS | {
    name for name in (*dir(ssl.SSLSocket), *dir(ssl.SSLObject)) if name[0] != "_" and not hasattr(socket.socket, name)
}


class _AnswerFile(io.RawIOBase):
    """``wfile`` for a handler that wants it buffered, or that has replaced ``setup``."""

    def __init__(self, connection: FakeSocket) -> None:
        self._connection = connection

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return self._connection.send(bytes(data))
