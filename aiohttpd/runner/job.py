"""What a supervisor gives to a worker when it starts it.

All of it is pickled; `multiprocessing` hands over sockets and descriptors.
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
from ..handlers.app import Lifespan
from ..net.tls import Certificates

__all__ = ["BEAT", "HANDED", "Descriptor", "Job", "Target"]

BEAT = 1.0  # seconds between two heartbeats of a worker, at most
# The supervisor handles these. Workers ignore them, since a terminal sends signals to the whole process group.
HANDED = (
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGUSR1,
)


class Target(NamedTuple):
    """What a worker serves. All of it must be picklable.

    Attributes:
        make_app: makes the App. A `TargetError` that it raises is shown in one line, without a traceback.
        lifespan: as for `HTTPServer`.
        certificates: with it the worker speaks HTTPS. It reads the files when it starts.
    """

    make_app: Callable[[], App]
    lifespan: Lifespan | None = None
    certificates: Certificates | None = None


class Descriptor:
    """A descriptor; when it is pickled for a spawned process, that process gets a duplicate."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __reduce__(self) -> tuple[Any, ...]:
        return _received, (reduction.DupFd(self.number),)


def _received(duplicate: Any) -> Descriptor:
    number = duplicate.detach()
    os.set_inheritable(number, False)  # child processes of the App must not keep a port open
    return Descriptor(number)


@dataclass(frozen=True, kw_only=True)
class Job:
    """The argument of a worker's main function.

    Attributes:
        target: a pickled `Target`. The worker unpickles it itself, so that it can report a failure.
        sockets: the listening sockets.
        channel: the worker's end of the channel to the supervisor.
        shared: a file that all processes share: the lock for stderr, and the memory of the `ConnectionTable`.
        slot: the worker's slot in that table.
        balanced: whether other workers accept from the same sockets.
        config: the options.
    """

    target: bytes
    sockets: list[Descriptor]
    channel: socket.socket
    shared: Descriptor
    slot: int
    balanced: bool
    config: Config
