"""Ports on which nobody listens, held so that nobody else takes them."""

import contextlib
import socket
from collections.abc import Iterator

__all__ = ["bound_socket", "closed_port"]


def bound_socket() -> socket.socket:
    """A TCP socket that has a port of 127.0.0.1 and does not listen: connections to it are refused."""
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    return sock


@contextlib.contextmanager
def closed_port() -> Iterator[int]:
    """Hold a port of 127.0.0.1 during a block; the kernel refuses connections to it.

    ::

        with closed_port() as port, pytest.raises(httpx.ConnectError):
            httpx.get(f"http://127.0.0.1:{port}/")
    """
    with bound_socket() as sock:
        yield sock.getsockname()[1]
