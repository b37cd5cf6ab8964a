"""Sharing: which worker accepts from which sockets.

Owns the listening sockets of a supervisor, which outlive each worker. By default all workers accept from the same.
With ``reuse_port`` each has a set of its own, which belongs to the port and not to the worker: who takes the place of
one that dies or is rolled gets its set, with what waits there. Linux deals connections out among the sockets of
one port, others do not (SO_REUSEPORT); and only what we have bound ourselves can be bound again. The rest is shared.
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
    """The sets of sockets of all workers.

    Args:
        given: what `HTTPServer` takes.
        config: the options.

    Attributes:
        names: the address of each socket.
        shared: whether several workers accept from a socket.

    Raises:
        BindError: an address cannot be listened on.
    """

    def __init__(self, given: list[ServerAddress], config: Config) -> None:
        first = tuple(listen(given, config.backlog, reuse_port=config.reuse_port))
        self._sets: list[SocketSet] = [first]
        self._dealt = set()
        if config.reuse_port and sys.platform == "linux":
            self._dealt = {sock for sock in first if sock.family != socket.AF_UNIX and sock not in given}
        self.names = [sock.getsockname() for sock in first]
        self.shared = len(self._dealt) < len(first)

    def provide(self, count: int) -> None:
        """Have enough for so many workers.

        Raises:
            BindError: that cannot be; then there are as many as before.
        """
        new: list[SocketSet] = []
        try:
            while self._dealt and len(self._sets) + len(new) < count:
                new.append(self._beside(self._sets[0]))
        except BindError:
            self._close(new)
            raise
        self._sets += new

    def for_one_more(self, taken: Collection[SocketSet]) -> SocketSet:
        """The set for another worker, of which those that count have these."""
        return min(self._sets, key=list(taken).count)

    def drop(self, count: int, taken: Collection[SocketSet]) -> None:
        """Close what is more than so many workers need, and none of them has."""
        spare = [one for one in self._sets if one not in taken][: max(0, len(self._sets) - count)]
        self._sets = [one for one in self._sets if one not in spare]
        self._close(spare)

    def renew(self, one: SocketSet) -> None:
        """Nobody can accept from a set for now: refuse who waits there, and have the others get what comes.

        The set that takes its place listens once a worker does.
        """
        if one in self._sets and not self._dealt.isdisjoint(one):
            with contextlib.suppress(BindError):  # so they wait
                self._sets[self._sets.index(one)] = self._beside(one)
                self._close([one])

    def close(self) -> None:
        """Close them all."""
        sets, self._sets = self._sets, []
        self._close(sets)

    def _beside(self, one: SocketSet) -> SocketSet:
        new: list[socket.socket] = []
        try:
            new.extend(bind_beside(sock) if sock in self._dealt else sock for sock in one)
        except BindError:
            self._close([tuple(new)])
            raise
        self._dealt.update(sock for sock in new if sock not in one)
        return tuple(new)

    def _close(self, sets: list[SocketSet]) -> None:
        kept = {sock for one in self._sets for sock in one}
        for one in sets:
            for sock in one:
                if sock not in kept:
                    self._dealt.discard(sock)
                    sock.close()
