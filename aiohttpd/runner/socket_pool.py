"""The listening sockets of a supervisor, and which worker accepts from which of them.

The sockets live longer than the workers. By default all workers accept from the same sockets. With ``reuse_port`` each
worker has a socket set of its own; when the worker dies or is replaced, the next one gets the same set, with the
connections that wait there. This needs Linux, whose SO_REUSEPORT distributes connections among the sockets of a port,
and TCP sockets that the supervisor has bound itself. All other sockets are shared.
"""

import contextlib
import socket
import sys
from collections.abc import Collection

from ..config import Config
from ..net.sockets import BindError, ServerAddress, bind_beside, listen

__all__ = ["SocketSet", "SocketPool"]

SocketSet = tuple[socket.socket, ...]


class SocketPool:
    """The socket sets of all workers.

    Args:
        given: the addresses, as for `HTTPServer`.
        config: the options.

    Attributes:
        names: the address of each socket of a set.
        shared: whether several workers accept from a socket.

    Raises:
        BindError: it cannot listen on an address.
    """

    def __init__(self, given: list[ServerAddress], config: Config) -> None:
        first = tuple(listen(given, config.backlog, reuse_port=config.reuse_port))
        self._sets: list[SocketSet] = [first]
        self._reuse_port = set()  # sockets among which the kernel distributes connections
        if config.reuse_port and sys.platform == "linux":
            self._reuse_port = {sock for sock in first if sock.family != socket.AF_UNIX and sock not in given}
        self.names = [sock.getsockname() for sock in first]
        self.shared = len(self._reuse_port) < len(first)

    def provide(self, count: int) -> None:
        """Make sets until there are enough for a number of workers.

        Raises:
            BindError: a socket cannot be made; then no set has been added.
        """
        new: list[SocketSet] = []
        try:
            while self._reuse_port and len(self._sets) + len(new) < count:
                new.append(self._beside(self._sets[0]))
        except BindError:
            self._close(new)
            raise
        self._sets += new

    def least_used(self, taken: Collection[SocketSet]) -> SocketSet:
        """The set for another worker.

        Args:
            taken: the sets of all workers that are there, one for each.
        """
        return min(self._sets, key=list(taken).count)

    def drop(self, count: int, taken: Collection[SocketSet]) -> None:
        """Close sets that no worker has, as far as there are more than a number of workers needs."""
        spare = [one for one in self._sets if one not in taken][: max(0, len(self._sets) - count)]
        self._sets = [one for one in self._sets if one not in spare]
        self._close(spare)

    def renew(self, one: SocketSet) -> None:
        """Replace a set from which no worker accepts.

        Connections that wait in the old sockets are reset. The new sockets do not listen before a worker does, so the
        kernel gives new connections to other workers.
        """
        if one in self._sets and not self._reuse_port.isdisjoint(one):
            with contextlib.suppress(BindError):  # then the connections go on waiting
                self._sets[self._sets.index(one)] = self._beside(one)
                self._close([one])

    def close(self) -> None:
        """Close all sockets."""
        sets, self._sets = self._sets, []
        self._close(sets)

    def _beside(self, one: SocketSet) -> SocketSet:
        new: list[socket.socket] = []
        try:
            new.extend(bind_beside(sock) if sock in self._reuse_port else sock for sock in one)
        except BindError:
            self._close([tuple(new)])
            raise
        self._reuse_port.update(sock for sock in new if sock not in one)
        return tuple(new)

    def _close(self, sets: list[SocketSet]) -> None:
        kept = {sock for one in self._sets for sock in one}
        for one in sets:
            for sock in one:
                if sock not in kept:
                    self._reuse_port.discard(sock)
                    sock.close()
