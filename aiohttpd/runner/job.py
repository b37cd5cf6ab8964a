"""What a supervisor gives to a worker when it starts it.

All of it can be pickled, or is handed over by `multiprocessing` itself (sockets, descriptors).
"""

import os
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import reduction
from typing import Any, NamedTuple

from ..config import Config
from ..engine.interfaces import App
from ..net.tls import Certificates
from ..server.server import Lifespan

__all__ = ["BEAT", "HANDED", "Descriptor", "Job", "Target"]

BEAT = 1.0  # seconds between two signs of life, at most
HANDED = (
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGUSR1,
)  # for the supervisor, if a group gets them


class Target(NamedTuple):
    """What a worker serves; all of it can be pickled.

    Attributes:
        make_app: makes the App; `TargetError` and the like are one line for the person at the terminal.
        lifespan: as for `HTTPServer`.
        certificates: makes it HTTPS; a new worker reads what is in the files now.
    """

    make_app: Callable[[], App]
    lifespan: Lifespan | None = None
    certificates: Certificates | None = None


class Descriptor:
    """A descriptor of which a spawned process gets a duplicate."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __reduce__(self) -> tuple[Any, ...]:
        return _received, (reduction.DupFd(self.number),)


def _received(duplicate: Any) -> Descriptor:
    number = duplicate.detach()
    os.set_inheritable(number, False)  # programs that the App starts must not keep a port open
    return Descriptor(number)


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a worker is given.

    Attributes:
        target: a `Target`, pickled, since it is not before the worker can tell that it may fail to load.
        sockets: they listen already.
        channel: to the supervisor.
        shared: a file that is the lock of what all processes write to stderr, and holds the `Table`.
        slot: in the table.
        balanced: others accept from the same sockets, and want their part.
        config: the options.
    """

    target: bytes
    sockets: list[Descriptor]
    channel: socket.socket
    shared: Descriptor
    slot: int
    balanced: bool
    config: Config
