"""A blocking client of a `TestServer` that sends and reads bytes, and says how the connection ended."""

import socket
import ssl

from aiohttpd.testing import TestServer


class RawPeer:
    """A client that says how the connection ended: FIN, RST, or still open."""

    def __init__(self, server: TestServer, context: ssl.SSLContext | None = None) -> None:
        sock = socket.create_connection((server.host, server.port), timeout=10)
        self.sock = sock if context is None else context.wrap_socket(sock, server_hostname="localhost")
        self.end = ""

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def read(self, count: int) -> bytes:
        got = b""
        while len(got) < count and (piece := self.sock.recv(count - len(got))):
            got += piece
        return got

    def read_until(self, end: bytes) -> bytes:
        got = b""
        while not got.endswith(end):
            piece = self.sock.recv(1)
            assert piece, got
            got += piece
        return got

    def rest(self) -> bytes:
        got = b""
        try:
            while piece := self.sock.recv(65536):
                got += piece
            self.end = "FIN"
        except ConnectionResetError:
            self.end = "RST"
        return got

    def is_quiet(self) -> bool:
        """Whether nothing comes, and the connection is open."""
        self.sock.settimeout(0.05)
        try:
            return self.sock.recv(1) is None
        except TimeoutError:
            return True
        finally:
            self.sock.settimeout(10)
