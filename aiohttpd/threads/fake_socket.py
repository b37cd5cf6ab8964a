"""FakeSocket: the object that a handler of ``http.server`` gets as its socket.

It has the methods of a socket that such handlers use. All others are those of a real socket.
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
    """The value of ``self.request`` and ``self.connection`` in a handler.

    It has what ``StreamRequestHandler`` needs. Code that uses more of a socket (``fileno``, ``detach``, …) gets a real
    socket from then on: one end of a socket pair, whose other end the loop copies from and to the client. Bytes that
    such code has not read are the next request.

    Attributes:
        exchange: the request and its answer.
        head_is_known: whether the handler does not read the head.
        opener: makes the file to read from, in place of the socket itself; with False a file without a buffer.
        sees_requests: whether it is for a single request, and not for all requests of a connection.
        handled: whether the handler has ended; then it is ``socketserver`` that closes it.
        failed: whether the handler has raised an exception, which has been reported.
        on_close: called when the handler or ``socketserver`` closes it.
    """

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.head_is_known = False
        self.opener: Callable[[bool], Any] | None = None
        self.sees_requests = True
        self.handled = False
        self.failed = False
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
        if not hasattr(socket.socket, name):  # for hasattr()
            raise AttributeError(f"a socket has no {name!r}")
        return getattr(self.take_over(), name)

    def take_over(self) -> socket.socket:
        """Get a real socket. What has not been read yet is read from it."""
        if self._rfile is None:
            self._rfile = self._open(buffered=True)
        sock = self.exchange.take_over()
        sock.settimeout(self._timeout)
        return sock

    def makefile(self, mode: str = "r", buffering: int | None = None, **options: Any) -> Any:
        """A file to read the request from, as it was sent, or to write the answer to."""
        if "w" in mode:
            file: Any = _AnswerFile(self)
            if buffering is None or buffering > 1:
                file = io.BufferedWriter(file, buffering or io.DEFAULT_BUFFER_SIZE)
        elif self._rfile is not None and not self._rfile.closed:
            file = self._rfile
        else:
            file = self._rfile = self._open(buffered=buffering != 0)
        return file if "b" in mode else io.TextIOWrapper(file, **options)

    def _open(self, *, buffered: bool) -> Any:
        if self.opener is not None:
            return self.opener(buffered)
        file = self.exchange.open(with_head=not self.head_is_known)
        # A real socket for an unbuffered file: its user may fork and hand over the descriptor.
        return file if buffered else socket.SocketIO(self.exchange.take_over(), "r")

    def sendall(self, data: Any, *flags: int) -> None:
        """Send all bytes; this waits only if very much waits for a slow client."""
        self.exchange.send(data)

    def send(self, data: Any, *flags: int) -> int:
        """Send, as `sendall` does."""
        self.exchange.send(data)
        return len(data) if type(data) is bytes else memoryview(data).nbytes

    def recv(self, size: int, *flags: int) -> bytes:
        """Receive bytes of the request; after the answer, the bytes that follow."""
        if self.exchange.taken_over is None and not any(flags):
            if self._rfile is None:
                self._rfile = self._open(buffered=True)
            data: bytes = self._rfile.read1(size)
            if data or not self.sees_requests or not self.exchange.answered or self.exchange.writer.tunnelled:
                return data
        return self.take_over().recv(size, *flags)

    def getpeername(self) -> Any:
        """The address of the client."""
        return self.exchange.request.client_address

    def getsockname(self) -> Any:
        """The address of the server."""
        return self.exchange.request.server_address

    @property
    def family(self) -> Any:
        """The address family of the client's socket."""
        return self.exchange.writer.get_extra_info("socket").family

    @property
    def type(self) -> Any:
        """The type of the client's socket."""
        return self.exchange.writer.get_extra_info("socket").type

    @property
    def proto(self) -> Any:
        """The protocol of the client's socket."""
        return self.exchange.writer.get_extra_info("socket").proto

    def getsockopt(self, *arguments: Any) -> Any:
        """An option of the client's socket."""
        return self.exchange.writer.get_extra_info("socket").getsockopt(*arguments)

    def settimeout(self, seconds: float | None) -> None:
        """Set how long the client of this connection may send nothing, in seconds."""
        self._timeout = seconds
        if seconds != 0:  # 0 means non-blocking, which only a real socket can be
            self.exchange.set_silence(seconds)
        if self.exchange.taken_over is not None:
            self.exchange.taken_over.settimeout(seconds)

    def gettimeout(self) -> float | None:
        """The timeout that has been set here, or for the connection."""
        return self.exchange.request.peer.silence if self._timeout is None else self._timeout

    def setblocking(self, flag: bool) -> None:
        """Make it blocking or not; non-blocking makes a real socket."""
        if not flag or self.exchange.taken_over is not None:
            self.exchange.take_over().setblocking(flag)

    def setsockopt(self, *arguments: Any) -> None:
        """Ignore the option, which is the server's to set; but SO_LINGER 0 has the connection end with RST."""
        if arguments[:2] == (socket.SOL_SOCKET, socket.SO_LINGER):
            self._resets = arguments[2:] == (_NO_LINGER,)

    def shutdown(self, how: int) -> None:
        """Shut down the real socket, if there is one; else nothing, since the end of the answer does that."""
        if self.exchange.taken_over is not None:
            self.exchange.taken_over.shutdown(how)
        elif how != socket.SHUT_RD:
            self._hang_up()

    def close(self) -> None:
        """Close it: the handler does not need it any more."""
        self._hang_up()
        if self.on_close is not None:
            self.on_close()

    def _hang_up(self) -> None:
        """Close the connection without an answer, if the handler closes it before it has answered."""
        if not self.handled:
            self.exchange.hang_up(reset=self._resets)

    # TLS: the server has done the handshake.

    def _tls(self) -> Any:
        return self.exchange.writer.get_extra_info("ssl_object")

    def _of_tls(self, name: str) -> Any:
        """An attribute of ``ssl.SSLSocket``; without TLS there is none."""
        tls = self._tls()
        if tls is None:
            raise AttributeError(f"{name}: this connection has no TLS")
        return getattr(self, "_tls_" + name) if name in _OWN_OF_TLS else getattr(tls, name)

    _tls_do_handshake_on_connect = False
    _tls_suppress_ragged_eofs = True

    def _tls_do_handshake(self, block: bool = False) -> None:
        """Do nothing: the server has done it."""

    def _tls_pending(self) -> int:
        """The number of bytes that can be read without waiting; 0 with a real socket, for which ``select`` works."""
        return 0 if self._rfile is None or self.exchange.taken_over is not None else len(self._rfile.peek())

    def _tls_unwrap(self) -> "FakeSocket":
        """Do nothing: the server closes TLS with the connection."""
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
    """``wfile`` of a handler that wants it buffered, or that overrides ``setup``."""

    def __init__(self, connection: FakeSocket) -> None:
        self._connection = connection

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return self._connection.send(data)
