"""The address of one end of a connection, as sockets give it."""

__all__ = ["Address"]

# A (host, port) pair, with two more items on IPv6, or the path of a unix socket.
Address = tuple[str, int] | tuple[str, int, int, int] | str
